"""The words of a vocabulary that a text can need, against a search through all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.models import word_table
from image_index.models.word_table import WordTable, read_table, write_table

ALPHABET = st.sampled_from("ab\u00e9\u6771\U0001f436\n#")
vocabularies = st.lists(st.text(ALPHABET, min_size=1, max_size=6), min_size=1, unique=True)


def table_of(words: Sequence[str], prefix: str = "##") -> WordTable:
    """Return a table of words that was written and read."""
    model = {"type": "WordPiece", "unk_token": words[0], "continuing_subword_prefix": prefix}
    with TemporaryDirectory() as folder:
        path = Path(folder, "words.bin")
        return read_table(path, write_table(model | {"vocab": {word: n for n, word in enumerate(words)}}, path))


@given(words=vocabularies, text=st.text(ALPHABET))
def test_the_words_within_a_text_are_its_substrings(words: list[str], text: str) -> None:
    """All of them and no other, those that go on within a word without their prefix."""
    table = table_of(words)
    found = [table.word(number) for number in table.within(text)]
    assert sorted(found) == sorted(word for word in words if (word.removeprefix("##") or word) in text)


@given(words=vocabularies, text=st.text(ALPHABET))
def test_two_words_of_one_hash_are_told_apart(words: list[str], text: str) -> None:
    """With a hash that is the length of a word, and so the same for many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_table, "BASE", 0)  # then the hash is that of the last character
        table = table_of(words, "")
        found = [table.word(number) for number in table.within(text)]
    assert sorted(found) == sorted(word for word in words if word in text)
