"""Thumbnails: the right picture in the right size and order, and a reason where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from image_index.pictures import thumbnails as thumbnails_module
from image_index.pictures.thumbnails import LOOK_AHEAD, SIDE, thumbnail, thumbnails
from image_index.records import ImageFacts
from tests.support.cloud import send_to_cloud
from tests.support.photos import real_photos
from tests.support.records import image_facts


def facts_of(path: Path, width: int, height: int) -> ImageFacts:
    """Return what an index knows of a picture of that size."""
    return image_facts(os.fsencode(path), width=width, height=height)


def opened(image: ImageFacts) -> Image.Image:
    """Return the thumbnail of a picture, opened by Pillow."""
    made = thumbnail(image)
    assert made.data is not None, made.problem
    shown = Image.open(BytesIO(made.data))
    assert shown.format == "WEBP"
    return shown


def test_a_thumbnail_looks_like_pillows_own(sample_photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape and, up to what WebP loses, pixels are those of Pillow's `thumbnail`."""
    monkeypatch.setattr(thumbnails_module, "SIDE", 120)
    for path in real_photos(sample_photos, 8):
        with Image.open(path) as original:
            expected = original.convert("RGB")
        image = facts_of(path, *expected.size)
        expected.thumbnail((120, 120), Image.Resampling.BICUBIC)
        shown = opened(image)
        assert np.abs(np.subtract(shown.size, expected.size)).max() <= 1
        difference = np.asarray(shown.convert("RGB"), float) - np.asarray(expected.resize(shown.size), float)
        assert np.abs(difference).mean() < 8


def test_a_picture_in_a_cloud_is_not_downloaded_to_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note stands in its place."""
    path = tmp_path / "a.png"
    Image.new("RGB", (9, 9)).save(path)
    send_to_cloud(monkeypatch, path)
    made = thumbnail(facts_of(path, 9, 9))
    assert (made.data, made.problem) == (None, "in a cloud, not on this disk")


def test_a_small_picture_is_not_blown_up(tmp_path: Path) -> None:
    """It stays as it is."""
    Image.new("RGB", (20, 9), "red").save(tmp_path / "a.png")
    assert opened(facts_of(tmp_path / "a.png", 20, 9)).size == (20, 9)


def test_a_long_picture_keeps_its_shape(tmp_path: Path) -> None:
    """Its shorter side is one pixel at least."""
    Image.new("RGB", (3000, 2), "red").save(tmp_path / "a.png")
    assert opened(facts_of(tmp_path / "a.png", 3000, 2)).size == (SIDE, 1)


def test_a_picture_is_turned_as_exif_says(tmp_path: Path) -> None:
    """What the camera held upright is shown upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (600, 300), "red").save(tmp_path / "a.jpg", exif=exif)
    assert opened(facts_of(tmp_path / "a.jpg", 300, 600)).size == (SIDE // 2, SIDE)


def test_a_picture_that_changed_its_shape_is_shown_as_it_is_now(tmp_path: Path) -> None:
    """What the index knows of it is of no account."""
    Image.new("RGB", (100, 400), "red").save(tmp_path / "a.png")
    assert opened(facts_of(tmp_path / "a.png", 400, 100)).size == (64, 256)


def test_what_cannot_be_shown_has_a_reason(tmp_path: Path) -> None:
    """A file that is gone, a directory, no picture, an empty file, one cut short, one too large: nothing is raised."""
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    Image.effect_noise((200, 200), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:4000])
    os.mkfifo(tmp_path / "fifo.jpg")
    reasons = {
        "gone.jpg": "gone",
        ".": "not a regular file",
        "fifo.jpg": "not a regular file",
        "text.jpg": "not a picture",
        "empty.jpg": "empty",
        "cut.jpg": "cut short",
        "a" * 300: "name too long",
    }
    for name, reason in reasons.items():
        made = thumbnail(facts_of(tmp_path / name, 200, 200))
        assert made.data is None
        assert reason in made.problem.lower(), name
    huge = thumbnail(facts_of(tmp_path / "whole.jpg", 20_000, 20_000))
    assert (huge.data, huge.problem) == (None, "too large to show: 20000 x 20000 pixels")


def test_order_is_kept_and_the_look_ahead_is_bounded(tmp_path: Path) -> None:
    """However many pictures are wanted, few are taken before they are asked for."""
    images = []
    for number in range(60):
        path = tmp_path / f"{number}.png"
        size = number + 1, 1 + 2000 * (number % 10 == 0)  # some take longer
        Image.new("RGB", size).save(path)
        images.append(facts_of(path, *size))
    taken = 0

    def counted() -> Iterator[ImageFacts]:
        nonlocal taken
        for image in images:
            taken += 1
            yield image

    shapes = []
    for number, made in enumerate(thumbnails(counted())):
        assert taken <= number + LOOK_AHEAD
        assert made.data is not None
        shapes.append(Image.open(BytesIO(made.data)).size)
    assert shapes == [opened(image).size for image in images]
