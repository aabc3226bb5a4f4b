"""Names that every system takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.files.safe_names import safe_name


@given(st.binary(min_size=1, max_size=255).filter(lambda name: not {b"/", b"\0"} & {*map(bytes, zip(name))}))
def test_a_name_is_safe_on_every_system(name: bytes) -> None:
    """Whatever bytes a file has for a name."""
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= 255 - len(" (10000)")
    assert safe.isprintable()
    assert not {*'<>:"/\\|?*'} & {*safe}
    assert safe == safe.strip(" ")
    assert not safe.endswith(".")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        (b"cat.jpg", "cat.jpg"),
        (b"..", "picture"),
        (b".hidden.jpg", "hidden.jpg"),
        (b"CON.jpg", "_CON.jpg"),
        (b"a\\..\\b:c.jpg", "a_.._b_c.jpg"),
        (b"caf\xe9.jpg", "caf_xe9.jpg"),
        ("\u202egpj.exe".encode(), "_xe2_x80_xaegpj.exe"),
        (b"a" * 300 + b".jpg", "a" * 196 + ".jpg"),
    ],
)
def test_a_name_stays_what_it_is_as_far_as_it_can(name: bytes, safe: str) -> None:
    """What a system would misunderstand is replaced."""
    assert safe_name(name) == safe


def test_a_long_name_is_cut_to_what_is_asked_for_and_keeps_its_extension() -> None:
    """No letter is cut in two."""
    assert safe_name(b"a" * 250 + b".jpeg", 251) == "a" * 246 + ".jpeg"
    assert safe_name("\u5317".encode() * 90 + b".jpg", 251) == "\u5317" * 82 + ".jpg"
