#!/bin/sh
# Install the wheel $1 into a clean environment, and there train and search $PHOTOS. Called by `make check`.
# Everything happens in a temporary directory, so that nothing of the clone can be imported in place of the wheel.
set -eu
wheel=$(realpath "$1")
constraints=$(realpath constraints.txt)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# All that the package consists of is in the wheel: models, styles and scripts too, not only what is imported below.
git ls-files image_index | sort >"$scratch/tracked"
"$PYTHON" -m zipfile -l "$wheel" | awk '/^image_index\// { print $1 }' | sort >"$scratch/packed"
diff "$scratch/tracked" "$scratch/packed"
cd "$scratch"

"$PYTHON" -m venv clean
clean/bin/python -m pip install --quiet --constraint "$constraints" "$wheel"
clean/bin/python -m pip check
export IMGIDX_INDEX="$scratch/index" IMGIDX_CONFIG=/dev/null HF_HUB_OFFLINE=1
PATH="$scratch/clean/bin:$PATH"

imgidx --version
imgidx train "$PHOTOS" --model starter
found=$(imgidx search "a cat" -n 1)
printf '%s\n' "$found"
[ "$(basename "$found")" = chelsea.png ]
imgidx search "a cat" -n 1 --html "$scratch/sheet.html"
python -c "from image_index import Index; print(len(Index.open()), 'pictures')"
