"""Many queries, one a line."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from image_index.errors import UsageError
from image_index.search.query import make_query
from image_index.search.query_lines import BadLine, read_queries


def test_lines_are_texts_or_objects(tmp_path: Path) -> None:
    """The name is what the object says, else the text, else the line."""
    path = tmp_path / "queries"
    lines = [
        b"\xef\xbb\xbfa dog ",
        b"",
        b"  ",
        b'{"text": "a cat"}',
        b'{"name": "both", "text": "2:a cat", "image": "a.jpg", "add": ["x", "./y.jpg"], "minus": "z"}',
        b'{"name": 7, "image": ["a.jpg", "b.jpg"]}',
        b'{"image": "a.jpg"}\r',
        "\u00e9t\u00e9".encode(),
    ]
    path.write_bytes(b"\n".join(lines))
    assert list(read_queries(str(path))) == [
        make_query("a dog", name="a dog"),
        make_query("a cat", name="a cat"),
        make_query("2:a cat", ["a.jpg"], ["x", "./y.jpg"], ["z"], "both"),
        make_query(images=["a.jpg", "b.jpg"], name="7"),
        make_query(images=["a.jpg"], name='{"image": "a.jpg"}'),
        make_query("\u00e9t\u00e9", name="\u00e9t\u00e9"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff\xfe", "utf-8"),
        (b'{"text": ', "Expecting value"),
        (b'{"text": 5}', "'text' must be a text"),
        (b'{"image": [5]}', "'image' must be a text or a list of texts"),
        (b'{"minus": {"a": 1}}', "'minus' must be"),
        (b'{"txt": "a"}', "'txt'; there are: name, text, image, add, minus"),
        (b"{}", "a text or --image"),
        (b'{"text": ""}', "the query is empty"),
        (b"0:a dog", "is zero"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_on(tmp_path: Path, line: bytes, reason: str) -> None:
    """With its number, and why."""
    path = tmp_path / "queries"
    path.write_bytes(b"first\n\n" + line + b"\nlast\n")
    first, bad, last = read_queries(str(path))
    assert (first, last) == (make_query("first", name="first"), make_query("last", name="last"))
    assert isinstance(bad, BadLine)
    assert bad.problem.startswith(f"line 3 of {path}: ")
    assert reason in bad.problem


def test_a_pipe_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first query is there before the second line is written."""
    ours, theirs = os.pipe()
    with open(ours, "rb") as stream, open(theirs, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        queries = read_queries("-")
        writer.write(b"a dog\n")
        assert next(queries) == make_query("a dog", name="a dog")
        writer.write(b"a cat\n")
        assert next(queries) == make_query("a cat", name="a cat")


def test_bad_lines_of_a_pipe_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no file to name."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"{\n")))
    (bad,) = read_queries("-")
    assert isinstance(bad, BadLine)
    assert bad.problem.startswith("line 1 of standard input: ")


def test_a_file_that_cannot_be_read_is_wrong_use(tmp_path: Path) -> None:
    """At once, not with the first query."""
    with pytest.raises(UsageError, match="No such file"):
        read_queries(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="directory"):
        read_queries(str(tmp_path))
