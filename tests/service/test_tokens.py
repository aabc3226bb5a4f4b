"""The secret and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_index.errors import UsageError
from image_index.service.tokens import keep_token, make_token


def test_a_token_is_new_and_its_owners_alone(tmp_path: Path) -> None:
    """Nobody else of the machine may read it."""
    path = tmp_path / "token"
    first, second = make_token(path), make_token(path)
    assert first != second
    assert len(first) >= 43  # 256 bits
    assert path.read_text() == f"{second}\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_kept_token_stays(tmp_path: Path) -> None:
    """Scripts need not be told a new one after each start."""
    path = tmp_path / "token"
    assert keep_token(path) == keep_token(path) == path.read_text().strip()


@pytest.mark.parametrize("content", [b"", b"short", b"two words of which none is a token", b"\xff" * 20, b"\0" * 20])
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty file would let everybody in."""
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="token"):
        keep_token(path)


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It is no secret."""
    path = tmp_path / "token"
    make_token(path)
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        keep_token(path)
