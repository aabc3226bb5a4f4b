"""`imgidx` with a fake model behind it, `python -m tests.support.fake_command`.

So are the sessions of its server and of its worker.
"""

from __future__ import annotations

import sys

from image_index.cli import worker
from image_index.cli.app import run
from tests.support.fake_horse import fake_model, train_here

COMMAND = (sys.executable, "-m", "tests.support.fake_command")


def main() -> None:
    """Do what the command line says; exit with its exit code."""
    fake_model()
    vars(worker)["train_here"] = train_here
    if "serve" in sys.argv:
        from image_index.service import sessions_runner

        vars(sessions_runner)["COMMAND"] = COMMAND
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
