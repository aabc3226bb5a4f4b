"""Paths as bytes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from image_index.errors import UsageError
from image_index.paths import absolute, below, path_range, printable, problem_text, resolve
from tests.support.texts import harmless, paths, texts

NAMES = st.sampled_from([b"a", b"a-", b"a0", b"\xff", b"\n"]) | (
    st.binary(min_size=1, max_size=4).map(lambda name: name.replace(b"\0", b"_").replace(b"/", b"_"))
).filter(lambda name: name not in {b".", b".."})
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: b"/" + b"/".join(names))


@given(PATHS | st.just(b"/"), PATHS)
@example(b"/a", b"/a0")
@example(b"/a", b"/a")
@example(b"/", b"/\xff")
def test_range_holds_exactly_what_is_inside(directory: bytes, path: bytes) -> None:
    """A path is in the range of a directory if, and only if, the directory is among its parents."""
    first, end = path_range(directory)
    inside = os.path.commonpath([directory, path]) == directory and path != directory
    assert (first <= path < end) == inside
    assert path.startswith(below(directory)) == inside


def test_resolved_path_goes_through_no_link(tmp_path: Path) -> None:
    """A file has one name, whichever way one comes to it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").touch()
    (tmp_path / "link").symlink_to("real")
    ways = [tmp_path / "real/a.jpg", tmp_path / "link/a.jpg", tmp_path / "real/../link/./a.jpg"]
    (path,) = {resolve(way) for way in ways}
    assert os.path.samefile(path, tmp_path / "real/a.jpg")
    assert not any(parent.is_symlink() for parent in (Path(os.fsdecode(path)), *Path(os.fsdecode(path)).parents))


def test_an_absolute_path_is_what_was_written(tmp_path: Path) -> None:
    """A link in it stays: that is where a training that followed it has found the file."""
    (tmp_path / "link").symlink_to("real")
    assert absolute(tmp_path / "link/./x/../a.jpg") == os.fsencode(tmp_path / "link/a.jpg")
    assert absolute("x") == os.path.join(os.getcwdb(), b"x")


def test_relative_path_starts_where_we_are(tmp_path: Path) -> None:
    """A relative path is resolved against the working directory, whatever its type."""
    names: list[str | bytes | Path] = ["x", b"x", Path("x")]
    assert {resolve(name) for name in names} == {os.path.join(os.getcwdb(), b"x")}


@given(PATHS)
def test_shown_path_is_one_printable_line(path: bytes) -> None:
    """No file name can move the cursor, end the line, or break the output's encoding."""
    shown = printable(path)
    assert shown.isprintable()
    assert shown.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"]).filter(str.isprintable)))
def test_printable_path_is_shown_as_it_is(text: str) -> None:
    """What people can read is not escaped."""
    assert printable(os.fsencode(text)) == text


@given(PATHS)
def test_shown_path_can_be_read_back(path: bytes) -> None:
    """The escapes are those of Python and printf: they name the very bytes."""
    assume(b"\\" not in path)
    pieces = re.findall(r"(\\x..|\\.)|(.)", printable(path))
    encoded = [
        escape.encode().decode("unicode_escape").encode("latin-1") if escape else character.encode()
        for escape, character in pieces
    ]
    assert b"".join(encoded) == path


@given(paths, texts)
def test_problems_are_harmless(path: bytes, reason: str) -> None:
    """What could not be read is shown escaped, on one line, with the command that would drop it."""
    shown = problem_text(path, reason)
    assert harmless(shown, lines=0)
    assert "imgidx forget" in shown


@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_path_is_refused(empty: str | bytes) -> None:
    """It would be the current directory, which nobody named."""
    with pytest.raises(UsageError, match="must not be empty"):
        resolve(empty)
    with pytest.raises(UsageError, match="must not be empty"):
        absolute(empty)
