"""Words of paths, against what a person would call the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.words import END, fold_path, fold_text, indexed_words, split_words, word_matcher


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("beach", "/p/Beach in Nice/1.jpg"),
        ("BEACHES", "/p/beaches.jpg"),
        ("nice beach", "/p/Beach in Nice/1.jpg"),
        ('"beach in" jpg', "/p/Beach in Nice/1.jpg"),
        ("p/beach", "/p/beach/1.jpg"),
        ("ete", "/p/\u00c9t\u00e9/1.jpg"),
        ("\u00e9t\u00e9", "/p/ETE/1.jpg"),
        ("caf\u00e9", "/p/cafe\u0301.jpg"),
        ("strasse", "/p/Stra\u00dfe.jpg"),
        ("istanbul", "/p/\u0130stanbul.jpg"),
        ("lodz tromso", "/p/\u0141\u00f3d\u017a/Troms\u00f8.jpg"),
        ("\u5317\u4eac", "/p/\u5317\u4eac/1.jpg"),
        ("\u4eac", "/p/\u5317\u4eac.jpg"),
        ("img", "/p/\uff29\uff2d\uff27.jpg"),
        ("\u043c\u043e\u0441\u043a\u0432\u0430", "/p/\u041c\u041e\u0421\u041a\u0412\u0410.jpg"),
        ("\u05e9\u05dc\u05d5\u05dd", "/p/\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd.jpg"),
        ('5"', '/p/disc 5".jpg'),
        ('"open', '/p/"open.jpg'),
        ("a", "/p/a"),
    ],
)
def test_words_are_found_as_people_type_them(typed: str, path: str) -> None:
    """Any part of any name, all of them; a quote that is not closed stands for itself."""
    assert word_matcher(split_words(typed))(path.encode())


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("beach oslo", "/p/beach.jpg"),
        ('"nice beach"', "/p/beach nice.jpg"),
        ("\u304b", "/p/\u304c.jpg"),
        ("\u5317\u4eac", "/p/\u4eac\u5317.jpg"),
        ("jpg//", "/p/1.jpg"),
    ],
)
def test_other_words_are_not_found(typed: str, path: str) -> None:
    """One that is not there, another order, another letter; not what ends the indexed text."""
    assert not word_matcher(split_words(typed))(path.encode())


def test_bytes_that_are_no_text_are_found_by_themselves() -> None:
    """A shell passes them on, and Python makes surrogates of them."""
    typed = b"a\xffb".decode("utf-8", "surrogateescape")
    assert word_matcher(split_words(typed))(b"/p/A\xffB.jpg")


@pytest.mark.parametrize("nothing", ["", "  ", '""', "\u0301"])
def test_nothing_is_no_word(nothing: str) -> None:
    """Whatever it is written with."""
    assert split_words(nothing) == ()


@given(st.text())
def test_folding_again_changes_nothing(text: str) -> None:
    """Else a word would not be found by its own folded form."""
    assert fold_text(fold_text(text)) == fold_text(text)


@given(st.binary())
def test_every_name_is_found_by_itself(name: bytes) -> None:
    """Whatever its bytes are, and the index has its text whole."""
    folded = fold_path(b"/p/" + name)
    assert word_matcher([fold_path(name)])(b"/p/" + name)
    assert indexed_words(b"/p/" + name) == folded + END
