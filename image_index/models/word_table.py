"""The vocabulary of a tokenizer in a file that is mapped, and what of it a text can need.

A vocabulary of 256,000 words takes the `tokenizers` library 0.9 s to load from its JSON. But whatever it makes of a
text is made of substrings of that text: byte-pair merges join neighbours, and a unigram model compares the ways to cut
a text into words. So a short text needs a few hundred words of the vocabulary, and the library gives the same tokens
with those alone. They are found by a hash of every substring, in an array that is sorted by it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BASE = 0x9E3779B97F4A7C15
"""Odd, and half of its bits are set: the base of the polynomial modulo 2^64 that is the hash of a word."""

BYTE_WORDS = frozenset(f"<0x{byte:02X}>" for byte in range(256))
"""The words that stand for single bytes, where the vocabulary has none for a character."""


class UnknownModel(Exception):
    """The model of the tokenizer is of a kind that cannot be cut down to the words of a text."""


class TableSize(NamedTuple):
    """How many words, scores and merges a table has; either words have scores or there are merges, or neither."""

    words: int
    scores: int
    merges: int

    def columns(self) -> dict[str, tuple[str, int]]:
        """Return the number format and the length of each column, in their order; the text of the words follows."""
        return {
            "hashes": ("<u8", self.words),
            "scores": ("<f8", self.scores),
            "ids": ("<u4", self.words),
            "begins": ("<u4", self.words + 1),
            "first_merges": ("<u4", self.words + 1),
            "lefts": ("<u4", self.merges),
            "rights": ("<u4", self.merges),
            "ranks": ("<u4", self.merges),
        }


@dataclass(frozen=True, slots=True)
class WordTable:
    """The words of a vocabulary, in the order of their hashes.

    The UTF-8 of word number n is `text[begins[n]:begins[n + 1]]`, its id `ids[n]`, its score `scores[n]`; the merges
    whose result it is have the numbers `first_merges[n]` to `first_merges[n + 1]`. `model` is the tokenizer's model as
    its JSON has it, without vocabulary and merges. `always` are the numbers of the words that any text may need, and
    `lengths` the lengths in characters that words have.
    """

    columns: Mapping[str, NDArray[Any]]
    text: memoryview
    model: Mapping[str, Any]
    always: tuple[int, ...]
    lengths: tuple[int, ...]

    def word(self, number: int) -> str:
        """Return the word of that number."""
        begin, end = self.columns["begins"][number : number + 2].tolist()
        return str(self.text[begin:end], "utf-8")

    def within(self, text: str) -> list[int]:
        """Return the numbers of all words that are substrings of `text`, with or without the prefix of the model."""
        prefix = _prefix(self.model)
        found = sorted(set(chain.from_iterable(self._with_hash_in(text))))
        return [number for number in found if _key(self.word(number), prefix) in text]

    def _with_hash_in(self, text: str) -> Iterator[range]:
        """Yield the numbers of the words that have the hash of a substring of `text`."""
        wanted, known = frozenset(self.lengths), self.columns["hashes"]
        for length, hashes in _hashes(text, max(self.lengths, default=0)):
            if length in wanted:
                places = np.searchsorted(known[:-1], hashes)  # the last word stands for all that come behind it
                firsts = np.unique(places[known[places] == hashes])
                behind = np.searchsorted(known, known[firsts], "right")
                yield from map(range, firsts.tolist(), behind.tolist())

    def model_of(self, text: str) -> tuple[dict[str, Any], list[int]]:
        """Return the JSON of a model with the words that `text` may need, and what its ids are in the whole model."""
        found = self.within(text)
        numbers = list(dict.fromkeys([*found, *self.always]))
        words = [self.word(number) for number in numbers]
        ids: list[int] = self.columns["ids"][numbers].tolist()
        changes: dict[str, Any] = {"vocab": {word: number for number, word in enumerate(words)}}
        if self.model["type"] == "Unigram":
            unknown = self.model["unk_id"]
            changes["vocab"] = list(zip(words, self.columns["scores"][numbers].tolist(), strict=True))
            changes["unk_id"] = None if unknown is None else ids.index(unknown)
        elif self.model["type"] == "BPE":
            changes["merges"] = self._merges_into(found)
        return {**self.model, **changes}, ids

    def _merges_into(self, numbers: Iterable[int]) -> list[tuple[str, str]]:
        """Return all merges whose result is one of these words, in the order in which they are applied."""
        firsts, ranks = self.columns["first_merges"], self.columns["ranks"]
        merges = [merge for number in numbers for merge in range(firsts[number], firsts[number + 1])]
        merges.sort(key=lambda merge: int(ranks[merge]))
        return [(self.word(self.columns["lefts"][one]), self.word(self.columns["rights"][one])) for one in merges]


def write_table(model: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write the vocabulary of a tokenizer's model; return what `read_table` has to be told of it.

    Raises `UnknownModel` for one that cannot be cut down to a few words.
    """
    _check_kind(model)
    ids, scores = _vocabulary(model)
    prefix = _prefix(model)
    keys = [_key(word, prefix) for word in ids]
    hashes = np.array([_hash(key) for key in keys], np.uint64)
    order = np.argsort(hashes, kind="stable").tolist()
    unsorted = list(ids)
    words = [unsorted[position] for position in order]
    texts = [word.encode() for word in words]
    merges = _numbered_merges(model, {word: number for number, word in enumerate(words)})
    columns = {
        "hashes": hashes[order],
        "scores": [scores[word] for word in words] if scores else [],
        "ids": [ids[word] for word in words],
        "begins": np.cumsum([0, *map(len, texts)]),
        "first_merges": np.searchsorted([merge[0] for merge in merges], range(len(words) + 1)),
        **{name: [merge[part] for merge in merges] for part, name in enumerate(("lefts", "rights", "ranks"), 1)},
    }
    size = TableSize(len(words), len(scores), len(merges))
    with path.open("wb") as file:
        for name, (kind, _) in size.columns().items():
            file.write(np.asarray(columns[name]).astype(kind).tobytes())
        file.writelines(texts)
    bare = {key: value for key, value in model.items() if key not in {"vocab", "merges"}}
    lengths = sorted({len(key) for key in keys} - {0})
    return {"model": bare, "size": size, "always": _always(model, words, scores), "lengths": lengths}


def read_table(path: Path, facts: Mapping[str, Any]) -> WordTable:
    """Return the table that `write_table` has written, mapped; raises `OSError` or `ValueError` where it is damaged."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    columns, begin = {}, 0
    for name, (kind, count) in TableSize(*facts["size"]).columns().items():
        columns[name] = np.frombuffer(mapped, kind, count, begin)
        begin += columns[name].nbytes
    return WordTable(
        columns, memoryview(mapped)[begin:], facts["model"], tuple(facts["always"]), tuple(facts["lengths"])
    )


def _check_kind(model: Mapping[str, Any]) -> None:
    """Raise `UnknownModel` unless a text's tokens depend on nothing but the words within it."""
    kind = model["type"]
    affixes = [model.get("continuing_subword_prefix"), model.get("end_of_word_suffix")]
    if kind not in {"BPE", "Unigram", "WordPiece"}:
        raise UnknownModel(f"its tokenizer is of the kind {kind}")
    if kind == "BPE" and (model.get("dropout") or any(affixes)):
        raise UnknownModel("its tokenizer merges with affixes or at random")
    never = {*(BYTE_WORDS if model.get("byte_fallback") else ()), model.get("unk_token")}
    if kind == "BPE" and any(part in never for merge in model["merges"] for part in merge):
        raise UnknownModel("its tokenizer merges bytes or what it does not know")


def _vocabulary(model: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, float]]:
    """Return the ids of all words, and their scores where the model has scores."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, Mapping):
        return dict(vocabulary), {}
    ids = {word: number for number, (word, _) in enumerate(vocabulary)}
    return ids, {word: vocabulary[number][1] for word, number in ids.items()}


def _numbered_merges(model: Mapping[str, Any], numbers: Mapping[str, int]) -> list[tuple[int, int, int, int]]:
    """Return the merges as the numbers of result, left and right, with the rank, sorted by the result."""
    merges = model.get("merges", ())
    return sorted(
        (numbers[left + right], numbers[left], numbers[right], rank) for rank, (left, right) in enumerate(merges)
    )


def _always(model: Mapping[str, Any], words: Sequence[str], scores: Mapping[str, float]) -> list[int]:
    """Return the numbers of the words that stand for what the vocabulary lacks.

    An unknown character costs a unigram model the least score of all words and ten more: a word of that is needed too.
    """
    wanted = set(BYTE_WORDS if model.get("byte_fallback") else ())
    wanted.add(model.get("unk_token") or "")
    if scores:
        wanted.add(min(scores, key=lambda word: scores[word]))
    if scores and model["unk_id"] is not None:
        wanted.add(model["vocab"][model["unk_id"]][0])
    return [number for number, word in enumerate(words) if word in wanted]


def _prefix(model: Mapping[str, Any]) -> str:
    """Return what stands before a word that goes on within a longer one: `##` in a model of the kind WordPiece."""
    return str(model.get("continuing_subword_prefix") or "")


def _key(word: str, prefix: str) -> str:
    """Return what a text has where a word is found in it."""
    return word.removeprefix(prefix) or word


def _hash(word: str) -> int:
    """Return the hash of a word."""
    value = 0
    for character in word:
        value = (value * BASE + ord(character) + 1) % (1 << 64)
    return value


def _hashes(text: str, longest: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """Yield for each length up to `longest` the hashes of all substrings of that length."""
    characters = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(len(text) + 1, np.uint64)
    for length in range(1, min(longest, len(text)) + 1):
        hashes = hashes[:-1] * np.uint64(BASE) + characters[length - 1 :]
        yield length, hashes
