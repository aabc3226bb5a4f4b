"""What a session is asked to do, made into the command line that does it: for whoever runs it, in any process."""

from __future__ import annotations

import os

from image_index.errors import UsageError
from image_index.paths import resolve
from image_index.present.sessions import asked_record
from image_index.records import Session
from image_index.settings import IndexHome

WAIT = "1y"
"""How long a session waits for a run that nobody asked the server for: as long as it takes."""


def train_arguments(session: Session, home: IndexHome) -> list[str]:
    """Return the arguments of the `imgidx train` that a session asks for. Raises `UsageError`, as that would."""
    asked = asked_record(session.request)
    directory, time_limit = asked["training_directory"], asked["time_limit"]
    options = [f"--exclude={glob}" for glob in asked["exclude"]]
    options += ["--retry-failed"] * asked["retry_failed"]
    options += [] if time_limit is None else [f"--time-limit={time_limit}"]
    roots = [] if directory is None else [os.fsdecode(real_directory(directory))]
    return [f"--wait={WAIT}", f"--index={home.path}", *options, "--", *roots]


def real_directory(directory: str) -> bytes:
    """Return the real path of a directory; raise `UsageError` for one that depends on where the server is."""
    if not os.path.isabs(directory):
        raise UsageError(f"training_directory is an absolute path, not {directory!r}")
    return resolve(directory)
