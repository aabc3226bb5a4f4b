"""What the user's words mean as a query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.errors import UsageError
from image_index.search.query import Kind, Query, Term, make_query


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
