"""Names and texts as wild as systems allow, and whether a terminal is safe from what is made of them."""

from __future__ import annotations

from hypothesis import strategies as st

paths = st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw).map(lambda raw: b"/" + raw)
texts = st.text(max_size=60)


def harmless(shown: str, lines: int | None = None) -> bool:
    """Tell whether a text holds nothing that a terminal acts on, but line ends; `lines` is how many those are."""
    bare = shown.replace("\n", "")
    return all(c.isprintable() for c in bare) and lines in (None, shown.count("\n"))
