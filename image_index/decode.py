"""Decode a file into the pixels a model wants; the only module that knows Pillow, libheif and LibRaw.

A file that is cut short is refused and never becomes a half-grey picture. Others are turned as EXIF says, flattened on
white, scaled and cropped as open_clip's `image_transform_v2` does, and brought to sRGB; the first frame stands for all.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import time
import warnings
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from io import BytesIO, FileIO

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ExifTags, Image, ImageChops, ImageCms, UnidentifiedImageError

from image_index.errors import DecodeError
from image_index.formats import PILLOW_FORMATS, RAW_EXTENSIONS
from image_index.records import ImageFile, Preprocess

MAX_FILE_BYTES = 2 << 30  # larger files are refused unread
_OPENERS = tuple(name for name in PILLOW_FORMATS if name != "MPO")  # MPO is found by JPEG's opener, it has none
_CUT_SHORT = "the file is cut short"
_TURNS = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
_TRANSPOSE = {orientation: Image.Transpose[turn] for orientation, turn in enumerate(_TURNS, start=2)}
_FLIP_TO_ORIENTATION = {3: 3, 5: 8, 6: 6}  # LibRaw's `flip` in EXIF's numbers


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file's bytes, its facts as of the read, their SHA-256 (32 bytes) and the time just before the read."""

    data: bytes
    file: ImageFile
    sha256: bytes
    read_at_ns: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels (H, W, 3) uint8 RGB of the model's size; `width` and `height` of the original as displayed, in pixels."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str


def read_file(path: bytes) -> FileContent:
    """Read a regular file once, whole, and say what it was when read.

    Raises OSError where the system refuses (FileNotFoundError for a vanished file), DecodeError where what is there is
    no regular file, is empty, is larger than `MAX_FILE_BYTES`, or changed during two reads in a row.
    """
    for _ in range(2):
        read_at_ns = time.time_ns()
        with _open_regular(path) as stream:
            before = os.fstat(stream.fileno())
            if before.st_size > MAX_FILE_BYTES:
                raise DecodeError(f"the file has over {MAX_FILE_BYTES >> 20} MiB, the most that is read")
            data = stream.readall()
            after = os.fstat(stream.fileno())
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) == (len(data), after.st_mtime_ns):
            if not data:
                raise DecodeError("the file is empty")
            file = ImageFile(path, len(data), after.st_mtime_ns)
            return FileContent(data, file, hashlib.sha256(data).digest(), read_at_ns)
    raise DecodeError("kept changing while it was read")


def hash_file(path: bytes) -> bytes | None:
    """Return the SHA-256 (32 bytes) of a regular file, read piece by piece, or None if it cannot be read."""
    try:
        with _open_regular(path) as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except (OSError, DecodeError):
        return None


def _open_regular(path: bytes) -> FileIO:
    # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever; regular files are not affected.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return FileIO(descriptor, "rb")
    os.close(descriptor)
    raise DecodeError("not a regular file any more")


def decode(content: FileContent, preprocess: Preprocess, max_pixels: int | None) -> Picture:
    """Decode a file's content and fit it to the model: `pixels` is `(*preprocess.size, 3)` uint8, C-contiguous.

    Raises DecodeError, and nothing else, whatever the bytes are; `max_pixels` is compared with width x height before
    any pixel is decoded, None for no limit.
    """
    try:
        # Pillow warns of damaged metadata. Not thread-safe, but a race could only let a warning out, or swallow one.
        with warnings.catch_warnings(action="ignore"):
            prepare()
            if os.path.splitext(content.file.path)[1].lower() in RAW_EXTENSIONS:
                return _decode_raw(content.data, preprocess, max_pixels)
            return _picture(_load(content.data, max_pixels), preprocess)
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise a dozen unrelated types for damaged data
        raise DecodeError(_reason(error)) from error


@cache
def prepare() -> None:
    """Load what decoding needs; a child does so before its first picture."""
    import pillow_heif

    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.MAX_IMAGE_PIXELS = None  # `_load` speaks for all formats, in our words


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address
        return "not a picture in a known format, or its header is damaged"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return _CUT_SHORT if "truncated" in text.lower() else f"damaged picture data: {text}"


def _decode_raw(data: bytes, preprocess: Preprocess, max_pixels: int | None) -> Picture:
    try:
        import rawpy
    except ImportError as error:
        raise DecodeError("camera RAW files need: pip install 'imgidx[raw]'") from error
    try:
        with rawpy.imread(BytesIO(data)) as raw:
            preview, sizes = raw.extract_thumb().data, raw.sizes
    except rawpy.LibRawError as error:
        raise DecodeError("a damaged RAW file, or one without a preview that can be read") from error
    if isinstance(preview, bytes) and preview[-512:] not in data:  # LibRaw fills up a cut preview with stale memory
        raise DecodeError(_CUT_SHORT)
    image = _load(preview, max_pixels) if isinstance(preview, bytes) else Image.fromarray(preview)
    picture = _picture(image, preprocess, _FLIP_TO_ORIENTATION.get(sizes.flip, 1))
    width, height = (sizes.height, sizes.width) if sizes.flip in (5, 6) else (sizes.width, sizes.height)
    return replace(picture, width=width, height=height, format="raw")


def _load(data: bytes, max_pixels: int | None) -> Image.Image:
    stream = BytesIO(data)
    image = Image.open(stream, formats=_OPENERS)
    if max_pixels is not None and (pixels := image.width * image.height) > max_pixels:
        raise DecodeError(f"{pixels / 1e6:.6g} megapixels, more than --max-megapixels {max_pixels / 1e6:.6g} allows")
    scan_start = stream.tell()  # what JPEG's header reader stops at
    # `image.draft` before the next line would decode a JPEG at 1/2, 1/4 or 1/8 of its size: faster, not exact.
    image.load()
    if not _is_whole(image, data, scan_start):
        raise DecodeError(_CUT_SHORT)
    return image


def _picture(image: Image.Image, preprocess: Preprocess, default_orientation: int = 1) -> Picture:
    profile = None if image.mode in ("CMYK", "LAB") else image.info.get("icc_profile")
    orientation = _TRANSPOSE.get(_orientation(image) or default_orientation)
    name = (image.format or "").lower()
    image = _flattened(image)
    if orientation is not None:
        image = image.transpose(orientation)
    pixels = np.array(_to_srgb(_fitted(image, preprocess), profile))
    return Picture(pixels, image.width, image.height, name)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 0))
    except Exception:  # damaged EXIF, in as many types as `decode` expects, costs the rotation and not the picture
        return 0


def _flattened(image: Image.Image) -> Image.Image:
    """Return the picture in 8 bits, mode L or RGB, on white where it is transparent."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _stretched(image)
    if image.mode == "CMYK":
        return _to_srgb(image, image.info.get("icc_profile"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image)
        return canvas
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _stretched(image: Image.Image) -> Image.Image:
    levels = np.nan_to_num(np.array(image, dtype=np.float32), copy=False, posinf=0, neginf=0)
    # Pillow scales every deep PGM to 0..65535; other integers and floats have no stated range.
    is_16_bit = image.mode.startswith("I;16") or (image.format, image.mode) == ("PPM", "I")
    low, high = (0.0, 65535.0) if is_16_bit else (levels.min(), levels.max())
    levels -= low
    levels *= 255 / max(high - low, np.finfo(np.float32).tiny)
    return Image.fromarray(levels.round().astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    transform = _srgb_transform(profile, image.mode) if profile else None
    return transform.apply(image) if transform else image.convert("RGB")


@lru_cache(maxsize=16)
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return lcms's transform from `profile` to sRGB, or None where it is broken, of another mode, or sRGB itself."""
    try:
        transform = ImageCms.buildTransform(BytesIO(profile), ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # Pillow passes on what lcms says of a damaged profile in several types
        return None
    if mode == "CMYK":
        return transform
    # A profile's name proves nothing: it is sRGB if it leaves a grid of colours within two levels.
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(grid) if mode == "RGB" else Image.fromarray(levels[None])
    shift = np.abs(np.array(transform.apply(probe), dtype=int) - np.array(probe.convert("RGB"), dtype=int))
    return transform if shift.max() > 2 else None


def _fitted(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Scale, then crop or pad, to the model's size, as open_clip's inference transform does."""
    height, width = preprocess.size
    # open_clip 3 forgets the interpolation where it scales the shortest side to a target that is not square.
    is_bicubic = preprocess.interpolation != "bilinear" or (preprocess.resize_mode == "shortest" and height != width)
    resample = Image.Resampling.BICUBIC if is_bicubic else Image.Resampling.BILINEAR
    if preprocess.resize_mode == "squash":
        return image.resize((width, height), resample)
    scaled = _scaled_size(image.size, preprocess)
    left, top = _offset(scaled[0], width), _offset(scaled[1], height)
    if scaled[0] * scaled[1] > 32 * width * height:
        # 65500x1 would become 14 million columns: scale the crop alone, within 2 levels as Pillow's box is float32.
        x, y = image.width / scaled[0], image.height / scaled[1]
        box = (-left * x, -top * y, min((width - left) * x, image.width), min((height - top) * y, image.height))
        return image.resize((width, height), resample, box=box)
    fill = preprocess.fill_color if preprocess.resize_mode == "longest" else 0
    canvas = Image.new(image.mode, (width, height), (fill,) * len(image.getbands()))
    canvas.paste(image.resize(scaled, resample), (left, top))
    return canvas


def _scaled_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Return (width, height) after scaling, rounded as torchvision (square) and open_clip (otherwise) round."""
    (width, height), (target_height, target_width) = size, preprocess.size
    if preprocess.resize_mode == "shortest" and target_height == target_width:
        return int(target_width * width / min(size)), int(target_width * height / min(size))
    extreme = max if preprocess.resize_mode == "longest" else min
    ratio = extreme(height / target_height, width / target_width)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _offset(scaled: int, target: int) -> int:
    return (target - scaled) // 2 if scaled < target else -round((scaled - target) / 2)


def _jpeg_ends_early(image: Image.Image, data: bytes, scan_start: int) -> bool:
    """Tell whether an end marker came before the last row: libjpeg paints what is missing grey and says nothing."""
    corner = image.getpixel((image.width - 1, image.height - 1))
    if not all(127 <= level <= 128 for level in np.atleast_1d(np.asarray(corner))):
        return False
    # Grey in the last corner is suspect. A whole scan is deaf to more data before its end marker, a cut one is not.
    end = data.find(b"\xff\xd9", scan_start)
    again = Image.open(BytesIO(data[:end] + bytes(range(1, 65)) + data[end:]), formats=("JPEG",))
    return ImageChops.difference(image, again).getbbox(alpha_only=False) is not None


def _is_whole(image: Image.Image, data: bytes, scan_start: int) -> bool:
    """Tell whether the end is there, for the formats in which Pillow and its libraries may not miss it."""
    match image.format:
        case "JPEG":
            return not _jpeg_ends_early(image, data, scan_start)
        case "PNG":  # without its end chunk the EXIF (rotation) before that may be gone; "IEND" and its CRC
            return b"IEND\xaeB`\x82" in data
        case "PPM":  # in plain PGM and PPM white space follows every number; without it, 25 may have been 255
            return data[:2] not in (b"P2", b"P3") or data[-1:].isspace()
        case "JPEG2000":  # the end marker after the first tile-part; OpenJPEG leaves missing tiles black
            return data.find(b"\xff\xd9", data.find(b"\xff\x90")) >= 0
        case "HEIF" | "AVIF":  # libheif leaves missing tiles of a grid (any iPhone picture) black
            return _boxes_fit(data)
    return True


def _boxes_fit(data: bytes) -> bool:
    """Tell whether the top-level boxes that hold a picture end inside the file (ISO/IEC 14496-12, 4.2)."""
    start = 0
    while len(data) - start >= 16:
        size, kind, large_size = struct.unpack_from(">I4sQ", data, start)
        start += max(8, large_size if size == 1 else size or len(data) - start)
        if start > len(data) and kind in (b"meta", b"mdat", b"moov"):
            return False
    return True
