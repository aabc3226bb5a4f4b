"""Fuzz `image_index.pictures.decode.decode`, guided by coverage of our own code; needs the package atheris.

    python tools/fuzz_decode.py CORPUS_DIRECTORY [libFuzzer options, such as -max_total_time=600 -rss_limit_mb=2048]

The corpus is grown from small pictures of every format, made on the first run. Anything but a picture of the model's
size or a `DecodeError` is a crash, which libFuzzer writes to a file; so is a decode that hangs or eats memory.
"""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path

import atheris
import numpy as np
import pillow_heif
from PIL import Image

with atheris.instrument_imports(include=["image_index"]):
    from image_index.errors import DecodeError
    from image_index.files import read
    from image_index.pictures import decode
    from image_index.records import ImageFile, Preprocess

PREPROCESS = Preprocess((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MAX_PIXELS = 4_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "AVIF", "HEIF")


def make_corpus(directory: Path) -> None:
    """Write a small picture of each format, in colour, in grey and with a palette where the format has them."""
    directory.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
    pillow_heif.register_heif_opener()
    for name in FORMATS:
        for mode in ("RGB", "L", "P", "RGBA", "CMYK", "I;16"):
            picture, buffer = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode), io.BytesIO()
            try:
                picture.convert(mode).save(buffer, name)
            except (OSError, ValueError, KeyError):
                continue  # the format does not have this mode
            (directory / f"{name}-{mode.replace(';', '')}").write_bytes(buffer.getvalue())


def decode_one(data: bytes) -> None:
    """Decode arbitrary bytes; only a whole picture or a `DecodeError` may come of it."""
    content = read.FileContent(data, ImageFile(b"/fuzz", len(data), 0), b"", 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = decode.decode(content, PREPROCESS, MAX_PIXELS)
    except DecodeError:
        return
    assert picture.pixels.shape == (32, 32, 3), picture.pixels.shape
    assert picture.pixels.dtype == np.uint8


def main() -> None:
    """Make the corpus where there is none, and fuzz until libFuzzer is told to stop."""
    corpus = Path(next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "corpus"))
    if not corpus.exists():
        make_corpus(corpus)
    atheris.Setup(sys.argv, decode_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
