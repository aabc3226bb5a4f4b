"""Token ids without torch, against open_clip's own tokenizer."""

from __future__ import annotations

from random import Random

import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.models.tokens import ClipTokenizer, words
from image_index.models.tower_export import portable_tokenizer

LENGTH = 77
THEIRS = open_clip.SimpleTokenizer(context_length=LENGTH)

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz' ",
    "0123456789 .,;:!?-_()[]{}<>#@%^*~`|\\/\"'",
    "ABC\u00e9\u00fc\u00f1\u00df\u00e6\u00f8\u00c9\u00dc \u017f\u212a\u0131\u0130",
    " \t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u3000\u200b\ufeff",
    "\u65e5\u672c\u8a9e\u4e2d\u6587\ud55c\uad6d\uc5b4\u0e44\u0e17\u0e22\u0639\u0631\u0628\u05e2\u05d1\u05e8",
    "\U0001f389\U0001f469\u200d\U0001f469\U0001f3fd\U0001f1e9\U0001f1ea\u2764\ufe0f",
    "\x00\x01\x07\x1b[31m\x7f",
    "\u00c3\u00a9\u00e2\u20ac\u2122\u00c3\u00bc\u2019\u201c\u201d\u2026\u2013\ufb01\ufb02",
)
WORDS = (
    *("a", "dog", "photograph", "it's", "THEY'RE", "we've", "I'll", "don't", "she'd", "I'm", "'\u017f", "caf\u00e9"),
    *(
        "&amp;",
        "&eacute;",
        "&amp;lt;",
        "&#39;",
        "&#x1F600;",
        "&nbsp;",
        "&bogus;",
        "sch\u00c3\u00b6n",
        "l\u2019\u00e9t\u00e9",
    ),
    *("<start_of_text>", "<end_of_text>", "<END_OF_TEXT>", "<\u017ftart_of_text>", "supercalifragilistic"),
)


@pytest.fixture(scope="module")
def ours() -> ClipTokenizer:
    """Return open_clip's tokenizer as it is exported."""
    return portable_tokenizer(THEIRS)[0]


def assert_same(ours: ClipTokenizer, text: str) -> None:
    """Compare the ids, padded as a tower of full length takes them."""
    ids = ours.encode(text)
    assert ids + [0] * (LENGTH - len(ids)) == THEIRS([text])[0].tolist(), ascii(text)


def some_text(random: Random) -> str:
    """Return a text of words, of letters of odd alphabets, and of any characters, short or far too long."""
    parts = []
    for _ in range(random.choice((1, 2, 4, 8, 16, 60, 200))):
        kind = random.random()
        if kind < 0.4:
            parts.append(random.choice(WORDS) + " " * random.randrange(3))
        else:
            parts.append(random.choice(random.choice(ALPHABETS)) if kind < 0.95 else chr(random.randrange(0x110000)))
    return "".join(parts)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_texts_get_the_ids_that_open_clip_gives_them(ours: ClipTokenizer, count: int) -> None:
    """Entities, mojibake, emoji, control characters, contractions, special tokens written out, over-long texts."""
    random = Random(1)
    for _ in range(count):
        assert_same(ours, some_text(random))


@given(st.text(st.characters(), max_size=300))
def test_any_text_gets_the_ids_that_open_clip_gives_it(ours: ClipTokenizer, text: str) -> None:
    """Whatever Hypothesis thinks of, bytes that were no UTF-8 included."""
    assert_same(ours, text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_plain_text_needs_no_mending(ours: ClipTokenizer, text: str) -> None:
    """Printable ASCII, which is encoded without ftfy, gets the same ids as with it."""
    assert_same(ours, text)


@pytest.mark.parametrize("stride", [49, pytest.param(7, marks=pytest.mark.nightly)])
def test_every_kind_of_character_is_cut_as_open_clip_cuts_it(ours: ClipTokenizer, stride: int) -> None:
    """Letters, numbers and the rest of Unicode, in each plane that has any: some of the first 200,000 characters."""
    for code in range(0, 200_000, stride):
        assert_same(ours, f"a{chr(code)}1!")


def test_a_text_of_nothing_is_its_two_ends(ours: ClipTokenizer) -> None:
    """Nothing is cut where nothing is."""
    assert words("") == []
    assert ours.encode("") == [THEIRS.sot_token_id, THEIRS.eot_token_id]
