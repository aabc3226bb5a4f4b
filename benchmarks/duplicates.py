"""How well `imgidx dupes` tells copies from what looks alike, and how long it takes in a library of a million.

    python benchmarks/duplicates.py --photos DIRECTORY [--model starter] [--count 1010] [--large 100000]

Four things are measured:

- a library with few duplicates: the photos as they are. Whatever is found is printed, to be looked at: a group is false
  unless the collection has a photo twice;
- copies: of each photo six are made, encoded anew as JPEG and as WebP, scaled to 0.25 to 0.75, cropped by 1 to 4 % a
  side, rotated with an EXIF tag that rotates it back, and with a text across it. One is found if it is in one group
  with its photo;
- 500 made-up pages of text, dialogs and flat fills, no two alike: every group is false;
- a large library of made-up grids and vectors, as `large_duplicates` makes it: the whole process of `imgidx dupes`,
  against one that reads all facts and vectors of the catalog.

Prints a table on stderr and JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from large_duplicates import make_duplicates, planted_groups
from measure import machine, run
from photos import pictures_in
from PIL import ExifTags, Image, ImageDraw, ImageFont

from image_index import __version__
from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.paths import resolve
from image_index.search.duplicates import find_duplicates
from image_index.settings import IndexHome
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.survey import SurveyOptions
from image_index.workers.engine import Engine

READ_ALL = (
    "import sys; from image_index import Index; print(sum(len(i) for i, _ in Index.open(sys.argv[1]).pictures()))"
)
"""What `imgidx dupes` is compared with: a process that reads the facts and the vectors of all pictures."""

UPPER = 3.0
"""Where nothing was seen, at most so many are to be expected, with 95 % confidence (rule of three)."""


def _cropped(picture: Image.Image, chance: random.Random) -> Image.Image:
    width, height = picture.size
    left, top, right, bottom = (chance.uniform(0.01, 0.04) for _ in range(4))
    return picture.crop((int(width * left), int(height * top), int(width * (1 - right)), int(height * (1 - bottom))))


def _resized(picture: Image.Image, chance: random.Random) -> Image.Image:
    factor = chance.uniform(0.25, 0.75)
    return picture.resize((max(8, int(picture.width * factor)), max(8, int(picture.height * factor))))


def _watermarked(picture: Image.Image, _: random.Random) -> Image.Image:
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    font = ImageFont.load_default(max(10, picture.height // 14))
    place = (picture.width * 0.05, picture.height * 0.85)
    ImageDraw.Draw(layer).text(place, "(c) example.org", fill=(255, 255, 255, 160), font=font)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


EDITS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "jpeg": lambda picture, _: picture,
    "webp": lambda picture, _: picture,
    "resized": _resized,
    "cropped": _cropped,
    "rotated": lambda picture, _: picture.transpose(Image.Transpose.ROTATE_90),
    "watermarked": _watermarked,
}


def make_variants(photos: list[Path], where: Path) -> None:
    """Write each photo and its variants to `where`, as NUMBER_KIND."""
    chance = random.Random(1)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    for number, path in enumerate(photos):
        (where / f"{number}_original{path.suffix}").write_bytes(path.read_bytes())
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        for kind, edit in EDITS.items():
            quality = chance.randint(40, 90) if kind in {"jpeg", "webp"} else 90
            name = where / f"{number}_{kind}.{'webp' if kind == 'webp' else 'jpg'}"
            edit(picture, chance).save(name, quality=quality, exif=turned if kind == "rotated" else Image.Exif())


WORDS = "the of and a to in is you that it he was for on are as with his they at be this have from or one had by"


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choice(WORDS.split()) for _ in range(count))


def _page(chance: random.Random) -> Image.Image:
    """Return a page of print; all have the same margins and lines."""
    picture = Image.new("L", (827, 1169), 255)
    lines = "\n".join(_words(chance, chance.choice((16, 16, 16, 9))) for _ in range(chance.randint(30, 46)))
    ImageDraw.Draw(picture).multiline_text((80, 80), lines, fill=0, font=ImageFont.load_default(15), spacing=6)
    return picture


def _dialog(chance: random.Random) -> Image.Image:
    """Return a dialog of a program; what it says is all that differs."""
    picture, font = Image.new("RGB", (480, 200), (240, 240, 240)), ImageFont.load_default(14)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 480, 28), fill=(0, 84, 160))
    draw.text((10, 6), _words(chance, 1).capitalize(), fill="white", font=font)
    draw.ellipse((20, 60, 68, 108), fill=(230, 180, 0))
    text = "\n".join(_words(chance, chance.randint(4, 9)).capitalize() for _ in range(chance.randint(1, 3)))
    draw.multiline_text((90, 55), text, fill=0, font=font)
    for x, name in ((270, "OK"), (370, "Cancel")):
        draw.rectangle((x, 155, x + 90, 185), outline=(120, 120, 120), fill=(225, 225, 225))
        draw.text((x + 20, 161), name, fill=0, font=font)
    return picture


def _fill(chance: random.Random) -> Image.Image:
    """Return a picture of one colour."""
    colour = tuple(chance.randrange(256) for _ in range(3))
    return Image.new("RGB", (chance.randint(50, 800), chance.randint(50, 800)), colour)


def make_graphics(where: Path) -> None:
    """Write 500 pictures of text, dialogs and flat fills to `where`."""
    chance = random.Random(2)
    for kind, make, count in (("page", _page, 200), ("dialog", _dialog, 200), ("fill", _fill, 100)):
        for number in range(count):
            make(chance).save(where / f"{number}_{kind}.png")


def groups_of(write: Callable[[Path], object], model: str) -> list[list[Path]]:
    """Return the groups that are found in a directory that `write` fills."""
    with tempfile.TemporaryDirectory() as scratch:
        pictures, home = Path(scratch) / "pictures", IndexHome(Path(scratch) / "index")
        pictures.mkdir()
        write(pictures)
        update_index(UpdateRequest(home, SurveyOptions((resolve(pictures),)), model, Engine("cpu"), quiet=True))
        with Catalog(home.catalog) as catalog:
            return [[member.image.file for member in group] for group in find_duplicates(catalog, Filters())]


def measure_photos(photos: list[Path], model: str) -> dict[str, Any]:
    """Return the groups found among the photos themselves, and how many to expect among 10,000 others."""

    def write(where: Path) -> None:
        for number, path in enumerate(photos):
            (where / f"{number}{path.suffix}").write_bytes(path.read_bytes())

    found = [[str(photos[int(path.stem)]) for path in group] for group in groups_of(write, model)]
    # of pairs: a library of ten times as many photos has a hundred times as many of them
    pairs = len(photos) * (len(photos) - 1) / 2
    per_pair = (len(found) or UPPER) / pairs
    return {"photos": len(photos), "groups": found, "at_most_in_10000": round(per_pair * 10_000 * 9_999 / 2, 1)}


def measure_recall(photos: list[Path], model: str) -> dict[str, Any]:
    """Return which share of the copies is found, and how many groups have two photos in them."""
    groups = groups_of(lambda where: make_variants(photos, where), model)
    group_of = {path.stem: position for position, group in enumerate(groups) for path in group}
    kinds = {
        kind: sum(group_of.get(f"{n}_{kind}", -1) == group_of.get(f"{n}_original", -2) for n in range(len(photos)))
        for kind in EDITS
    }
    mixed = sum(len({path.stem.partition("_")[0] for path in group}) > 1 for group in groups)
    return {
        "recall": {kind: round(found / len(photos), 4) for kind, found in kinds.items()},
        "groups": len(groups),
        "groups_of_two_photos": mixed,
    }


def measure_large(index: Path) -> dict[str, Any]:
    """Return seconds and peak memory of `imgidx dupes` in the library at `index`, and of reading all of it."""
    reading = run([sys.executable, "-c", READ_ALL, str(index)])
    command = [sys.executable, "-m", "image_index", "dupes", "--missing", "--json", "--index", str(index)]
    found = run(command)
    return {
        "pictures": int(reading.stdout),
        "groups": found.stdout.count("\n"),
        "planted": planted_groups(int(reading.stdout)),
        "seconds": round(found.seconds, 1),
        "reading_seconds": round(reading.seconds, 1),
        "core_seconds": round(found.cpu_seconds, 1),
        "reading_core_seconds": round(reading.cpu_seconds, 1),
        "ratio": round(found.seconds / reading.seconds, 2),
        "peak_mb": found.peak_bytes >> 20,
    }


def table(record: dict[str, Any]) -> str:
    """Return the record for people."""
    photos, copies, large = record["few"], record["copies"], record["large"]
    lines = [
        f"{record['model']}, {record['machine']}",
        f"{photos['photos']} different photos: {len(photos['groups'])} groups; "
        f"of 10,000 to expect by pairs: at most {photos['at_most_in_10000']}",
        *(f"  {' '.join(group)}" for group in photos["groups"]),
        *(f"{kind}: recall {share:.4f}" for kind, share in copies["recall"].items()),
        f"{copies['groups_of_two_photos']} of {copies['groups']} groups have two photos in them",
        f"500 made-up pages, dialogs and fills: {record['graphics']} false groups",
        f"{large['pictures']} pictures: {large['groups']} groups ({large['planted']} planted) in {large['seconds']} s,"
        f" {large['peak_mb']} MB; reading all from the catalog takes {large['reading_seconds']} s"
        f" (ratio {large['ratio']})",
    ]
    return "\n".join(lines)


def options(arguments: Iterable[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description="how well and how fast duplicates are found")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of different photos")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--count", type=int, default=1010, help="photos taken (default: 1010)")
    parser.add_argument("--large", type=int, default=100_000, help="pictures of the large library (default: 100000)")
    parser.add_argument("--dim", type=int, default=512, help="dimensions of its vectors (default: 512)")
    parser.add_argument("--large-index", type=Path, help="where the large library is, or is made and kept")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, and print what came of it."""
    arguments = options()
    photos = pictures_in(arguments.photos)[: arguments.count]
    with tempfile.TemporaryDirectory() as scratch:
        index = arguments.large_index or Path(scratch) / "large"
        if not index.exists():
            make_duplicates(IndexHome(index), arguments.large, arguments.dim)
        record = {
            "version": __version__,
            "machine": machine(),
            "model": arguments.model,
            "few": measure_photos(photos, arguments.model),
            "copies": measure_recall(photos, arguments.model),
            "graphics": len(groups_of(make_graphics, arguments.model)),
            "large": measure_large(index),
        }
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
