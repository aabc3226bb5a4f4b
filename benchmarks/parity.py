"""What the shortcuts cost: vectors with scaled decoding and in each precision, against exact decoding in fp32.

    python benchmarks/parity.py --photos DIRECTORY [--model starter] [--count 1010]

With a directory per category it also tells how often the ten nearest pictures (and the first) are of the same category.
The pictures are taken as they are and, for the decoding, enlarged four times, so that libjpeg has something to scale;
and so, as HEIC, by their preview.
Prints a table on stderr and JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine
from numpy.typing import NDArray
from photos import pictures_in
from PIL import Image

from image_index import __version__
from image_index.files.read import FileContent, read_file
from image_index.formats import Decoding
from image_index.models.names import parse_model
from image_index.pictures.decode import decode, prepare
from image_index.records import ImageFile, Pixels, Vectors
from image_index.workers.devices import Precision
from image_index.workers.encoder import Encoder, load_encoder

BATCH_SIZE = 32
ENLARGED = 4
JPEG: dict[str, Any] = {"quality": 90}
HEIC: dict[str, Any] = {"quality": 60, "tile_size": 512, "thumbnails": [320], "enc_params": {"preset": "ultrafast"}}
"""How the enlarged pictures are written; the HEIC as an iPhone does, in tiles and with a preview."""

TOP = 10

Figures = dict[str, float]


def enlarged(path: Path, format_name: str, **options: Any) -> FileContent:
    """Return a photo as a file of `ENLARGED` times its width and height."""
    prepare()
    stream = BytesIO()
    image = Image.open(path).convert("RGB")
    image.resize((image.width * ENLARGED, image.height * ENLARGED)).save(stream, format_name, **options)
    return FileContent(stream.getvalue(), ImageFile(os.fsencode(path), 1, 0), b"", 0)


def pixels_of(contents: list[FileContent], encoder: Encoder, decoding: Decoding) -> Pixels:
    """Return decoded pictures (N, H, W, 3)."""
    preprocess = encoder.facts.preprocess
    return np.stack([decode(content, preprocess, decoding=decoding).pixels for content in contents])


def embed(encoder: Encoder, pixels: Pixels) -> Vectors:
    """Return the vectors (N, D) of pictures."""
    return np.concatenate(
        [encoder.encode_images(pixels[i : i + BATCH_SIZE]) for i in range(0, len(pixels), BATCH_SIZE)]
    )


def neighbours(vectors: Vectors) -> NDArray[np.int64]:
    """Return the `TOP` nearest others of each vector (N, TOP), best first."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, : min(TOP, len(vectors) - 1)]


def figures(vectors: Vectors, exact: Vectors, labels: NDArray[Any]) -> Figures:
    """Return how near `vectors` come to the `exact` ones, and how well each find pictures of the same label."""
    cosines = (vectors * exact).sum(axis=1)
    found, expected = neighbours(vectors), neighbours(exact)
    overlap = [len(set(ours) & set(theirs)) / len(theirs) for ours, theirs in zip(found, expected, strict=True)]
    return {
        "mean_cosine": round(float(cosines.mean()), 5),
        "least_cosine": round(float(cosines.min()), 5),
        "top_10_overlap": round(float(np.mean(overlap)), 4),
        "precision_at_10": round(float((labels[found] == labels[:, None]).mean()), 4),
        "precision_at_10_exact": round(float((labels[expected] == labels[:, None]).mean()), 4),
        "first": round(float((labels[found[:, 0]] == labels).mean()), 4),
        "first_exact": round(float((labels[expected[:, 0]] == labels).mean()), 4),
    }


def compare(paths: list[Path], model: str) -> dict[str, Figures]:
    """Return the figures of every shortcut."""
    spec = parse_model(model)
    encoders = {precision: load_encoder(spec, "0" * 64, "auto", precision) for precision in Precision}
    encoder = encoders[Precision.FP32]
    labels = np.array([path.parent.name for path in paths])
    as_they_are = [read_file(os.fsencode(path)) for path in paths]
    pixels = pixels_of(as_they_are, encoder, Decoding.EXACT)
    exact = embed(encoder, pixels)
    results = {f"precision {name}": figures(embed(other, pixels), exact, labels) for name, other in encoders.items()}
    results["fast decoding"] = figures(embed(encoder, pixels_of(as_they_are, encoder, Decoding.FAST)), exact, labels)
    large, heic = [enlarged(path, "JPEG", **JPEG) for path in paths], [enlarged(path, "HEIF", **HEIC) for path in paths]
    for decoding, contents in ((Decoding.FAST, large), (Decoding.PREVIEW, heic)):
        slow, quick = (embed(encoder, pixels_of(contents, encoder, way)) for way in (Decoding.EXACT, decoding))
        results[f"{decoding} decoding, enlarged x{ENLARGED}"] = figures(quick, slow, labels)
    return results


def table(record: dict[str, Any]) -> str:
    """Return the record for people."""
    columns = ("mean_cosine", "least_cosine", "top_10_overlap", "precision_at_10", "precision_at_10_exact")
    lines = [f"{record['model']}, {record['pictures']} pictures, against exact decoding in fp32 on the same device"]
    lines.append(
        f"{'':28}" + "".join(f"{column.removesuffix('_exact'):>17}" for column in columns[:-1]) + f"{'exact':>9}"
    )
    for name, values in record["shortcuts"].items():
        cells = "".join(f"{values[column]:17.4f}" for column in columns[:-1])
        lines.append(f"{name:28}{cells}{values[columns[-1]]:9.4f}")
    return "\n".join(lines)


def main() -> None:
    """Compare, and print what came of it."""
    parser = argparse.ArgumentParser(description="the vectors of every shortcut against exact ones")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures, one directory a category")
    parser.add_argument("--model", default="starter", help="as for imgidx train (default: starter)")
    parser.add_argument("--count", type=int, default=1010, help="so many pictures at random (default: 1010)")
    arguments = parser.parse_args()
    found = pictures_in(arguments.photos)
    paths = random.Random(0).sample(found, min(arguments.count, len(found)))
    record = {
        "version": __version__,
        "model": parse_model(arguments.model).name,
        "pictures": len(paths),
        "machine": machine(),
        "shortcuts": compare(paths, arguments.model),
    }
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
