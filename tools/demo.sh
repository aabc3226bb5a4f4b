#!/bin/sh
# Index $PHOTOS with the bundled model, search them, and show what was found. Called by `make demo`.
set -eu
export IMGIDX_INDEX="$HOME_OF_INDEX"
PATH="$BIN:$PATH"

imgidx train "$PHOTOS" --model starter
for query in "a cat" "a cup of coffee" "a rocket launch" "a man with a camera"; do
    printf '\n%s\n' "\$ imgidx search \"$query\" -n 3 --json"
    imgidx search "$query" -n 3 --json
done
printf '\n%s\n' '$ imgidx status'
imgidx status
