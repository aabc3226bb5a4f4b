"""Copies of photos agree, whatever was done to them; what only looks alike does not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from image_index.grid import Grids, unpack_grids
from image_index.search.compare import TYPICAL_CROP, agree_cropped, agree_in_place, descriptors
from image_index.search.copies import LEAST_COSINE
from tests.support.encoded_pictures import SQUARE, decoded, saved
from tests.support.photos import real_photos


def jpeg(picture: Image.Image, **options: int) -> bytes:
    """Encode a picture."""
    return saved(picture.convert("RGB"), "JPEG", **options)


def scaled(picture: Image.Image) -> bytes:
    """Return a picture of a third of the width and height."""
    return jpeg(picture.resize((picture.width // 3, picture.height // 3)), quality=90)


def cropped(picture: Image.Image) -> bytes:
    """Return a picture without 2 to 4 % of each side."""
    width, height = picture.size
    box = (int(0.03 * width), int(0.02 * height), int(0.96 * width), int(0.97 * height))
    return jpeg(picture.crop(box), quality=90)


def with_text(picture: Image.Image) -> bytes:
    """Return a picture with a white text across it."""
    picture = picture.convert("RGB")
    font = ImageFont.load_default(max(10, picture.height // 14))
    ImageDraw.Draw(picture).text((10, picture.height * 0.8), "(c) example.org", fill=(255, 255, 255), font=font)
    return jpeg(picture, quality=90)


def rotated(picture: Image.Image) -> bytes:
    """Return a picture that is rotated, with an EXIF tag that rotates it back."""
    exif = Image.Exif()
    exif[274] = 6
    return saved(picture.convert("RGB").transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)


IN_PLACE: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda picture: jpeg(picture, quality=40),
    "webp": lambda picture: saved(picture.convert("RGB"), "WEBP", quality=50),
    "scaled": scaled,
    "rotated": rotated,
    "with text": with_text,
}


def grids(files: list[bytes]) -> Grids:
    """Return the grids that decoding gives."""
    return unpack_grids([decoded(file, SQUARE).grid for file in files])


def take(found: Grids, rows: list[int]) -> Grids:
    """Return some of the grids."""
    return Grids(found.bright[rows], found.colour[rows])


@pytest.fixture(scope="module")
def photos(sample_photos: Path) -> list[Image.Image]:
    """Return the sample photos with structure all over; two are of one scene, from the left and from the right."""
    names = {"camera", "coffee", "coins", "ihc", "motorcycle_left", "motorcycle_right", "retina"}
    return [Image.open(path) for path in real_photos(sample_photos, 100) if path.stem in names]


@pytest.fixture(scope="module")
def originals(photos: list[Image.Image]) -> Grids:
    """Return the grids of the photos themselves."""
    return grids([saved(photo, "PNG") for photo in photos])


@pytest.mark.parametrize("kind", IN_PLACE)
def test_copies_agree_in_place(photos: list[Image.Image], originals: Grids, kind: str) -> None:
    """And their descriptors are so near that they are compared."""
    copies = grids([IN_PLACE[kind](photo) for photo in photos])
    assert agree_in_place(originals, copies).all()
    assert ((descriptors(originals) * descriptors(copies)).sum(axis=1) >= LEAST_COSINE).all()


def test_a_cropped_copy_agrees_when_it_is_aligned(photos: list[Image.Image], originals: Grids) -> None:
    """As it is, it does not; what is like its descriptor is that of a crop."""
    copies = grids([cropped(photo) for photo in photos])
    assert not agree_in_place(originals, copies).any()
    assert agree_cropped(originals, copies).all()
    assert ((descriptors(originals, TYPICAL_CROP) * descriptors(copies)).sum(axis=1) >= LEAST_COSINE).all()


def test_a_brighter_copy_agrees_and_other_photos_do_not(photos: list[Image.Image], originals: Grids) -> None:
    """Brightness and contrast as a whole are not what a picture shows."""
    brighter = [Image.fromarray((np.asarray(photo) * 0.8 + 40).astype(np.uint8)) for photo in photos]
    grey = [place for place, photo in enumerate(photos) if photo.mode == "L"]
    copies = grids([saved(picture, "PNG") for picture in brighter])
    assert agree_in_place(take(originals, grey), take(copies, grey)).all()
    one, other = map(list, zip(*combinations(range(len(photos)), 2), strict=True))
    for agree in (agree_in_place, agree_cropped):
        assert not agree(take(originals, one), take(originals, other)).any()
        assert not agree(take(originals, other), take(originals, one)).any()


WORDS = (
    "now",
    "is",
    "the",
    "time",
    "for",
    "all",
    "good",
    "men",
    "to",
    "come",
    "aid",
    "party",
    "quick",
    "brown",
    "foxes",
)


def lines(chance: np.random.Generator, count: int, words: int) -> str:
    """Return lines of random words."""
    return "\n".join(" ".join(chance.choice(WORDS, words)) for _ in range(count))


def page(seed: int) -> Image.Image:
    """Return a page of text."""
    picture = Image.new("L", (620, 877), 255)
    text = lines(np.random.default_rng(seed), 45, 13)
    ImageDraw.Draw(picture).multiline_text((60, 60), text, fill=0, font=ImageFont.load_default(12))
    return picture


def dialog(seed: int) -> Image.Image:
    """Return a dialog: what it says is all that differs."""
    picture, font = Image.new("RGB", (480, 200), (240, 240, 240)), ImageFont.load_default(14)
    chance, draw = np.random.default_rng(seed), ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 480, 28), fill=(0, 84, 160))
    draw.ellipse((20, 60, 68, 108), fill=(230, 180, 0))
    draw.multiline_text((90, 55), lines(chance, int(chance.integers(1, 4)), 8), fill=0, font=font)
    for x in (270, 370):
        draw.rectangle((x, 155, x + 90, 185), outline=(120, 120, 120), fill=(225, 225, 225))
    return picture


def shirt(seed: int) -> Image.Image:
    """Return one shirt on white, each time in another colour."""
    picture = Image.new("RGB", (300, 300), "white")
    colour = ["#c81e28", "#1e3cb4", "#1e8c3c", "#141414", "#787878", "#f0c81e"][seed]
    outline = [(90, 60), (210, 60), (270, 110), (240, 145), (215, 125), (215, 250), (85, 250), (85, 125), (60, 145)]
    ImageDraw.Draw(picture).polygon([*outline, (30, 110)], fill=colour, outline="#1e1e1e")
    return picture


def fill(seed: int) -> Image.Image:
    """Return a flat fill, white twice."""
    return Image.new("RGB", (200, 100), ["white", "white", "#fefefe", "black", "#101010", "red"][seed])


@pytest.mark.parametrize("made", [page, dialog, shirt, fill])
def test_what_only_looks_alike_is_no_copy(made: Callable[[int], Image.Image]) -> None:
    """Two pages, what a program says twice, one thing in two colours, and pictures without anything in them."""
    found = grids([saved(made(seed), "PNG") for seed in range(6)])
    one, other = map(list, zip(*combinations(range(6), 2), strict=True))
    for agree in (agree_in_place, agree_cropped):
        assert not agree(take(found, one), take(found, other)).any()
    if made is not fill:
        again = grids([jpeg(made(seed), quality=90) for seed in range(6)])
        assert agree_in_place(found, again).all()


def test_a_pan_is_no_crop(photos: list[Image.Image]) -> None:
    """Two shots of a scene, the second a little to the right, are two pictures."""
    rows = []
    for photo in photos:
        width, height = photo.size
        rows.append([photo.crop((x, 0, x + int(0.92 * width), height)) for x in (0, int(0.08 * width))])
    one, other = (grids([saved(pair[side], "PNG") for pair in rows]) for side in (0, 1))
    assert not agree_cropped(one, other).any()
