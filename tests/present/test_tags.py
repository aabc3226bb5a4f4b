"""Labels of pictures, as text and as JSON."""

from __future__ import annotations

import sys

import pytest

from image_index.present.jsonl import json_line
from image_index.present.screen import Screen
from image_index.present.tags import tagged_record, tags_table
from image_index.search.labels import Label, TaggedImage
from tests.support.records import image_facts


def tagged(path: bytes, *labels: tuple[str, float]) -> TaggedImage:
    """Return a picture with labels."""
    return TaggedImage(image_facts(path), tuple(Label(*label) for label in labels))


def test_a_terminal_is_shown_neither_control_characters_nor_markup() -> None:
    """Of names and of labels; the path is told once."""
    pictures = [tagged(b"/a/\x1b[1mb.jpg", ("[red]dog\x07", 0.75), ("cat", 0.25))]
    shown = tags_table(pictures, Screen())
    assert [line.split() for line in shown.splitlines()] == [
        ["0.75", "[red]dog\\x07", "/a/\\x1b[1mb.jpg"],
        ["0.25", "cat"],
    ]


@pytest.mark.skipif(sys.platform == "darwin", reason="a file system that wants UTF-8 has no other names")
def test_a_path_that_is_no_text_survives_json() -> None:
    """As base64, as everywhere."""
    assert json_line(tagged_record(tagged(b"/\xff.jpg", ("dog", 0.5)))) == (
        '{"path_bytes": "L/8uanBn", "labels": [{"label": "dog", "probability": 0.5}]}\n'
    )
