"""How well `imgidx dupes` finds what was made of a picture, and how long it takes in a large library.

    python benchmarks/duplicates.py --photos DIRECTORY [--model starter] [--count 1010] [--large 100000]

Of each photo six variants are made: encoded anew as JPEG and as WebP, scaled to 0.25 to 0.75, cropped by up to 8 %,
turned with an EXIF tag that turns it back, and with a text across it. A variant is found if it is in one group with its
photo; a pair (best of a group, member) of two photos is wrong, though some photos are in the collection twice.
The large library has made-up hashes and vectors, a tenth of them copies with a few bits changed; the reference is to
read all of its rows and vectors from the catalog. Prints a table on stderr and JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from large_library import random_batch
from measure import machine, timed
from photos import pictures_in
from PIL import ExifTags, Image, ImageDraw, ImageFont

from image_index import __version__
from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.paths import resolve
from image_index.records import EmbeddedBatch, ImageFile, ModelFacts, Preprocess
from image_index.search.duplicates import DISTANCE, SIMILARITY, DuplicateOptions, find_duplicates
from image_index.settings import IndexHome
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.survey import SurveyOptions
from image_index.workers.engine import Engine

SIMILARITIES = (0.75, SIMILARITY, 0.85, 0.9, 0.95)
DISTANCES = (6, 8, DISTANCE, 12, 14)


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


def quality(catalog: Catalog, options: DuplicateOptions, count: int) -> dict[str, Any]:
    """Return the precision of pairs, and the recall of variants, by kind and of all."""
    group_of: dict[str, int] = {}
    wrong: set[tuple[int, int]] = set()
    pairs = [0, 0]
    for position, group in enumerate(find_duplicates(catalog, Filters(), options)):
        members = [member.image.file.stem for member in group]
        group_of |= dict.fromkeys(members, position)
        numbers = [int(name.partition("_")[0]) for name in members]
        others = [number for number in numbers if number != numbers[0]]
        wrong |= {(min(numbers[0], other), max(numbers[0], other)) for other in others}
        pairs[0] += len(members) - 1
        pairs[1] += len(others)
    found = {
        kind: sum(group_of.get(f"{n}_{kind}", -1) == group_of.get(f"{n}_original", -2) for n in range(count)) / count
        for kind in EDITS
    }
    return {
        "similarity": options.similarity,
        "distance": options.distance,
        "precision": round(1 - pairs[1] / max(pairs[0], 1), 4),
        "recall": round(sum(found.values()) / len(found), 4),
        "recall_by_kind": {kind: round(value, 3) for kind, value in found.items()},
        "wrong_pairs_of_photos": len(wrong),
    }


def measure_quality(photos: list[Path], model: str) -> list[dict[str, Any]]:
    """Return the quality at the default thresholds, and then around them."""
    chosen = [
        (SIMILARITY, DISTANCE),
        *((similarity, DISTANCE) for similarity in SIMILARITIES if similarity != SIMILARITY),
    ]
    chosen += [(SIMILARITY, distance) for distance in DISTANCES if distance != DISTANCE]
    with tempfile.TemporaryDirectory() as scratch:
        pictures, home = Path(scratch) / "photos", IndexHome(Path(scratch) / "index")
        pictures.mkdir()
        make_variants(photos, pictures)
        update_index(UpdateRequest(home, SurveyOptions((resolve(pictures),)), model, Engine("cpu"), quiet=True))
        with Catalog(home.catalog) as catalog:
            return [quality(catalog, DuplicateOptions(*options), len(photos)) for options in chosen]


def large_batch(first: int, count: int, dim: int) -> EmbeddedBatch:
    """Return made-up pictures: random hashes and vectors, every tenth a copy of the one before but for some bits."""
    random_state = np.random.default_rng(first)
    batch = random_batch([ImageFile(b"/photos/%09d.jpg" % n, n, 10**18) for n in range(first, first + count)], dim)
    hashes = random_state.integers(0, 256, (count, 8), dtype=np.uint8)
    hashes[9::10] = hashes[8::10][: len(hashes[9::10])] ^ 1
    batch.vectors[9::10] = batch.vectors[8::10][: len(batch.vectors[9::10])]
    images = (
        replace(image, picture=image.picture._replace(phash=bits.tobytes()))
        for image, bits in zip(batch.images, hashes, strict=True)
    )
    return EmbeddedBatch(tuple(images), batch.vectors)


def measure_time(count: int, dim: int) -> dict[str, Any]:
    """Return how long a library of `count` pictures takes, in seconds and as a ratio to reading it."""
    with tempfile.TemporaryDirectory() as scratch, Catalog(Path(scratch) / "catalog", write=True) as catalog:
        catalog.set_model(ModelFacts("none", "0" * 64, "{}", Preprocess((8, 8), (0, 0, 0), (1, 1, 1)), dim))
        for first in range(0, count, 10_000):
            catalog.record(large_batch(first, min(10_000, count - first), dim))
        groups: list[int] = []
        seconds = timed(lambda: groups.append(len(find_duplicates(catalog, Filters()))))
        reading = timed(lambda: list(islice(catalog.pictures(Filters()), None)))
    return {
        "pictures": count,
        "groups": groups[0],
        "seconds": round(seconds, 2),
        "reading_seconds": round(reading, 2),
        "ratio": round(seconds / reading, 3),
    }


def table(record: dict[str, Any]) -> str:
    """Return the record for people."""
    lines = [f"{record['photos']} photos with {len(EDITS)} variants each, {record['model']}, {record['machine']}"]
    lines += [
        f"similarity {row['similarity']:.2f}, {row['distance']} bits: precision {row['precision']:.4f}, recall"
        f" {row['recall']:.4f} ({', '.join(f'{kind} {value:.3f}' for kind, value in row['recall_by_kind'].items())}),"
        f" {row['wrong_pairs_of_photos']} wrong pairs of photos"
        for row in record["quality"]
    ]
    large = record["large"]
    lines.append(
        f"{large['pictures']} pictures: {large['groups']} groups in {large['seconds']:.1f} s;"
        f" reading all from the catalog takes {large['reading_seconds']:.1f} s (ratio {large['ratio']:.2f})"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="how well and how fast duplicates are found")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of different photos")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--count", type=int, default=1010, help="photos taken (default: 1010)")
    parser.add_argument("--large", type=int, default=100_000, help="pictures of the large library (default: 100000)")
    parser.add_argument("--dim", type=int, default=512, help="dimensions of its vectors (default: 512)")
    arguments = parser.parse_args()
    photos = pictures_in(arguments.photos)[: arguments.count]
    record = {
        "version": __version__,
        "machine": machine(),
        "model": arguments.model,
        "photos": len(photos),
        "quality": measure_quality(photos, arguments.model),
        "large": measure_time(arguments.large, arguments.dim),
    }
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
