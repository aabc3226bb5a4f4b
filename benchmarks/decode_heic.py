"""What a HEIC costs a core, with `--decode fast` and by its preview, and a JPEG of the same pixels beside them.

    python benchmarks/decode_heic.py --photos DIRECTORY [--count 4] [--repeat 5]

The pictures are mosaics of photos of twelve megapixels, written as an iPhone writes: in a grid of tiles of 512 x 512,
with a preview of 320 x 240. With `--as-they-are` the HEIC files of DIRECTORY are taken, real ones: `preview_served`
says how many have a preview that serves. Each way decodes each picture in turns; core seconds count, and the medians.
Prints a table on stderr and JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from statistics import fmean, median
from typing import Any

from measure import machine
from photos import copies, pictures_in
from PIL import Image

from image_index import __version__
from image_index.files.read import FileContent
from image_index.formats import Decoding
from image_index.pictures.decode import decode, prepare
from image_index.records import ImageFile, Preprocess

AS_A_PHONE: dict[str, Any] = {
    "tile_size": 512,
    "thumbnails": [320],
    "enc_params": {"preset": "ultrafast"},
    "quality": 60,
}
"""Makes 2.5 MB of a mosaic: real ones of this size had 0.7 to 3.7 MB."""

LEAST_GAIN = 3.0
"""A picture decoded so many times as fast as in full had a preview that served."""


def content_of(data: bytes) -> FileContent:
    """Return bytes as if they had just been read."""
    return FileContent(data, ImageFile(b"picture", len(data), 0), b"", 0)


def written(path: Path, format_name: str, **options: Any) -> bytes:
    """Return a picture in another format."""
    stream = BytesIO()
    Image.open(path).convert("RGB").save(stream, format_name, **options)
    return stream.getvalue()


def made(photos: Path, count: int) -> list[dict[str, bytes]]:
    """Return mosaics, each as a HEIC and as a JPEG."""
    with copies(photos, count, mosaics=True) as directory:
        return [
            {
                "heic": written(path, "HEIF", **AS_A_PHONE),
                "jpeg": written(path, "JPEG", quality=90),
            }
            for path in sorted(directory.iterdir())
        ]


def core_seconds(data: bytes, decoding: Decoding, side: int) -> float:
    """Return what decoding a file for a model of `side` x `side` takes a core."""
    start = time.process_time()
    decode(content_of(data), Preprocess((side, side), (0, 0, 0), (1, 1, 1)), decoding=decoding)
    return time.process_time() - start


def measure(pictures: list[dict[str, bytes]], side: int, repeat: int) -> list[dict[str, float]]:
    """Return the median of each picture: `fast` and `preview` of the HEIC, `jpeg` where there is one."""
    results = []
    for files in pictures:
        taken = defaultdict(list)
        for _ in range(repeat):
            for decoding in (Decoding.FAST, Decoding.PREVIEW):
                taken[str(decoding)].append(core_seconds(files["heic"], decoding, side))
            if "jpeg" in files:
                taken["jpeg"].append(core_seconds(files["jpeg"], Decoding.FAST, side))
        results.append({name: median(seconds) for name, seconds in taken.items()})
    return results


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="core seconds of a HEIC: decoded in full, and by its preview")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--as-they-are", action="store_true", help="take the HEIC files there, and make none")
    parser.add_argument("--count", type=int, default=4, help="mosaics (default: 4)")
    parser.add_argument("--repeat", type=int, default=5, help="turns (default: 5)")
    parser.add_argument("--size", type=int, default=224, help="what the model takes (default: 224)")
    arguments = parser.parse_args()
    prepare()
    if arguments.as_they_are:
        heic = [path for path in pictures_in(arguments.photos) if path.suffix.lower() in (".heic", ".heif", ".hif")]
        pictures = [{"heic": path.read_bytes()} for path in heic]
    else:
        pictures = made(arguments.photos, arguments.count)
    results = measure(pictures, arguments.size, arguments.repeat)
    served = [result for result in results if result["fast"] / result["preview"] > LEAST_GAIN]
    seconds = {name: round(fmean(result[name] for result in results), 4) for name in results[0]}
    record = {
        "version": __version__,
        "machine": machine(),
        "pictures": len(results),
        "megabytes": round(fmean(len(files["heic"]) for files in pictures) / 1e6, 2),
        "preview_served": len(served),
        "core_seconds": seconds,
        "ratio": {name: round(seconds["fast"] / seconds[name], 1) for name in seconds if name != "fast"},
        "ratio_where_served": round(fmean(result["fast"] / result["preview"] for result in served), 1)
        if served
        else None,
    }
    print(
        "\n".join(f"{name:10}{value:9.4f} core seconds a picture" for name, value in seconds.items()), file=sys.stderr
    )
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
