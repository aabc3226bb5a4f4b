"""Pictures broken in every way we know, through real children: each ends as an image, or as a failure with a reason.

Nothing may crash or hang, a child's memory must stay bounded, and what was cut must not give a vector of half of it.
"""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pillow_heif
from PIL import Image

from image_index.records import EmbeddedBatch, ImageFile, Stage
from image_index.workers.child import Deadlines
from image_index.workers.devices import BYTES_PER_PIXEL, Slot
from image_index.workers.engine import make_batches
from image_index.workers.messages import ChildSetup
from image_index.workers.pool import ChildPool, PoolLimits, PoolPlan
from tests.faults.photo_library import source_photos
from tests.faults.tally import Tally, verdict
from tests.support import fake_models
from tests.support.children import counted_restarts

FULL_COUNT = 2400
MAX_PIXELS = 20_000_000
MEMORY_BOUND_BYTES = MAX_PIXELS * BYTES_PER_PIXEL + (256 << 20)
"""How much a child may grow: the largest picture it takes and one copy, and what the libraries keep."""

SAVED_AS = {
    ".jpg": ("JPEG", "RGB"),
    ".cmyk.jpg": ("JPEG", "CMYK"),
    ".png": ("PNG", "RGBA"),
    ".p.png": ("PNG", "P"),
    ".webp": ("WEBP", "RGB"),
    ".gif": ("GIF", "P"),
    ".tif": ("TIFF", "RGB"),
    ".bmp": ("BMP", "RGB"),
    ".jp2": ("JPEG2000", "RGB"),
    ".ppm": ("PPM", "RGB"),
    ".avif": ("AVIF", "RGB"),
    ".heic": ("HEIF", "RGB"),
}


@dataclass(frozen=True, slots=True)
class Original:
    """A whole picture in one format."""

    suffix: str
    data: bytes


def attack(seed: int, scale: float) -> Tally:
    """Embed mutated pictures of every format, and the special ones, with children that are watched."""
    with TemporaryDirectory() as directory:
        rng, count = random.Random(seed), max(60, int(FULL_COUNT * scale))
        originals = make_originals()
        files = [write(Path(directory), name, data) for name, data in mutants(originals, count, rng)]
        files += [write(Path(directory), name, data) for name, data in specials(originals)]
        setup = ChildSetup(
            fake_models.SPEC, "0" * 64, "cpu", batch_size=16, max_pixels=MAX_PIXELS, loader=fake_models.load_measured
        )
        limits = PoolLimits(Deadlines(file_s=30.0), recycle_growth_bytes=MEMORY_BOUND_BYTES)
        plan = PoolPlan(setup, [Slot("cpu", 1)] * 2)
        with counted_restarts() as restarts, ChildPool(lambda _: plan, limits) as pool:
            results = list(pool.embed(make_batches(files, 16)))
    return judge(files, results, restarts.call_count) + Tally("bad pictures", tried=len(files))


def judge(files: list[ImageFile], results: list[EmbeddedBatch], restarts: int) -> Tally:
    """Count what is not as promised."""
    images = [image.file.path for result in results for image in result.images]
    failures = [failure for result in results for failure in result.failures]
    violent = [failure for failure in failures if failure.stage not in {Stage.DECODE, Stage.READ}]
    vectors = {
        image.file.path: vector
        for result in results
        for image, vector in zip(result.images, result.vectors, strict=True)
    }
    halves = [path for path in images if b"-cut" in path and not like_the_whole(path, vectors)]
    back = sorted(images + [failure.file.path for failure in failures])
    tally = verdict(
        (back == sorted(file.path for file in files), "not every file came back exactly once"),
        (not violent, f"killed or hung a child: {violent[:5]}"),
        (all(failure.reason.strip() for failure in failures), "a failure without a reason"),
        (restarts == 0, f"{restarts} children died or grew by more than {MEMORY_BOUND_BYTES >> 20} MB"),
        (not halves, f"a vector of half a picture: {halves[:5]}"),
    )
    return Tally("bad pictures") + tally


def like_the_whole(path: bytes, vectors: dict[bytes, np.ndarray]) -> bool:
    """Tell whether the vector of a cut picture, if it was taken at all, is that of the whole one beside it."""
    whole = os.path.join(os.path.dirname(path), b"whole" + path[path.index(b"-cut") + 4 :].partition(b"_")[2])
    return bool(np.allclose(vectors[path], vectors[whole], atol=0.01))


def make_originals() -> list[Original]:
    """Save one real photo in every format."""
    pillow_heif.register_heif_opener()
    with Image.open(source_photos(1)[0]) as image:
        image.thumbnail((160, 160))
        photo = image.convert("RGB")
    originals = []
    for suffix, (name, mode) in SAVED_AS.items():
        buffer = io.BytesIO()
        photo.convert(mode).save(buffer, name)
        originals.append(Original(suffix, buffer.getvalue()))
    return originals


def mutants(originals: list[Original], count: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield each original, then `count` mutations of them, format by format and kind by kind."""
    for original in originals:
        yield f"whole{original.suffix}", original.data
    kinds = {"flip": flip, "cut": cut, "header": spoil_header, "number": lie, "hole": punch}
    for number in range(count):
        original = originals[number % len(originals)]
        name = list(kinds)[number // len(originals) % len(kinds)]
        yield f"m{number:05d}-{name}_{original.suffix}", kinds[name](original.data, rng)


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip a few bits anywhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Cut the end off: anywhere, in the header, or by a few bytes."""
    return data[: rng.choice((rng.randrange(1, len(data)), rng.randrange(1, 64), len(data) - rng.randrange(1, 16)))]


def spoil_header(data: bytes, rng: random.Random) -> bytes:
    """Write garbage into the first bytes, behind the signature."""
    start = rng.randrange(2, 40)
    return data[:start] + rng.randbytes(rng.randrange(1, 24)) + data[start + 8 :]


def lie(data: bytes, rng: random.Random) -> bytes:
    """Write an extreme number over some bytes of the header, where sizes and offsets stand."""
    start, value = rng.randrange(4, min(200, len(data) - 4)), rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000))
    return data[:start] + struct.pack(rng.choice("<>") + "I", value) + data[start + 4 :]


def punch(data: bytes, rng: random.Random) -> bytes:
    """Fill a stretch with zeros, as a disk does that lost a block."""
    start = rng.randrange(len(data))
    length = min(rng.randrange(1, 512), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def specials(originals: list[Original]) -> Iterator[tuple[str, bytes]]:
    """Yield the pictures that are known to hurt decoders."""
    jpeg = next(original.data for original in originals if original.suffix == ".jpg")
    yield "empty.jpg", b""
    yield "bomb.png", png_of(60_000, 60_000)
    yield "bomb-below-the-limit.png", png_of(4_000, 4_900)
    yield "row.png", png_of(65_500, 1)
    yield "column.png", png_of(1, 65_500)
    yield "dot.png", png_of(1, 1)
    yield "nothing.png", png_of(0, 0)
    frames, buffer = [Image.new("P", (16, 16), i % 256) for i in range(3000)], io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    yield "frames.gif", buffer.getvalue()
    loop = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8)
    yield "directory-of-itself.tif", loop
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8)
    yield "exif-of-itself.jpg", jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    profile = b"ICC_PROFILE\0\1\1" + b"broken" * 40
    yield "profile.jpg", jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(profile) + 2) + profile + jpeg[2:]


def png_of(width: int, height: int) -> bytes:
    """Return a PNG of one bit a pixel, all black, that is tiny whatever its size: a decompression bomb."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * min(height, 70_000), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def write(directory: Path, name: str, data: bytes) -> ImageFile:
    """Write one file and return what a scan would say of it."""
    path = directory / name
    path.write_bytes(data)
    return ImageFile(os.fsencode(path), len(data), path.stat().st_mtime_ns)
