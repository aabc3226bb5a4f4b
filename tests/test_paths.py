"""Paths as bytes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from image_index.errors import UsageError
from image_index.paths import (
    absolute,
    below,
    both_ways,
    only_at,
    path_range,
    printable,
    problem_text,
    resolve,
    resolve_each,
    spans,
)
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


@given(st.sets(PATHS | st.just(b"/"), max_size=4), st.sets(PATHS, max_size=4), PATHS)
@example({b"/a"}, {b"/a/a"}, b"/a/a/a")
@example({b"/"}, {b"/a", b"/a-"}, b"/a")
@example({b"/a", b"/a/a"}, {b"/a"}, b"/a/a")
def test_spans_hold_what_is_at_or_inside_some_paths_and_not_others(
    paths: set[bytes], apart: set[bytes], path: bytes
) -> None:
    """They come in byte order and never overlap; a path that is among both is not left out."""

    def is_in(path: bytes, directories: set[bytes]) -> bool:
        return any(path == directory or path.startswith(below(directory)) for directory in directories)

    ranges = list(spans(paths, apart))
    edges = [edge for span in ranges for edge in span]
    assert edges == sorted(edges)
    assert any(first <= path < end for first, end in ranges) == (is_in(path, paths) and not is_in(path, apart - paths))


@given(st.sets(PATHS), PATHS)
def test_a_range_of_one_path_holds_nothing_else(paths: set[bytes], path: bytes) -> None:
    """Not what is inside it, nor a path that goes on with any byte."""
    assert any(first <= path < end for first, end in only_at(paths)) == (path in paths)


def test_each_path_of_a_list_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As each alone would be: relative ones, links to files and directories, odd ways and bytes, what is not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.jpg").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "link.jpg").symlink_to("real/a.jpg")
    (tmp_path / "real/loop").symlink_to("loop")
    written = [
        b"real/a.jpg",
        b"link/a.jpg",
        b"link.jpg",
        b"./link/../link/./a.jpg",
        b"link/..",
        b"none/b.jpg",
        b"c\xff.jpg",
    ]
    written += [b".", b"/", b"//", b"real/", b"/none", b"real/loop", os.fsencode(tmp_path / "real/a.jpg")]
    assert resolve_each(iter(written)) == tuple(sorted({resolve(path) for path in written}))
    assert list(both_ways(iter(written))) == [(resolve(path), absolute(path)) for path in written]


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
