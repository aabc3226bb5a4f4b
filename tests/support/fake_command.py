"""`imgidx` with a fake model behind it, `python -m tests.support.fake_command`; so are the sessions of its server."""

from __future__ import annotations

import sys
from functools import partial

from image_index.cli.app import run
from image_index.workers import engine as engines
from image_index.workers.engine import Engine
from tests.support import fake_models

COMMAND = (sys.executable, "-m", "tests.support.fake_command")


def main() -> None:
    """Do what the command line says; exit with its exit code."""
    vars(engines)["Engine"] = partial(Engine, loader=fake_models.load)
    if "serve" in sys.argv:
        from image_index.service import sessions_runner

        vars(sessions_runner)["COMMAND"] = COMMAND
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
