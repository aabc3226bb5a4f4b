"""The facts of an XMP packet, in both its spellings and however damaged it is."""

from __future__ import annotations

import time

import pytest

from image_index.pictures.xmp import MOST_BYTES, read_xmp

ATTRIBUTES = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description
 xmp:CreateDate='2011-10-17' photoshop:DateCreated = "1955-06" tiff:Make="Smith &amp; Sons"/></rdf:RDF></x:xmpmeta>"""
ELEMENTS = """<rdf:Description><xap:CreateDate>2011-10-17</xap:CreateDate><photoshop:DateCreated>
 1955-06</photoshop:DateCreated><tiff:Make>Smith &amp; Sons</tiff:Make></rdf:Description>"""
FACTS = {"xmp:CreateDate": "2011-10-17", "photoshop:DateCreated": "1955-06", "tiff:Make": "Smith & Sons"}


@pytest.mark.parametrize("packet", [ATTRIBUTES, ELEMENTS], ids=["attributes", "elements"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_both_spellings_are_read(packet: str, encoding: str) -> None:
    """Facts are attributes or elements, in any encoding that XMP has."""
    assert read_xmp(packet.encode(encoding)) == read_xmp(packet) == FACTS


def test_the_first_of_each_counts_and_damage_is_no_error() -> None:
    """What an edit took over from other pictures stands behind."""
    assert read_xmp(ATTRIBUTES + ATTRIBUTES.replace("1955", "1966")) == FACTS
    assert read_xmp(ATTRIBUTES[:-20].encode() + b"\xff\xfe<<<&") == FACTS
    assert read_xmp("") == read_xmp(b"\0\xff") == {}


def test_a_packet_of_any_size_is_read_at_once() -> None:
    """What is far behind is not looked at, and nothing grows."""
    start = time.monotonic()
    assert read_xmp(b" " * MOST_BYTES + ATTRIBUTES.encode()) == {}
    assert read_xmp(b"<exif:DateTimeOriginal>" * 10**6) == {}
    assert time.monotonic() - start < 5
