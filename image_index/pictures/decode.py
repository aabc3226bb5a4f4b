"""Decode a file into the pixels a model wants, with Pillow, libheif and LibRaw.

A truncated file is refused: it never becomes a half-grey picture. All others are rotated as EXIF says, put on white
where they are transparent, scaled and cropped as open_clip's `image_transform_v2` does, and converted to sRGB. Of an
animation the first frame is taken.

Two shortcuts save most of the time and change the vector by next to nothing (docs/decisions/0012): libjpeg decodes a
JPEG at 1/2, 1/4 or 1/8 of its size where that is still larger than the model's input, and a large picture is averaged
down before it is scaled.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ExifTags, Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from image_index.errors import DecodeError
from image_index.files.read import FileContent
from image_index.formats import PILLOW_FORMATS, RAW_EXTENSIONS, Decoding
from image_index.grid import COLOUR_SIDE, SIDE
from image_index.pictures import jpeg, phash, png
from image_index.pictures.containers import adopt_metadata
from image_index.pictures.layouts import list_more_layouts, name_layout, plain_tiff_pixels
from image_index.pictures.levels import to_8_bits
from image_index.pictures.previews import PREVIEW_FORMATS, load_preview
from image_index.pictures.taken import read_taken
from image_index.pictures.truncation import is_truncated
from image_index.records import PictureFacts, Preprocess

LEAST_MARGIN = 1.25
"""How much larger than the model's input libjpeg's fraction of a JPEG must be.

At 1.0 nothing would be left to scale: libjpeg's filter is coarser than the bicubic one of the preprocessing.
"""

REDUCING_GAP = 2.0
"""How much larger than the model's input a picture stays when it is averaged down; the bicubic filter does the rest."""

_OPENERS = tuple(name for name in PILLOW_FORMATS if name != "MPO")  # MPO has no opener: JPEG's finds it
_NEVER_RAW = tuple(name for name in _OPENERS if name not in ("TIFF", "DIB"))  # DIB has no signature
_TRUNCATED = "the file is cut short"
_ROTATIONS = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
_TRANSPOSE = {orientation: Image.Transpose[name] for orientation, name in enumerate(_ROTATIONS, start=2)}
_QUARTER_TURNS = (5, 6, 7, 8)  # the orientations that exchange width and height
_FLIP_TO_ORIENTATION = {3: 3, 5: 8, 6: 6}  # LibRaw's `flip` in EXIF's numbers


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: `pixels` (H, W, 3) uint8 RGB of the model's size, the facts of the original, and its grid."""

    pixels: NDArray[np.uint8]
    facts: PictureFacts
    grid: bytes


@dataclass(frozen=True, slots=True)
class _DecodeOptions:
    """How a picture is to be decoded, whatever its format."""

    preprocess: Preprocess
    max_pixels: float
    decoding: Decoding


def decode(
    content: FileContent, preprocess: Preprocess, max_pixels: float = math.inf, decoding: Decoding = Decoding.FAST
) -> Picture:
    """Decode a file's content and fit it to the model: `pixels` is `(*preprocess.size, 3)` uint8, C-contiguous.

    A picture of more than `max_pixels` is refused by its header, before any pixel is decoded.
    With `Decoding.EXACT` the pixels are those of open_clip's transform. Raises DecodeError, and nothing else, whatever
    the bytes are.
    """
    options = _DecodeOptions(preprocess, max_pixels, decoding)
    try:
        # Pillow warns of damaged metadata, which is no news to anybody. Changing the filters is not thread-safe, but
        # the worst that a race can do is let a warning through, or swallow one of another thread.
        with warnings.catch_warnings(action="ignore"):
            prepare()
            if os.path.splitext(content.file.path)[1].lower() in RAW_EXTENSIONS and not _is_known(content.data):
                return _decode_raw(content.data, options)
            return _picture(_load(content.data, options), options)
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise a dozen unrelated types for damaged data
        raise DecodeError(_reason(error, content.data)) from error


@cache
def prepare() -> None:
    """Register the openers and set Pillow's limits; a child does so before its first picture."""
    import pillow_heif

    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=True, depth_images=False, aux_images=False)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    list_more_layouts()
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what it says names no file; what matters comes as a failure
    PngImagePlugin.MAX_TEXT_CHUNK = png.MOST_BYTES  # larger ones never get there
    PngImagePlugin.MAX_TEXT_MEMORY = 16 * png.MOST_BYTES
    Image.MAX_IMAGE_PIXELS = None  # `_load` has a limit for all formats, and names the option that changes it


def _reason(error: Exception, data: bytes) -> str:
    if data.startswith(jpeg.START) or isinstance(error, UnidentifiedImageError) or str(error).startswith("Unsupported"):
        layout = name_layout(data)
        if layout is not None:
            return f"{layout}, which cannot be read"
    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address
        return "not a picture in a known format, or its header is damaged"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return _TRUNCATED if "truncated" in text.lower() else f"damaged picture data: {text}"


def _is_known(data: bytes) -> bool:
    """Tell whether what has a RAW file's name begins as a JPEG, PNG or any other format that no RAW file begins as."""
    try:
        Image.open(BytesIO(data), formats=_NEVER_RAW)
    except UnidentifiedImageError:
        return False
    return True


def _decode_raw(data: bytes, options: _DecodeOptions) -> Picture:
    try:
        import rawpy
    except ImportError as error:
        raise DecodeError("camera RAW files need: pip install 'imgidx[raw]'") from error
    plain_pixels = plain_tiff_pixels(data)
    try:
        with rawpy.imread(BytesIO(data)) as raw:
            sizes = raw.sizes
            is_plain = plain_pixels > 0 and plain_pixels >= sizes.width * sizes.height
            preview = None if is_plain else raw.extract_thumb().data
    except rawpy.LibRawError as error:
        if not plain_pixels:
            raise DecodeError("a damaged RAW file, or one without a preview that can be read") from error
        preview = None
    if preview is None:
        return _picture(_load(data, options), options)
    # Where the preview is truncated, LibRaw fills its end with stale memory: its last bytes are then not in the file.
    if isinstance(preview, bytes) and preview[-512:] not in data:
        raise DecodeError(_TRUNCATED)
    orientation = _FLIP_TO_ORIENTATION.get(sizes.flip, 1)
    if isinstance(preview, bytes):
        loaded = _load(preview, options, orientation)
    else:
        loaded = _Loaded(Image.fromarray(preview), preview.shape[1::-1], orientation)
    picture = _picture(loaded, options, data)
    width, height = (sizes.height, sizes.width) if sizes.flip in (5, 6) else (sizes.width, sizes.height)
    return replace(picture, facts=picture.facts._replace(width=width, height=height, format="raw"))


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A decoded picture, its (width, height) before any scaling, and its orientation in EXIF's numbers."""

    image: Image.Image
    size: tuple[int, int]
    orientation: int


def _load(data: bytes, options: _DecodeOptions, default_orientation: int = 1) -> _Loaded:
    if data.startswith(png.SIGNATURE):
        data = png.without_side_chunks(data)
    stream = BytesIO(data)
    try:
        image = Image.open(stream, formats=_OPENERS)
    except UnidentifiedImageError:
        if not data.startswith(jpeg.START):
            raise
        data = jpeg.without_side_segments(data)
        stream = BytesIO(data)
        image = Image.open(stream, formats=_OPENERS)
    size, limit = image.size, options.max_pixels
    if (pixels := image.width * image.height) > limit:
        raise DecodeError(f"{pixels / 1e6:.6g} megapixels, more than --max-megapixels {limit / 1e6:.6g} allows")
    scan_start = stream.tell()  # where JPEG's header ends
    if options.decoding is Decoding.PREVIEW and image.format in PREVIEW_FORMATS:
        wanted_size = _least_size(image, options.preprocess, default_orientation)
        preview = load_preview(image, data, scan_start, wanted_size)
        if preview is not None:
            return _Loaded(preview, size, _orientation(image) or default_orientation)
    least_size = None
    # JPEG alone: other formats cannot be decoded at a fraction, and for some the orientation costs all pixels.
    if options.decoding is not Decoding.EXACT and image.format in ("JPEG", "MPO"):
        least_size = _least_size(image, options.preprocess, default_orientation, LEAST_MARGIN)
        image.draft(None, least_size)
    image.load()
    if is_truncated(image, data, scan_start, least_size):
        raise DecodeError(_TRUNCATED)
    adopt_metadata(image, data)
    return _Loaded(image, size, _orientation(image) or default_orientation)


def _least_size(
    image: Image.Image, preprocess: Preprocess, default_orientation: int, margin: float = 1.0
) -> tuple[int, int]:
    """Return the (width, height), before any rotation, to which the model wants a picture scaled, times `margin`."""
    rotated = (_orientation(image) or default_orientation) in _QUARTER_TURNS
    width, height = _scaled_size(image.size[::-1] if rotated else image.size, preprocess)
    least = int(width * margin), int(height * margin)
    return least[::-1] if rotated else least


def _picture(loaded: _Loaded, options: _DecodeOptions, raw: bytes = b"") -> Picture:
    """Return a loaded picture as the model wants it, with its facts; `raw` is the RAW file whose preview it is."""
    image, (width, height) = loaded.image, loaded.size
    profile = None if image.mode in ("CMYK", "LAB") else image.info.get("icc_profile")
    name = (image.format or "").lower()
    image = _flattened(image)
    if loaded.orientation in _TRANSPOSE:
        image = image.transpose(_TRANSPOSE[loaded.orientation])
    if loaded.orientation in _QUARTER_TURNS:
        width, height = height, width
    pixels = np.array(_to_srgb(_fitted(image, (width, height), options), profile))
    # BILINEAR, for a copy of a different size would get another grid by BOX, which takes whole pixels. With a gap of 2
    # 89 % of the scaled copies would have the same grid, with 3 they are 99 %.
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    bright, *colours = _to_srgb(small, profile).convert("YCbCr").split()
    planes = (bright, *(colour.reduce(SIDE // COLOUR_SIDE) for colour in colours))
    taken = read_taken(loaded.image, raw)
    facts = PictureFacts(width, height, name, taken.at_s, taken.source, taken.camera, *(taken.position or ()))
    facts = facts._replace(phash=phash.perceptual_hash(np.asarray(bright)))
    return Picture(pixels, facts, b"".join(plane.tobytes() for plane in planes))


def _orientation(image: Image.Image) -> int:
    try:
        exif = image.getexif()
        if image.format == "AVIF":  # Pillow has put its own property into the EXIF, but would ask XMP where that is 1
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
        value = exif.get(ExifTags.Base.Orientation, 0)
        if isinstance(value, bytes | tuple):  # a byte, or several numbers of which the first counts
            value = value[0]
        return int(value)
    except Exception:  # Pillow raises as many types for damaged EXIF as `decode` expects: only the rotation is lost
        return 0


def _flattened(image: Image.Image) -> Image.Image:
    """Return the picture in 8 bits, mode L or RGB, on white where it is transparent."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return to_8_bits(image)
    if image.mode == "CMYK":
        return _to_srgb(image, image.info.get("icc_profile"))
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image)
        return canvas
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    transform = _srgb_transform(profile, image.mode) if profile else None
    return transform.apply(image) if transform else image.convert("RGB")


@lru_cache(maxsize=16)
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return lcms's transform from `profile` to sRGB, or None where it is broken, of another mode, or sRGB itself."""
    try:
        transform = ImageCms.buildTransform(BytesIO(profile), ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # Pillow raises several types for a damaged profile
        return None
    if mode == "CMYK":
        return transform
    # Most profiles are sRGB, under one name or another, and need no conversion. A name proves nothing, so the transform
    # is tried: the profile is sRGB if no colour of a grid moves by more than two levels.
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(grid) if mode == "RGB" else Image.fromarray(levels[None])
    shift = np.abs(np.array(transform.apply(probe), dtype=int) - np.array(probe.convert("RGB"), dtype=int))
    return transform if shift.max() > 2 else None


def _fitted(image: Image.Image, size: tuple[int, int], options: _DecodeOptions) -> Image.Image:
    """Scale a picture that had `size`, then crop or pad it to the model's, as open_clip's inference transform does."""
    preprocess, gap = options.preprocess, None if options.decoding is Decoding.EXACT else REDUCING_GAP
    height, width = preprocess.size
    # open_clip 3 forgets the interpolation where it scales the shortest side to a target that is not square.
    is_bicubic = preprocess.interpolation != "bilinear" or (preprocess.resize_mode == "shortest" and height != width)
    resample = Image.Resampling.BICUBIC if is_bicubic else Image.Resampling.BILINEAR
    scaled = _scaled_size(size, preprocess)
    left, top = _offset(scaled[0], width), _offset(scaled[1], height)
    covers = left <= 0 and top <= 0
    if (covers and options.decoding is not Decoding.EXACT) or scaled[0] * scaled[1] > 32 * width * height:
        # Scale the crop alone: of a picture of 65500x1 the whole would become 14 million columns. The result is within
        # 2 levels of scaling first and cropping then; Pillow's box is float32.
        x, y = image.width / scaled[0], image.height / scaled[1]
        box = (-left * x, -top * y, min((width - left) * x, image.width), min((height - top) * y, image.height))
        return image.resize((width, height), resample, box=box, reducing_gap=gap)
    fill = preprocess.fill_color if preprocess.resize_mode == "longest" else 0
    canvas = Image.new(image.mode, (width, height), (fill,) * len(image.getbands()))
    canvas.paste(image.resize(scaled, resample, reducing_gap=gap), (left, top))
    return canvas


def _scaled_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Return (width, height) after scaling, rounded as torchvision (square) and open_clip (otherwise) round."""
    (width, height), (target_height, target_width) = size, preprocess.size
    if preprocess.resize_mode == "squash":
        return target_width, target_height
    if preprocess.resize_mode == "shortest" and target_height == target_width:
        return int(target_width * width / min(size)), int(target_width * height / min(size))
    extreme = max if preprocess.resize_mode == "longest" else min
    ratio = extreme(height / target_height, width / target_width)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _offset(scaled: int, target: int) -> int:
    return (target - scaled) // 2 if scaled < target else -round((scaled - target) / 2)
