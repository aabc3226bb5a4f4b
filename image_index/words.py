"""Words of paths: how `--name` compares what people type with the names of directories and files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

_WORD = re.compile(r'"([^"]*)"|(\S+)')

_NO_UTF8 = re.compile("[\ud800-\udfff]")

_LETTERS = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ł": "l", "ŧ": "t", "\u0131": "i", "æ": "ae", "œ": "oe"}
)
"""Letters to which Unicode knows no accent, but people without that key do."""

END = "//"
"""What ends an indexed path: then each of its characters begins three, and no path has it elsewhere."""


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of `text`, folded; what stands in double quotes is one word, blanks included."""
    valid = _NO_UTF8.sub("\ufffd", text)  # of bytes that are none in a shell Python makes these
    words = (fold_text(quoted or plain) for quoted, plain in _WORD.findall(valid))
    return tuple(dict.fromkeys(filter(None, words)))


def fold_text(text: str) -> str:
    """Return `text` without case, accents, and differences of width: `Été` is `ete`.

    Marks without which a letter is another one, as in Japanese, Thai or Hindi, stay.
    """
    if text.isascii():
        return text.lower()
    # Casefolding first: it takes İ to an i with a dot, which is a mark.
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if not _is_accent(c)).translate(_LETTERS))


def _is_accent(character: str) -> bool:
    """Tell whether a character is a mark that people leave out: an accent, or a vowel point of Hebrew or Arabic."""
    # https://www.unicode.org/reports/tr44/#Canonical_Combining_Class_Values: from 200 on they only say where a mark is
    place = unicodedata.combining(character)
    return place >= 200 or 10 <= place <= 36


def fold_path(path: bytes) -> str:
    """Return a path, folded; bytes that are no UTF-8 all count as one character."""
    if path.isascii():
        return path.decode("ascii").lower()
    directory, slash, name = path.rpartition(b"/")
    return _fold_directory(directory + slash) + _fold_bytes(name)


def _fold_bytes(name: bytes) -> str:
    return fold_text(name.decode("utf-8", "replace"))


_fold_directory = lru_cache(maxsize=1024)(_fold_bytes)
"""Many files lie in one directory: folding takes 5 us for what is not ASCII."""


def indexed_words(path: bytes) -> str:
    """Return the text by which a path is found: it has every word of the path."""
    return fold_path(path) + END


def word_matcher(words: Iterable[str]) -> Callable[[bytes], bool]:
    """Return a function: does a path have all these words, which are folded?"""
    wanted = tuple(words)

    def fits(path: bytes) -> bool:
        folded = fold_path(path)
        return all(word in folded for word in wanted)

    return fits
