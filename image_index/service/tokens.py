"""The secret that a client of the server must know, and the file that holds it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from stat import S_IMODE

from image_index.errors import UsageError
from image_index.files.atomic import replacing_file
from image_index.paths import printable

TOKEN_BYTES = 32
"""How much chance is in a token."""

LEAST_LENGTH = 16
"""A shorter token in a file of the user's could be guessed."""


def make_token(path: Path) -> str:
    """Write a new token to `path`, for its owner alone, and return it; raise `StorageError` where that is refused."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    with replacing_file(path) as draft:
        draft.write_text(f"{token}\n", encoding="ascii")
    return token


def keep_token(path: Path) -> str:
    """Return the token in `path`, where one is made if there is none.

    Raises `UsageError` where others may read the file, or it holds no token.
    """
    if not os.path.lexists(path):
        return make_token(path)
    try:
        with path.open(encoding="ascii") as file:
            mode = S_IMODE(os.fstat(file.fileno()).st_mode)
            token = file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read a token from {_shown(path)}: {error}") from error
    if mode & 0o077:
        raise UsageError(f"others can read the token in {_shown(path)}", f"chmod 600 {_shown(path)}")
    if len(token) < LEAST_LENGTH or not token.isprintable() or " " in token:
        raise UsageError(
            f"{_shown(path)} holds no token: one word of at least {LEAST_LENGTH} characters", "remove it for a new one"
        )
    return token


def _shown(path: Path) -> str:
    return printable(os.fsencode(path))
