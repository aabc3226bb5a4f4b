"""Lists of paths, against what `find` writes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from image_index.errors import UsageError
from image_index.files import lists
from image_index.files.lists import read_paths

NAMES = [b"a.jpg", b" b .jpg", b"c\xff.jpg", b"d\r", b"new\nline.jpg"]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("null", [False, True])
def test_a_list_holds_the_paths_that_find_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, *, null: bool
) -> None:
    """Any bytes, wherever the file is cut while it is read; a newline in a name needs the zero bytes."""
    monkeypatch.setattr(lists, "CHUNK_BYTES", chunk_bytes)
    names = NAMES if null else NAMES[:-1]
    if sys.platform == "darwin":
        names = [name for name in names if b"\xff" not in name]
    (tmp_path / "photos").mkdir()
    for name in names:
        (tmp_path / "photos" / os.fsdecode(name)).touch()
    with (tmp_path / "list").open("wb") as file:
        printing = "-print0" if null else "-print"
        subprocess.run(["find", "photos", "-type", "f", printing], cwd=tmp_path, stdout=file, check=True)
    assert sorted(read_paths(tmp_path / "list", null=null)) == sorted(b"photos/" + name for name in names)


@pytest.mark.parametrize(
    ("text", "null", "paths"),
    [
        (b"", False, []),
        (b"\n\na\n\n", False, [b"a"]),
        (b"a\nb", False, [b"a", b"b"]),
        (b"a\n\0\0b", True, [b"a\n", b"b"]),
    ],
)
def test_empty_paths_are_none_and_the_last_end_may_be_left_out(
    monkeypatch: pytest.MonkeyPatch, text: bytes, *, null: bool, paths: list[bytes]
) -> None:
    """From standard input as from a file."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert list(read_paths(Path("-"), null=null)) == paths


def test_it_is_seen_whether_lines_or_zero_bytes_end_the_paths(tmp_path: Path) -> None:
    """No path has a zero byte, and what follows the first one may have newlines."""
    for text, paths in ((b"a\nb\n", [b"a", b"b"]), (b"a\nb\0c\0", [b"a\nb", b"c"]), (b"", [])):
        (tmp_path / "list").write_bytes(text)
        assert list(read_paths(tmp_path / "list", null=None)) == paths


def test_zero_bytes_that_were_not_announced_are_wrong_use(tmp_path: Path) -> None:
    """Else a list of find -print0 would be one path that is nowhere."""
    (tmp_path / "list").write_bytes(b"a\0b\0")
    with pytest.raises(UsageError, match="add -0"):
        list(read_paths(tmp_path / "list"))


def test_a_list_that_cannot_be_read_is_wrong_use(tmp_path: Path) -> None:
    """It is named, with the reason."""
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "directory")):
        with pytest.raises(UsageError, match=reason):
            list(read_paths(path))
