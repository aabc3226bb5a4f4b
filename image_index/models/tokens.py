"""A text to CLIP's token ids, exactly as open_clip's SimpleTokenizer does it, without torch.

The merges of the byte-pair encoding are one sorted array that is mapped into memory: reading them takes less than a
millisecond, where a `tokenizers` JSON of the same vocabulary takes 80.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from image_index.models.cleaning import clean, is_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

START, END = "<start_of_text>", "<end_of_text>"

PATTERN = rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
"""open_clip's own, for the `regex` module, with its IGNORECASE."""

_ASCII = re.compile(rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")

ID_BITS = 21
"""A merge is one integer: the ids of its left part, its right part and its result, this many bits each."""


@dataclass(frozen=True, slots=True)
class ClipTokenizer:
    """The vocabulary of a byte-pair encoding; a merge of lower id goes first.

    `bytes_inside` and `bytes_at_end` are the ids of the 256 bytes within a word and as its last. `merges` (M,) int64
    are sorted.
    """

    bytes_inside: tuple[int, ...]
    bytes_at_end: tuple[int, ...]
    merges: NDArray[np.int64]
    start: int
    end: int
    context_length: int

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, at most `context_length` with start and end."""
        ids = [self.start]
        for word in words(text):
            ids += {START: [self.start], END: [self.end]}.get(word) or self._merge(word.encode())
            if len(ids) >= self.context_length:
                return [*ids[: self.context_length - 1], self.end]
        return [*ids, self.end]

    def padded(self, ids: Sequence[int]) -> list[int]:
        """Return the ids of a text in the context's length."""
        return [*ids, *[0] * (self.context_length - len(ids))]

    def cut(self, text: str) -> str:
        """Return what of `text` does not fit into the context: its words from the first that is not whole."""
        length, pieces = 2, words(text)
        for position, word in enumerate(pieces):
            length += 1 if word in (START, END) else len(self._merge(word.encode()))
            if length > self.context_length:
                return " ".join(pieces[position:])
        return ""

    def _merge(self, word: bytes) -> list[int]:
        """Return the ids of a word: the merge of lowest id is applied wherever it fits, until none does."""
        ids = [self.bytes_inside[byte] for byte in word[:-1]] + [self.bytes_at_end[word[-1]]]
        while len(ids) > 1:
            results = [self._result(left, right) for left, right in pairwise(ids)]
            best = min((result for result in results if result is not None), default=None)
            if best is None:
                break
            ids = _apply(best, ids, results)
        return ids

    def _result(self, left: int, right: int) -> int | None:
        """Return the id that a pair becomes, or None where it stays two."""
        pair = pack(left, right, 0)
        position = int(np.searchsorted(self.merges, pair))
        merge = int(self.merges[position]) if position < len(self.merges) else -1
        return merge - pair if merge >> ID_BITS == pair >> ID_BITS else None


def pack(left: int, right: int, result: int) -> int:
    """Return a merge as one integer that sorts by its parts."""
    return (left << 2 * ID_BITS) | (right << ID_BITS) | result


def pack_merges(merges: Iterable[tuple[int, int, int]]) -> NDArray[np.int64]:
    """Return merges (left, right, result) as `ClipTokenizer` wants them, (M,) int64."""
    return np.array(sorted(pack(*merge) for merge in merges), np.int64)


def _apply(best: int, ids: list[int], results: list[int | None]) -> list[int]:
    """Return `ids` with each pair whose result is `best` made one, from the left."""
    merged, position = [], 0
    while position < len(ids):
        fits = position < len(results) and results[position] == best
        merged.append(best if fits else ids[position])
        position += 2 if fits else 1
    return merged


def words(text: str) -> list[str]:
    """Return the cleaned text in pieces that are encoded one by one."""
    if is_plain(text):
        return _ASCII.findall(text.lower())
    import regex

    found: list[str] = regex.findall(PATTERN, clean(text), regex.IGNORECASE)
    return found
