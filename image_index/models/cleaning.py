"""Texts as open_clip cleans them before they are cut into tokens, without torch."""

from __future__ import annotations

import string

CLEANINGS = ("lower", "whitespace", "canonicalize")
"""The names that open_clip has for the ways to clean."""

_NO_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


def clean(text: str, how: str = "lower") -> str:
    """Return `text` with mojibake and entities mended and single spaces.

    `lower` is in lower case besides, and `canonicalize`, after big_vision, without ASCII's punctuation too.
    """
    mended = text if is_plain(text) else _mended(text)
    if how == "canonicalize":
        mended = mended.translate(_NO_PUNCTUATION).lower()
    spaced = " ".join(mended.split())
    return spaced.lower() if how == "lower" else spaced


def is_plain(text: str) -> bool:
    """Tell whether ftfy and html have nothing to mend in `text`: their import alone takes 40 ms."""
    return text.isascii() and text.isprintable() and "&" not in text


def _mended(text: str) -> str:
    import html

    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))
