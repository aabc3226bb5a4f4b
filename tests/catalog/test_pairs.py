"""Pairs of RAW and JPEG: what is one shot, and what is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.pairs import pair_of, raws_of_pairs
from image_index.records import DateSource, EmbeddedBatch, ImageFacts
from tests.support.records import embedded_image, facts, image_file

NOON = 1_700_000_000


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Give an empty catalog."""
    with Catalog(tmp_path / "catalog", write=True) as made:
        made.set_model(facts(4))
        yield made


def add(
    catalog: Catalog, path: str, kind: str, taken_at_s: int | None = NOON, source: str = DateSource.EXIF
) -> ImageFacts:
    """Store a picture and return its facts."""
    image = embedded_image(image_file(os.fsencode(path)), os.fsencode(path))
    picture = image.picture._replace(format=kind, taken_at_s=taken_at_s, date_source=source)
    catalog.record(EmbeddedBatch((replace(image, picture=picture),), np.eye(1, 4, dtype=np.float32)))
    stored = catalog.facts_at(os.fsencode(path))
    assert stored is not None
    return stored


def is_pair(catalog: Catalog, raw: ImageFacts, other: ImageFacts) -> bool:
    """Tell whether two pictures are a pair, from either side and among all of the catalog."""
    found = {pair_of(catalog, raw) == other, pair_of(catalog, other) == raw, raw.id in raws_of_pairs([raw, other])}
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/p/DSC1.JPG", "jpeg"), ("/p/DSC1.jpeg", "mpo"), ("/p/DSC1.HEIC", "heif"), ("/p/DSC1.hif", "heif")],
)
def test_a_raw_file_and_what_the_camera_wrote_beside_it_are_a_pair(catalog: Catalog, path: str, kind: str) -> None:
    """One directory, one name, one time; the extensions in any case."""
    assert is_pair(catalog, add(catalog, "/p/DSC1.NEF", "raw"), add(catalog, path, kind))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/q/DSC1.JPG", "jpeg"),  # another directory
        ("/p/DSC1/DSC1.JPG", "jpeg"),
        ("/p/DSC2.JPG", "jpeg"),  # the next of a burst
        ("/p/DSC1 (1).JPG", "jpeg"),  # an edit, a copy
        ("/p/DSC1.edit.jpg", "jpeg"),
        ("/p/DSC1_E.JPG", "jpeg"),
        ("/p/dsc1.JPG", "jpeg"),
        ("/p/DSC1.png", "png"),  # no camera writes that
        ("/p/DSC1.dng", "raw"),  # converted from it
    ],
)
def test_other_pictures_are_pictures_of_their_own(catalog: Catalog, path: str, kind: str) -> None:
    """Bursts, edits and copies, though they have the same time."""
    raw, other = add(catalog, "/p/DSC1.NEF", "raw"), add(catalog, path, kind)
    assert pair_of(catalog, raw) is None
    assert pair_of(catalog, other) is None
    assert raws_of_pairs([raw, other]) == frozenset()


@pytest.mark.parametrize(
    ("raw", "other", "expected"),
    [
        ((NOON, "exif"), (NOON, "exif"), True),
        ((NOON, "exif"), (NOON + 1, "exif"), False),  # the counter of names has begun anew
        ((NOON, "exif"), (NOON + 7200, "exif"), False),
        ((None, "file"), (None, "file"), True),
        ((NOON, "exif"), (None, "file"), False),
        ((NOON, "raw"), (NOON, "exif"), True),
        ((NOON, "raw"), (NOON + 7200, "exif"), True),  # the JPEG states an offset, LibRaw does not
        ((NOON, "raw"), (NOON - 20_700, "exif"), True),  # Kathmandu
        ((NOON, "raw"), (NOON + 7201, "exif"), False),
        ((NOON, "raw"), (NOON + 86_400, "exif"), False),
        ((NOON, "raw"), (None, "file"), False),
    ],
)
def test_a_pair_was_taken_at_one_time(
    catalog: Catalog, raw: tuple[int | None, str], other: tuple[int | None, str], expected: bool
) -> None:
    """In the same second, or neither says when; a time of LibRaw's may lack its offset from UTC."""
    found = is_pair(catalog, add(catalog, "/p/a.cr3", "raw", *raw), add(catalog, "/p/a.jpg", "jpeg", *other))
    assert found is expected


def test_a_shot_of_three_files_is_shown_as_jpeg(catalog: Catalog) -> None:
    """The best known format first, and the RAW file beside each of the others."""
    heic, jpeg, raw = (
        add(catalog, f"/p/a.{end}", kind) for end, kind in (("heic", "heif"), ("jpg", "jpeg"), ("nef", "raw"))
    )
    assert [pair_of(catalog, image) for image in (raw, jpeg, heic)] == [jpeg, raw, raw]


def test_a_missing_file_is_in_no_pair(catalog: Catalog) -> None:
    """What is gone cannot stand for the other."""
    raw, jpeg = add(catalog, "/p/a.nef", "raw"), add(catalog, "/p/a.jpg", "jpeg")
    catalog.mark_missing([image for image in catalog.known(b"/p") if image.id == jpeg.id])
    assert pair_of(catalog, raw) is None


def test_names_that_are_not_text_are_compared_as_bytes(catalog: Catalog) -> None:
    """And a dot in a directory's name begins no extension."""
    raw, jpeg = add(catalog, "/p.x/\udcffa", "raw"), add(catalog, "/p.x/a.jpg", "jpeg")
    assert pair_of(catalog, raw) is None
    assert pair_of(catalog, jpeg) is None
