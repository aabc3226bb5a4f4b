"""What the user's words mean as a query."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.errors import QueryError, UsageError
from image_index.search.query import Kind, Query, Term, make_query, read_queries, with_prompts


@pytest.mark.parametrize(
    ("word", "weight", "value"),
    [
        ("a red car", 1, "a red car"),
        ("2:golden retriever", 2, "golden retriever"),
        ("0.5: a dog", 0.5, "a dog"),
        ("2:\u00e9t\u00e9", 2, "\u00e9t\u00e9"),
        ("16:9 screenshot", 1, "16:9 screenshot"),
        ("2: 3 dogs", 1, "2: 3 dogs"),
        ("x2:a dog", 1, "x2:a dog"),
        ("-2:a dog", 1, "-2:a dog"),
        ("note: a dog", 1, "note: a dog"),
    ],
)
def test_a_weight_stands_in_front_of_a_colon(word: str, weight: float, value: str) -> None:
    """Behind it comes no digit: ratios and times of day stay what they are."""
    assert make_query(word) == Query((Term(Kind.TEXT, value, weight),))


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        *((word, Kind.FILE) for word in ("./a.jpg", "../a.jpg", "/p/a.jpg", "~/a.jpg")),
        *((word, Kind.URL) for word in ("https://example.org/a.jpg", "http://example.org/")),
        *((word, Kind.TEXT) for word in ("a.jpg", "a dog", "-", "ftp://example.org/a.jpg", ".", "a/b")),
    ],
)
def test_what_is_added_is_a_picture_where_it_begins_like_a_path_or_url(word: str, kind: Kind) -> None:
    """The same for what is taken away, with a weight or without."""
    assert make_query(add=[word]).terms == (Term(kind, word),)
    assert make_query(minus=[f"2:{word}"]).terms == (Term(kind, word, -2),)


@pytest.mark.parametrize("weight", ["0", "0.00", "1000001", "9" * 400])
def test_a_weight_is_a_number_of_use(weight: str) -> None:
    """One that float32 cannot hold would leave no query."""
    with pytest.raises(QueryError, match="the weight of"):
        make_query(f"{weight}:a dog")


def test_every_text_of_a_query_stands_in_each_prompt() -> None:
    """Together its sentences weigh what it did, so that they count as their mean; pictures stay what they are."""
    query = make_query("2:dog", images=["d.jpg"], minus=["{}"], name="mine")
    pictures = (Term(Kind.FILE, "d.jpg"),)
    assert with_prompts(query, ["a photo of a {}."]).terms == (
        Term(Kind.TEXT, "a photo of a dog.", 2),
        *pictures,
        Term(Kind.TEXT, "a photo of a {}.", -1),
    )
    twice = with_prompts(query, ["{} or {}", "{}"])
    assert twice.terms == (
        Term(Kind.TEXT, "dog or dog", 1),
        Term(Kind.TEXT, "dog", 1),
        *pictures,
        Term(Kind.TEXT, "{} or {}", -0.5),
        Term(Kind.TEXT, "{}", -0.5),
    )
    assert twice.name == "mine"
    assert with_prompts(query, []) == query


def test_a_prompt_has_a_place_for_the_text() -> None:
    """Else every query would be the same."""
    with pytest.raises(UsageError, match=r"'a photo'"):
        with_prompts(make_query("dog"), ["a photo of a {}.", "a photo"])


def test_an_image_is_a_file_or_a_url_whatever_it_is_called() -> None:
    """`--image` leaves no doubt."""
    assert [term.kind for term in make_query(images=["a dog", "https://example.org/a.jpg"]).terms] == [
        Kind.FILE,
        Kind.URL,
    ]


@pytest.mark.parametrize("url", ["ftp://example.org/a.jpg", "file:///a.jpg", "2:s3://bucket/a.jpg"])
def test_an_address_that_cannot_be_fetched_is_wrong_use(url: str) -> None:
    """It is no file name that anybody meant."""
    with pytest.raises(UsageError, match="http or https"):
        make_query(images=[url])


def test_parts_come_in_order() -> None:
    """Text, pictures, what is added, what is taken away."""
    query = make_query("a", ["b"], ["c"], ["d"], "name")
    assert query == Query(
        (Term(Kind.TEXT, "a"), Term(Kind.FILE, "b"), Term(Kind.TEXT, "c"), Term(Kind.TEXT, "d", -1)), "name"
    )


@pytest.mark.parametrize("word", ["", " ", "\t\n", "\u3000"])
def test_a_query_of_nothing_is_wrong_use(word: str) -> None:
    """The message shows what a query looks like."""
    for text, add, minus in ((word, [], []), ("a", [word], []), ("a", [], [word])):
        with pytest.raises(UsageError, match="for example: imgidx search"):
            make_query(text, [], add, minus)


def test_no_query_at_all_is_wrong_use() -> None:
    """The message shows what there could be."""
    with pytest.raises(UsageError, match="a text or --image FILE"):
        make_query()


@pytest.mark.parametrize("word", ["0:a dog", "0.0:a dog"])
def test_a_weight_of_zero_is_wrong_use(word: str) -> None:
    """It would say nothing."""
    with pytest.raises(UsageError, match="is zero"):
        make_query(word)


@given(st.text(min_size=1).filter(str.strip))
def test_any_text_without_a_weight_is_itself(text: str) -> None:
    """Whatever it holds."""
    if not text[0].isdigit():
        assert make_query(text).terms == (Term(Kind.TEXT, text),)


# Many queries


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
    assert isinstance(bad, QueryError)
    assert str(bad).startswith(f"line 3 of {path}: ")
    assert reason in str(bad)


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
    assert isinstance(bad, QueryError)
    assert str(bad).startswith("line 1 of standard input: ")


def test_a_file_that_cannot_be_read_is_wrong_use(tmp_path: Path) -> None:
    """At once, not with the first query."""
    with pytest.raises(UsageError, match="No such file"):
        read_queries(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="directory"):
        read_queries(str(tmp_path))
