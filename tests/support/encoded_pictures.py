"""One small picture in every format and many of their variants, and how tests decode them."""

from __future__ import annotations

import hashlib
import io
import struct
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from image_index.errors import DecodeError
from image_index.files.read import FileContent
from image_index.formats import Decoding
from image_index.pictures.decode import Picture, decode, prepare
from image_index.records import ImageFile, Preprocess

Array = NDArray[Any]
ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
HEIGHT, WIDTH = 44, 60


def preprocess(*size: int, **options: Any) -> Preprocess:
    """Return a model's preprocessing; without a second number its pictures are square."""
    return Preprocess((size[0], size[-1]), ZERO, ONE, **options)


AS_IT_IS = preprocess(HEIGHT, WIDTH, resize_mode="squash")
SQUARE = preprocess(32)


def content(data: bytes, name: bytes = b"picture") -> FileContent:
    """Return bytes as if they had just been read."""
    return FileContent(data, ImageFile(name, len(data), 0), hashlib.sha256(data).digest(), 0)


def outcome(data: bytes, target: Preprocess, name: bytes, decoding: Decoding) -> Picture | DecodeError:
    """Decode bytes without a pixel limit; return what comes of it."""
    try:
        return decode(content(data, name), target, decoding=decoding)
    except DecodeError as error:
        return error


def decoded(
    data: bytes, target: Preprocess = AS_IT_IS, name: bytes = b"picture", decoding: Decoding = Decoding.EXACT
) -> Picture:
    """Decode bytes; with shortcuts and without, all that comes of it but the pixels must be the same."""
    results = {way: outcome(data, target, name, way) for way in Decoding}
    result = results[decoding]
    for other in results.values():
        if isinstance(result, DecodeError):
            assert isinstance(other, DecodeError)
            assert str(result) == str(other) or name.endswith(b".dng")  # LibRaw's stale memory looks like chance
        else:
            assert isinstance(other, Picture)
            assert result.facts[:-1] == other.facts[:-1]
            assert result.pixels.shape == other.pixels.shape
    if isinstance(result, DecodeError):
        raise result
    return result


def full_size(data: bytes) -> Array:
    """Decode bytes of a picture of any size without scaling it."""
    size = Image.open(io.BytesIO(data)).size
    return decoded(data, preprocess(size[1], size[0], resize_mode="squash")).pixels


def saved(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """Encode with Pillow (or, for HEIF, pillow_heif through Pillow)."""
    prepare()
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def photo_like(height: int, width: int, seed: int = 0) -> Image.Image:
    """Return smooth noise with grain, as RGB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 12 + 2, width // 12 + 2, 3), dtype=np.uint8))
    smooth = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=int)
    return Image.fromarray((smooth + rng.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8))


def distance(pixels: Array, expected: Array) -> int:
    """Return the largest difference in levels."""
    return int(np.abs(pixels.astype(int) - np.asarray(expected, dtype=int)).max())


RGB = photo_like(HEIGHT, WIDTH)
GREY = RGB.convert("L")
RGBA = RGB.copy()
RGBA.putalpha(Image.fromarray(np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)))
PALETTE = RGB.quantize(40)
DEEP = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)
FRAMES = {"save_all": True, "append_images": [RGB.rotate(20), RGB.rotate(40)]}
PAGES = {"save_all": True, "append_images": [photo_like(30, 90, 1), photo_like(90, 30, 2)]}


def plain(magic: bytes, levels: Array, largest: int | None) -> bytes:
    """Write plain PNM as text, one row a line."""
    head = b"%s\n# made by hand\n%d %d\n" % (magic, WIDTH, HEIGHT) + (b"%d\n" % largest if largest else b"")
    return head + b"".join(b" ".join(b"%d" % n for n in row.ravel()) + b"\n" for row in levels)


def directory_first(data: bytes) -> bytes:
    """Rewrite a TIFF as cameras do, its directory before its strips (Pillow puts it last)."""
    tags = Image.open(io.BytesIO(data)).tag_v2  # type: ignore[attr-defined]
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory.tagtype[tag] = tags.tagtype[tag]
        directory[tag] = value
    strips = [data[start : start + size] for start, size in zip(tags[273], tags[279], strict=True)]
    # `tobytes` moves the offsets, which count from the end of the directory here.
    directory[273] = tuple(np.cumsum([0, *map(len, strips[:-1])]).tolist())
    return b"II*\0\x08\0\0\0" + directory.tobytes(8) + b"".join(strips)


def many_pages() -> bytes:
    """Write a TIFF of three pages."""
    stream = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(stream, new=True) as writer:
        for page in (RGB, *PAGES["append_images"]):  # type: ignore[misc]
            page.save(writer, "TIFF")
            writer.newFrame()
    return stream.getvalue()


@cache
def samples() -> dict[str, bytes]:
    """Return the same small picture in every format and many of their variants."""
    made = {
        "jpeg": saved(RGB, "JPEG"),
        "jpeg progressive": saved(RGB, "JPEG", progressive=True, quality=92),
        "jpeg restarts": saved(RGB, "JPEG", restart_marker_rows=1),
        "jpeg grey": saved(GREY, "JPEG"),
        "jpeg cmyk": saved(RGB.convert("CMYK"), "JPEG"),
        "mpo": saved(RGB, "MPO", **PAGES),
        "png": saved(RGB, "PNG"),
        "png interlaced": interlaced_png(),
        "png palette": saved(PALETTE, "PNG"),
        "png 16 bit": saved(DEEP, "PNG"),
        "png alpha": saved(RGBA, "PNG"),
        "png late exif": late_exif(saved(RGB, "PNG", exif=exif(6))),
        "apng": saved(RGB, "PNG", **FRAMES),
        "webp": saved(RGB, "WEBP"),
        "webp lossless": saved(RGB, "WEBP", lossless=True),
        "webp alpha": saved(RGBA, "WEBP", lossless=True, exact=True),
        "webp animated": saved(RGB, "WEBP", lossless=True, **FRAMES),
        "gif": saved(PALETTE, "GIF"),
        "gif interlaced": saved(PALETTE, "GIF", interlace=1),
        "gif animated": saved(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(90)]),
        "bmp": saved(RGB, "BMP"),
        "bmp palette": saved(PALETTE, "BMP"),
        "dib": saved(RGB, "DIB"),
        "jp2": saved(RGB, "JPEG2000"),
        "jp2 tiles": saved(RGB, "JPEG2000", tile_size=(32, 32)),
        "j2k": saved(RGB, "JPEG2000", no_jp2=True),
        "j2k tiles": saved(RGB, "JPEG2000", no_jp2=True, tile_size=(32, 32)),
        "jp2 16 bit": saved(DEEP, "JPEG2000"),
        "ppm": saved(RGB, "PPM"),
        "pgm": saved(GREY, "PPM"),
        "pgm 16 bit": saved(DEEP, "PPM"),
        "pbm": saved(GREY.convert("1"), "PPM"),
        "pfm": saved(GREY.convert("F"), "PPM"),
        "plain ppm": plain(b"P3", np.asarray(RGB), 255),
        "plain pgm": plain(b"P2", np.asarray(GREY), 255),
        "plain pbm": plain(b"P1", np.asarray(GREY) < 128, None),
        "avif": saved(RGB, "AVIF"),
        "avif alpha": saved(RGBA, "AVIF"),
        "avif animated": saved(RGB, "AVIF", **FRAMES),
        "heif": saved(RGB, "HEIF"),
        "heif alpha": saved(RGBA, "HEIF"),
        "heif several": saved(RGB, "HEIF", **PAGES),
        "heif grid": saved(photo_like(150, 200), "HEIF", tile_size=64),
        "tiff": saved(RGB, "TIFF"),
        "tiff pages": many_pages(),
        "tiff fax": saved(GREY.convert("1"), "TIFF", compression="group4"),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        made[compression] = saved(RGB, "TIFF", compression=compression)
        made[f"{compression} first"] = directory_first(made[compression])
    return made


def exif(orientation: int) -> Image.Exif:
    """Return EXIF that says how the picture is to be turned."""
    facts = Image.Exif()
    facts[0x0112] = orientation
    return facts


def chunks(data: bytes) -> list[bytes]:
    """Split a PNG behind its signature into whole chunks."""
    found, start = [], 8
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        found.append(data[start:end])
        start = end
    return found


def late_exif(data: bytes) -> bytes:
    """Move a PNG's EXIF behind its pixels, where the standard allows it."""
    parts = chunks(data)
    parts.sort(key=lambda part: (part[4:8] == b"IEND", part[4:8] == b"eXIf"))
    return data[:8] + b"".join(parts)


def interlaced_png() -> bytes:
    """Write an Adam7 PNG, which Pillow only reads."""
    import zlib

    levels = np.asarray(RGB)
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [levels[top::down, left::right] for top, left, down, right in starts]
    rows = b"".join(b"\0" + row.tobytes() for part in passes for row in part)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


SAMPLE_NAMES = sorted(samples())
