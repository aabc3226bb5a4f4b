"""The hits of a search as JSON with pinned keys, and as text that no file name can harm."""

from __future__ import annotations

import base64
import json
import os
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from image_index.present.hits import hit_record, hits_table, image_record, path_lines
from image_index.present.jsonl import json_line
from image_index.present.screen import Screen
from image_index.records import Hit
from tests.support.records import hit, image_facts
from tests.support.texts import harmless, paths


def test_hit_has_pinned_keys() -> None:
    """What it is worth, where it is, and what is known of it, in this order."""
    place = {"latitude": 48.8584, "longitude": -2.2945, "altitude_m": 35.5}
    image = image_facts(b"/photos/a.jpg", 7, taken_at_s=86_400, date_source="exif", camera="X1", **place)
    found = Hit(1, 0.25, 3.14159, image)
    facts = '"date": "1970-01-02T00:00:00Z", "date_source": "exif", "width": 4, "height": 3, "format": "jpeg", '
    facts += '"camera": "X1", "latitude": 48.8584, "longitude": -2.2945, "altitude_m": 35.5, "pair": null}'
    line = '"rank": 1, "score": 0.25, "sigma": 3.142, "path": "/photos/a.jpg", ' + facts
    assert json_line(hit_record(found)) == "{" + line + "\n"
    assert json_line(hit_record(found, "a cat")) == '{"query": "a cat", ' + line + "\n"


@pytest.mark.parametrize(
    ("pair", "shown"),
    [(b"/a.nef", {"pair": "/a.nef"}), (b"/\xff.nef", {"pair_bytes": "L/8ubmVm"}), (None, {"pair": None})],
)
def test_the_other_file_of_a_shot_is_named(pair: bytes | None, shown: dict[str, str]) -> None:
    """In base64 where it is not UTF-8, as the path itself."""
    record = hit_record(Hit(1, 0.5, None, image_facts(), pair))
    assert {key: record[key] for key in record if key.startswith("pair")} == shown


def test_the_distance_from_a_place_is_told_where_one_was_named() -> None:
    """In kilometres, to the metre, behind all other keys but the index; a table has a column of it."""
    near = Hit(1, 0.5, None, image_facts(), index=b"/index", distance_m=1234.5678)
    assert list(hit_record(near).items())[-2:] == [("distance_km", 1.235), ("index", "/index")]
    head, _, row = hits_table([near], Screen(width=50)).splitlines()
    assert (head.split(), row.split()) == (["score", "sigma", "km", "path"], ["1", "0.500", "1.2", "/a.jpg"])


def test_date_of_a_picture_without_exif_is_that_of_its_file() -> None:
    """Times that no calendar has are the nearest that it has."""
    dates = [image_record(image_facts(mtime_ns=at_s * 10**9))["date"] for at_s in (86_400, -(2**60), 2**60)]
    assert dates == ["1970-01-02T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    unknown = hit_record(Hit(1, 0.5, None, image_facts()))
    assert (unknown["sigma"], unknown["camera"]) == (None, None)


def test_name_that_is_not_utf_8_stands_as_base64_under_another_key() -> None:
    """As in ripgrep, `path_bytes` takes the place of `path`."""
    record = hit_record(hit(1, 0.5, b"/photos/\xff.jpg", 7))
    assert list(record)[:4] == ["rank", "score", "sigma", "path_bytes"]
    assert base64.b64decode(record["path_bytes"]) == b"/photos/\xff.jpg"


@given(paths)
def test_every_path_comes_back_from_its_json(path: bytes) -> None:
    """Any name the system allows survives, on one line of valid UTF-8."""
    line = json_line(hit_record(hit(1, 0.5, path, 1)))
    assert line.count("\n") == 1
    record = json.loads(line.encode("utf-8"))
    assert (base64.b64decode(record["path_bytes"]) if "path_bytes" in record else record["path"].encode()) == path


@given(st.lists(paths, max_size=4), st.integers(30, 120))
def test_hits_on_a_terminal_are_harmless_and_fit_its_width(found: list[bytes], width: int) -> None:
    """Whatever a file is called, no line of the table is too wide, and no control character gets through."""
    hits = [hit(rank, 0.123, path, rank) for rank, path in enumerate(found, 1)]
    shown = hits_table(hits, Screen(width=width, colour=False))
    assert harmless(shown)
    assert all(cell_len(line) <= width for line in shown.splitlines())


@given(paths)
def test_escaped_paths_are_harmless_and_one_a_line(path: bytes) -> None:
    """A terminal gets one line a path, newlines in names or not."""
    assert harmless(path_lines([hit(1, 0.5, path, 1)], end="\n", escaped=True), lines=1)


@given(st.lists(paths, max_size=4))
def test_paths_for_programs_are_byte_for_byte(found: list[bytes]) -> None:
    """What goes to xargs -0 is what the system calls the files."""
    lines = path_lines([hit(1, 0.5, path, 1) for path in found], end="\0", escaped=False)
    assert os.fsencode(lines) == b"".join(path + b"\0" for path in found)


def test_path_of_plain_letters_is_shown_as_it_is() -> None:
    """Letters of any script, spaces and quotes are not escaped."""
    path = "/fotos/Straße \"é\" 写真 'x'.jpg".encode()
    assert path_lines([hit(1, 0.5, path, 1)], end="\n", escaped=True) == path.decode() + "\n"


def test_markup_in_a_path_is_shown_not_obeyed() -> None:
    """Square brackets and colons in names mean nothing to the table."""
    hits = [hit(1, 0.5, b"/a/[red]x[/red] :smile: [link=x].jpg", 1)]
    assert "/a/[red]x[/red] :smile: [link=x].jpg" in hits_table(hits, Screen(width=100, colour=False))


def test_hits_table_shows_rank_score_sigma_path_and_date() -> None:
    """One row a hit, in the order given; a narrow terminal has no room for the date."""
    hits = [hit(1, 0.34567, b"/a.jpg", 1), Hit(2, -0.1, None, image_facts(b"/b.jpg", taken_at_s=10**9))]
    rows = [line.split() for line in hits_table(hits, Screen(width=80, colour=False)).splitlines()]
    assert rows[-2:] == [["1", "0.346", "3.5", "/a.jpg", "2001-09-09"], ["2", "-0.100", "/b.jpg", "2001-09-09"]]
    rows = [line.split() for line in hits_table(hits, Screen(width=50, colour=False)).splitlines()]
    assert rows[-2:] == [["1", "0.346", "3.5", "/a.jpg"], ["2", "-0.100", "/b.jpg"]]


@given(paths)
def test_a_path_links_to_its_file(path: bytes) -> None:
    """Whatever it is called, the link is one that a terminal takes back to the same bytes."""
    shown = hits_table([hit(1, 0.5, path)], Screen(width=200, colour=True))
    links = set(re.findall(r"\x1b]8;[^;]*;file://([!-~]+)\x1b", shown))
    assert {unquote_to_bytes(link) for link in links} == {path}


def test_colour_is_used_only_where_asked_for() -> None:
    """Escape codes go to terminals alone."""
    hits = [hit(1, 0.5, b"/a.jpg", 1)]
    assert "\x1b[" not in hits_table(hits, Screen(width=80, colour=False))
    assert "\x1b[" in hits_table(hits, Screen(width=80, colour=True))
