"""Decoding agrees with open_clip, numpy, lcms and whole files, and refuses everything else in one way."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, JpegImagePlugin

from image_index.errors import DecodeError
from image_index.formats import PILLOW_FORMATS, Decoding
from image_index.pictures.decode import decode
from image_index.records import Preprocess
from tests.support.encoded_pictures import (
    GREY,
    HEIGHT,
    PALETTE,
    RGB,
    RGBA,
    SAMPLE_NAMES,
    SQUARE,
    WIDTH,
    Array,
    content,
    decoded,
    distance,
    exif,
    photo_like,
    plain,
    preprocess,
    samples,
    saved,
)
from tests.support.photos import real_photos


def by_open_clip(image: Image.Image, target: Preprocess) -> Array:
    """Run open_clip's own inference transform, as integer levels (H, W, 3)."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(
        size=target.size,
        mean=target.mean,
        std=target.std,
        interpolation=target.interpolation,
        resize_mode=target.resize_mode,
        fill_color=target.fill_color,
    )
    tensor = image_transform_v2(config, is_train=False)(image)
    levels: Array = (tensor.permute(1, 2, 0).numpy() * 255).round().astype(int)
    return levels


@pytest.fixture(scope="module")
def photos(sample_photos: Path) -> list[bytes]:
    """Return encoded photographs: the real ones as they are and as JPEG, and look-alikes of other shapes."""
    files = real_photos(sample_photos, 100)
    jpegs = [saved(Image.open(file).convert("RGB"), "JPEG", quality=90) for file in files]
    others = [saved(photo_like(200 + 7 * n, 300 - 9 * n, n), "JPEG", quality=90) for n in range(20)]
    return [*(file.read_bytes() for file in files), *jpegs, *others]


TARGETS = {
    "shortest": preprocess(224),
    "shortest bilinear": preprocess(224, interpolation="bilinear"),
    "shortest wide": preprocess(160, 256),
    "shortest tall bilinear": preprocess(256, 160, interpolation="bilinear"),
    "squash": preprocess(224, resize_mode="squash"),
    "squash tall": preprocess(256, 128, interpolation="bilinear", resize_mode="squash"),
    "longest": preprocess(224, resize_mode="longest"),
    "longest wide": preprocess(160, 256, interpolation="bilinear", resize_mode="longest", fill_color=127),
}


SQUARE_224 = TARGETS["shortest"]


@pytest.mark.slow
def test_photos_agree_with_open_clip(photos: list[bytes]) -> None:
    """Every photograph gets the pixels of open_clip's own transform."""
    for data in photos:
        assert distance(decoded(data, SQUARE_224).pixels, by_open_clip(Image.open(io.BytesIO(data)), SQUARE_224)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(1800, 2400), (2000, 1100), (300, 280)], ids=str)
def test_the_shortcuts_change_a_picture_by_little(size: tuple[int, int], orientation: int, target: Preprocess) -> None:
    """A picture decoded at a fraction of its size and averaged down is nearly the picture, of the same framing."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(photo_like(*size), "JPEG", quality=92, exif=exif)
    fast, exact = decoded(data, target, decoding=Decoding.FAST), decoded(data, target)
    assert fast.facts[:3] == exact.facts[:3]
    assert fast.pixels.shape == exact.pixels.shape
    difference = np.abs(fast.pixels.astype(int) - exact.pixels)
    assert difference.mean() < 3


def test_a_large_jpeg_is_decoded_at_the_least_size_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg's fractions are used as far as no pixel that the model wants has to be made up."""
    sizes: list[tuple[int, int]] = []
    load = JpegImagePlugin.JpegImageFile.load

    def noting(self: JpegImagePlugin.JpegImageFile) -> object:
        sizes.append(self.size)
        return load(self)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", noting)
    fast, exact = Decoding.FAST, Decoding.EXACT
    for size, decoding in [((560, 800), fast), ((559, 800), fast), ((2240, 3000), fast), ((2240, 3000), exact)]:
        decode(content(saved(photo_like(*size), "JPEG")), SQUARE_224, decoding=decoding)
    assert list(dict.fromkeys(sizes)) == [(400, 280), (800, 559), (375, 280), (3000, 2240)]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize(
    "size", [(33, 47), (224, 224), (500, 375), (375, 500), (225, 640), (161, 1200), (7, 5)], ids=str
)
def test_every_resize_mode_agrees_with_open_clip(target: Preprocess, size: tuple[int, int]) -> None:
    """Scaling, rounding, cropping and padding are open_clip's, to the pixel."""
    image = photo_like(*size)
    assert distance(decoded(saved(image, "BMP"), target).pixels, by_open_clip(image, target)) == 0


def test_grey_pictures_agree_with_open_clip() -> None:
    """A grey picture is scaled as grey, as open_clip does."""
    image = photo_like(111, 160).convert("L")
    assert distance(decoded(saved(image, "PNG"), SQUARE_224).pixels, by_open_clip(image, SQUARE_224)) == 0


@pytest.mark.parametrize("size", [(100, 4000), (4000, 100), (3, 400)], ids=str)
def test_long_strips_agree_with_open_clip_within_two_levels(size: tuple[int, int]) -> None:
    """Where only the crop is scaled the result stays within two levels."""
    image = photo_like(*size)
    assert distance(decoded(saved(image, "BMP"), SQUARE_224).pixels, by_open_clip(image, SQUARE_224)) <= 2


@pytest.mark.parametrize("is_wide", [True, False])
def test_the_longest_jpeg_is_scaled_without_a_giant_in_between(is_wide: bool) -> None:
    """A strip of 65500x1 gives what its middle alone gives open_clip."""
    strip = photo_like(1, 65500) if is_wide else photo_like(65500, 1)
    middle = (32550, 0, 32950, 1) if is_wide else (0, 32550, 1, 32950)
    picture = decoded(saved(strip, "PNG"), SQUARE_224)
    assert distance(picture.pixels, by_open_clip(strip.crop(middle), SQUARE_224)) <= 2
    assert (picture.facts.width, picture.facts.height) == strip.size


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("size", [(1, 1), (1, 65500), (65500, 1)], ids=str)
def test_extreme_sizes_keep_their_colour(target: Preprocess, size: tuple[int, int]) -> None:
    """One colour stays one colour, next to nothing but the padding."""
    pixels = decoded(saved(Image.new("RGB", size[::-1], (200, 100, 50)), "PNG"), target).pixels
    assert pixels.shape == (*target.size, 3)
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    padding = {(target.fill_color,) * 3} if target.resize_mode == "longest" else set()
    assert {(200, 100, 50)} <= colours <= {(200, 100, 50)} | padding


def test_pixels_are_contiguous_bytes() -> None:
    """The pixels can be stacked and sent as they are."""
    pixels = decoded(saved(photo_like(50, 70), "JPEG"), SQUARE).pixels
    assert (str(pixels.dtype), pixels.flags.c_contiguous, pixels.shape) == ("uint8", True, (32, 32, 3))


EXACT = {
    **dict.fromkeys(
        ["apng", "bmp", "dib", "png", "png interlaced", "ppm", "plain ppm", "tiff", "tiff pages", "webp lossless"], RGB
    ),
    **dict.fromkeys(["tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_lzw first", "webp animated"], RGB),
    **dict.fromkeys(["j2k", "j2k tiles", "jp2", "jp2 tiles"], RGB),
    **dict.fromkeys(["pgm", "plain pgm", "png 16 bit", "pgm 16 bit", "jp2 16 bit"], GREY),
    **dict.fromkeys(["gif", "gif interlaced", "gif animated", "png palette", "bmp palette"], PALETTE),
    **dict.fromkeys(["plain pbm", "tiff fax", "pbm"], None),
}


def test_the_samples_cover_every_format() -> None:
    """No format that may be opened goes untested."""
    found = {decoded(data).facts.format.upper() for data in samples().values()}
    assert found == set(PILLOW_FORMATS)


@pytest.mark.parametrize("name", sorted(name for name, source in EXACT.items() if source is not None))
def test_lossless_formats_return_what_was_saved(name: str) -> None:
    """The pixels that went in come out, the first frame's where there are many."""
    source = EXACT[name]
    assert source is not None
    assert distance(decoded(samples()[name]).pixels, np.asarray(source.convert("RGB"))) == 0


@pytest.mark.parametrize("name", ["pbm", "plain pbm", "tiff fax"])
def test_black_and_white_comes_back(name: str) -> None:
    """Bits are black and white, not the other way round."""
    source = GREY.convert("1") if name != "plain pbm" else GREY.point(lambda level: 255 * (level >= 128))
    assert distance(decoded(samples()[name]).pixels, np.asarray(source.convert("RGB"))) == 0


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg progressive", "jpeg restarts", "mpo", "webp", "avif", "heif", "jpeg cmyk"]
)
def test_lossy_formats_return_what_pillow_decodes(name: str) -> None:
    """Nothing but Pillow's decoder stands between a lossy file and its pixels, and they look like the source."""
    pixels = decoded(samples()[name]).pixels
    assert distance(pixels, np.asarray(Image.open(io.BytesIO(samples()[name])).convert("RGB"))) == 0
    assert np.abs(pixels.astype(int) - np.asarray(RGB)).mean() < 12


@pytest.mark.parametrize("name", ["png alpha", "webp alpha", "la", "palette", "rgb key", "grey key"])
def test_transparency_becomes_white(name: str) -> None:
    """A see-through pixel is mixed with white in proportion."""
    colours = np.asarray(RGB)
    key = tuple(colours[5, 5].tolist())
    images: dict[str, Callable[[], tuple[bytes, Array, Array]]] = {
        "png alpha": lambda: (samples()[name], colours, np.asarray(RGBA)[..., 3]),
        "webp alpha": lambda: (samples()[name], colours, np.asarray(RGBA)[..., 3]),
        "la": lambda: (saved(RGBA.convert("LA"), "PNG"), np.asarray(GREY.convert("RGB")), np.asarray(RGBA)[..., 3]),
        "palette": lambda: (
            saved(PALETTE, "PNG", transparency=3),
            np.asarray(PALETTE.convert("RGB")),
            255 * (np.asarray(PALETTE) != 3),
        ),
        "rgb key": lambda: (
            saved(RGB, "PNG", transparency=key),
            colours,
            255 * (colours != key).any(axis=2),
        ),
        "grey key": lambda: (
            saved(GREY, "PNG", transparency=77),
            np.asarray(GREY.convert("RGB")),
            255 * (np.asarray(GREY) != 77),
        ),
    }
    data, opaque, alpha = images[name]()
    share = alpha[..., None] / 255
    assert (alpha < 255).any()
    assert distance(decoded(data).pixels, opaque * share + 255 * (1 - share) + 0.5) <= 1


def test_deep_grey_is_scaled_and_not_clipped() -> None:
    """Sixteen bits are divided by 257, and PGM of any depth fills the range it states."""
    levels = np.linspace(0, 65535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    for data in (saved(Image.fromarray(levels), "PNG"), saved(Image.fromarray(levels), "TIFF")):
        assert distance(decoded(data).pixels[..., 0], np.round(levels / 257)) == 0
    dark = (levels // 16 // 4).astype(int)
    assert distance(decoded(plain(b"P2", dark, 4095)).pixels[..., 1], np.round(dark * 255 / 4095)) <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_unbounded_levels_are_stretched(dtype: type) -> None:
    """Floats and long integers go from their own least to their own greatest."""
    levels: Array = np.linspace(-4000, 90000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(dtype)
    expected = (levels - levels.min()) / (levels.max() - levels.min()) * 255
    assert distance(decoded(saved(Image.fromarray(levels), "TIFF")).pixels[..., 2], expected.round()) <= 1


def test_levels_that_are_no_numbers_do_no_harm() -> None:
    """A constant picture is black, and NaN and infinity count as zero."""
    levels: Array = np.zeros((HEIGHT, WIDTH), np.float32)
    assert decoded(saved(Image.fromarray(levels + 7), "TIFF")).pixels.max() == 0
    levels[0, :3] = np.nan, np.inf, 10
    assert decoded(saved(Image.fromarray(levels), "TIFF")).pixels[0, :4, 0].tolist() == [0, 0, 255, 0]


def test_lab_pictures_are_read() -> None:
    """A Lab TIFF comes back as the colours it was made from, within Lab's 8-bit rounding."""
    lab = ImageCms.profileToProfile(
        RGB, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert np.abs(decoded(saved(lab, "TIFF")).pixels.astype(int) - np.asarray(RGB)).mean() < 3


TURNED: dict[int, Callable[[Array], Array]] = {
    1: lambda levels: levels,
    2: lambda levels: levels[:, ::-1],
    3: lambda levels: levels[::-1, ::-1],
    4: lambda levels: levels[::-1],
    5: lambda levels: levels.swapaxes(0, 1),
    6: lambda levels: np.rot90(levels, -1),
    7: lambda levels: levels[::-1, ::-1].swapaxes(0, 1),
    8: lambda levels: np.rot90(levels, 1),
}


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_turns_the_picture(orientation: int, format_name: str) -> None:
    """All eight orientations are shown upright, and width and height are those of the upright picture."""
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = saved(RGB, format_name, exif=exif(orientation), **options)
    stored = np.asarray(Image.open(io.BytesIO(saved(RGB, format_name, **options))).convert("RGB"))
    expected = TURNED[orientation](stored)
    picture = decoded(data, preprocess(*expected.shape[:2], resize_mode="squash"))
    assert distance(picture.pixels, expected) == 0
    assert (picture.facts.height, picture.facts.width) == expected.shape[:2]


def test_late_exif_turns_the_picture() -> None:
    """A PNG may say behind its pixels how to turn them."""
    assert (decoded(samples()["png late exif"]).facts.width, HEIGHT) == (HEIGHT, HEIGHT)


@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01!", b"Exif\0\0"]
)
def test_broken_exif_costs_the_rotation_only(block: bytes) -> None:
    """EXIF that cannot be read does not cost the picture."""
    assert distance(decoded(saved(RGB, "PNG", exif=block)).pixels, np.asarray(RGB)) == 0


def icc(profile: Any) -> bytes:
    """Return a profile's bytes."""
    return ImageCms.ImageCmsProfile(profile).tobytes()


def wide_gamut() -> bytes:
    """Return an sRGB profile whose red and green primaries have been moved as far as Adobe's."""
    profile = bytearray(icc(ImageCms.createProfile("sRGB")))
    count = int.from_bytes(profile[128:132], "big")
    for tag in range(count):
        name, start = struct.unpack_from(">4sI", profile, 132 + 12 * tag)
        if name == b"rXYZ":
            profile[start + 8 : start + 20] = struct.pack(">3i", *(round(n * 65536) for n in (0.609, 0.311, 0.0195)))
        if name == b"gXYZ":
            profile[start + 8 : start + 20] = struct.pack(">3i", *(round(n * 65536) for n in (0.205, 0.6256, 0.061)))
    return bytes(profile)


def test_wide_gamut_pictures_are_brought_to_srgb() -> None:
    """An embedded profile changes the colours as lcms says, after scaling."""
    data = saved(RGB, "PNG", icc_profile=wide_gamut())
    srgb = ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(RGB, io.BytesIO(wide_gamut()), srgb, outputMode="RGB")
    assert distance(decoded(data).pixels, np.asarray(expected)) == 0
    assert distance(decoded(data).pixels, np.asarray(RGB)) > 10


def test_an_srgb_profile_changes_nothing() -> None:
    """A picture that says it is sRGB keeps its pixels, to the last bit."""
    data = saved(RGB, "PNG", icc_profile=icc(ImageCms.createProfile("sRGB")))
    assert distance(decoded(data).pixels, np.asarray(RGB)) == 0


@pytest.mark.parametrize("image", [RGB, GREY, RGB.convert("CMYK")], ids=lambda image: image.mode)
@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200, wide_gamut()[:150]], ids=["text", "zeros", "cut"])
def test_a_broken_profile_is_ignored(image: Image.Image, profile: bytes) -> None:
    """A profile that lcms refuses is as good as none."""
    with_profile = decoded(saved(image, "JPEG", icc_profile=profile)).pixels
    assert distance(with_profile, decoded(saved(image, "JPEG")).pixels) == 0


def cmyk_profile() -> bytes:
    """Return a tiny CMYK profile (ICC.1:2010, lut8): a 2x2x2x2 grid from ink to Lab."""
    grid = b"".join(
        bytes([max(0, 255 - 77 * c - 102 * m - 26 * y - 230 * k), 128 + 40 * (m - c), 128 + 40 * (y - c)])
        for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)
    )  # fmt: skip
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + grid + ramp * 3
    table += b"\0" * (-len(table) % 4)
    text = b"desc\0\0\0\0\0\0\0\x05test\0" + b"\0" * 79
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    bodies = [(b"desc", text), (b"wtpt", white), (b"A2B0", table)]
    start = 128 + 4 + 12 * len(bodies)
    tags, data = struct.pack(">I", len(bodies)), b""
    for name, body in bodies:
        tags += struct.pack(">4sII", name, start + len(data), len(body))
        data += body
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    return head + struct.pack(">3i", 63190, 65536, 54061) + b"\0" * (128 - len(head) - 12) + tags + data


def test_cmyk_goes_through_its_profile() -> None:
    """Ink becomes colour as the embedded profile says; without one, as Pillow says."""
    image = RGB.convert("CMYK")
    data = saved(image, "TIFF", icc_profile=cmyk_profile())
    srgb = ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(image, io.BytesIO(cmyk_profile()), srgb, outputMode="RGB")
    assert distance(decoded(data).pixels, np.asarray(expected)) == 0
    assert distance(decoded(saved(image, "TIFF")).pixels, np.asarray(image.convert("RGB"))) == 0
    assert distance(decoded(data).pixels, decoded(saved(image, "TIFF")).pixels) > 10


def test_the_pixel_limit_comes_before_the_pixels() -> None:
    """A picture over the limit is refused in megapixels, one at the limit is read, and a cut one is not looked at."""
    data = saved(Image.new("1", (4000, 3000)), "PNG")
    assert decode(content(data), SQUARE, 12_000_000).facts.width == 4000
    with pytest.raises(DecodeError, match=r"^12 megapixels, more than --max-megapixels 11\.5 allows$"):
        decode(content(data[:100]), SQUARE, 11_500_000)


FOREIGN_ERRORS = [OSError, SyntaxError, ValueError, struct.error, EOFError, ZeroDivisionError, OverflowError, KeyError]
MORE_ERRORS = [MemoryError, Image.DecompressionBombError, AttributeError, IndexError, TypeError, RecursionError]


@pytest.mark.parametrize("error", [*FOREIGN_ERRORS, *MORE_ERRORS])
def test_every_error_of_a_decoder_is_translated(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Pillow raises becomes a DecodeError with a reason, and keeps its cause."""
    monkeypatch.setattr(Image.Image, "load", raising(error))
    with pytest.raises(DecodeError, match=r"\w") as caught:
        decoded(samples()["bmp"])
    assert isinstance(caught.value.__cause__, error)


def raising(error: type[BaseException]) -> Callable[..., None]:
    """Return a function that raises."""

    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_a_decode_error(error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that concern the process pass through."""
    monkeypatch.setattr(Image.Image, "load", raising(error))
    with pytest.raises(error):
        decoded(samples()["bmp"])


@pytest.mark.parametrize("data", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1", b"%PDF-1.4", b"<svg/>", b"x", b"GIF89a"])
def test_other_formats_never_reach_a_decoder(data: bytes) -> None:
    """Only the listed formats are opened, and the reason holds no memory address."""
    with pytest.raises(DecodeError, match=r"^not a picture in a known format, or its header is damaged$"):
        decoded(data)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(SAMPLE_NAMES),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6),
    is_header=st.booleans(),
)
def test_damaged_bytes_raise_nothing_but_decode_errors(
    name: str, flips: list[tuple[float, int]], is_header: bool
) -> None:
    """Flipped bits give a picture of the right shape or a DecodeError."""
    data = bytearray(samples()[name])
    reach = min(len(data), 64) if is_header else len(data)
    for place, mask in flips:
        data[int(place * (reach - 1))] ^= mask
    try:
        picture = decode(content(bytes(data)), SQUARE, 4_000_000)
    except DecodeError as error:
        assert str(error)  # noqa: PT017 - a picture is as good an outcome
    else:
        assert picture.pixels.shape == (32, 32, 3)


def dng(preview: bytes, preview_size: tuple[int, int], orientation: int) -> bytes:
    """Write the smallest DNG that LibRaw takes: a JPEG preview and 64x48 sensor values of 16 bits."""
    width, height = 64, 48
    sensor = np.arange(width * height, dtype="<u2").tobytes()

    def shorts(*values: int) -> tuple[int, int, bytes]:
        return 3, len(values), struct.pack(f"<{len(values)}H", *values)

    def long(value: int) -> tuple[int, int, bytes]:
        return 4, 1, struct.pack("<I", value)

    def directory(entries: dict[int, tuple[int, int, bytes]], offset: int) -> bytes:
        rows, extra = struct.pack("<H", len(entries)), b""
        for tag, (kind, count, value) in sorted(entries.items()):
            where = struct.pack("<I", offset + 6 + 12 * len(entries) + len(extra))
            rows += struct.pack("<HHI", tag, kind, count) + (where if len(value) > 4 else value.ljust(4, b"\0"))
            extra += value + b"\0" * (len(value) % 2) if len(value) > 4 else b""
        return rows + b"\0" * 4 + extra

    def first(preview_at: int, sensor_directory_at: int) -> bytes:
        entries = {254: long(1), 256: long(preview_size[0]), 257: long(preview_size[1]), 258: shorts(8, 8, 8)}
        entries |= {
            259: shorts(7),
            262: shorts(6),
            271: (2, 5, b"Test\0"),
            272: (2, 5, b"Test\0"),
            273: long(preview_at),
        }
        entries |= {274: shorts(orientation), 277: shorts(3), 278: long(preview_size[1]), 279: long(len(preview))}
        matrix = struct.pack("<18i", *(value for n in range(9) for value in (int(n % 4 == 0), 1)))
        entries |= {330: long(sensor_directory_at), 50706: (1, 4, b"\1\4\0\0"), 50707: (1, 4, b"\1\1\0\0")}
        entries |= {50708: (2, 5, b"Test\0"), 50721: (10, 9, matrix), 50728: (5, 3, struct.pack("<6I", *[1] * 6))}
        return directory(entries | {50778: shorts(21)}, 8)

    def second(offset: int, sensor_at: int) -> bytes:
        entries = {254: long(0), 256: long(width), 257: long(height), 258: shorts(16), 259: shorts(1)}
        entries |= {262: shorts(32803), 273: long(sensor_at), 277: shorts(1), 278: long(height), 279: long(len(sensor))}
        entries |= {33421: shorts(2, 2), 33422: (1, 4, b"\0\1\1\2"), 50714: shorts(0), 50717: shorts(65535)}
        return directory(entries, offset)

    preview += b"\0" * (len(preview) % 2)
    start = 8 + len(first(0, 0))
    preview_at = start + len(second(start, 0))
    body = first(preview_at, start) + second(start, preview_at + len(preview))
    return b"II*\0\x08\0\0\0" + body + preview + sensor


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_raw_file_is_seen_through_its_preview(orientation: int) -> None:
    """A RAW file shows its preview, turned as it says, and has the sensor's size."""
    preview = photo_like(120, 160)
    jpeg = saved(preview, "JPEG")
    expected = TURNED[orientation](np.asarray(Image.open(io.BytesIO(jpeg))))
    target = preprocess(*expected.shape[:2], resize_mode="squash")
    picture = decoded(dng(jpeg, preview.size, orientation), target, b"/photos/IMG.DNG")
    assert distance(picture.pixels, expected) == 0
    assert picture.facts[:3] == (*((64, 48) if orientation < 5 else (48, 64)), "raw")


@pytest.mark.parametrize(("flip", "orientation"), [(0, 1), (3, 3), (5, 8), (6, 6)])
def test_a_preview_that_does_not_say_is_turned_as_the_sensor(
    flip: int, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LibRaw's flip decides where the preview has no orientation of its own, as a JPEG or as a bitmap."""
    import rawpy

    levels = np.asarray(photo_like(48, 64))
    png = saved(Image.fromarray(levels), "PNG")
    for preview in (png, levels):
        monkeypatch.setattr(rawpy, "imread", lambda _, data=preview: FakeRaw(data, flip))
        expected = TURNED[orientation](levels)
        picture = decoded(b"raw" + png, preprocess(*expected.shape[:2], resize_mode="squash"), b"a.nef")
        assert distance(picture.pixels, expected) == 0
        assert (picture.facts.height, picture.facts.width) == expected.shape[:2]


class FakeRaw:
    """What rawpy opens, with a preview of our choice."""

    height, width = 48, 64

    def __init__(self, data: bytes | Array, flip: int) -> None:
        self.data, self.flip, self.sizes = data, flip, self

    def __enter__(self) -> FakeRaw:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def extract_thumb(self) -> FakeRaw:
        """Stand for the preview, too."""
        return self


def test_a_cut_raw_file_is_refused_or_whole() -> None:
    """LibRaw's stale memory, where a preview's end is missing, is never taken for the preview."""
    jpeg = saved(photo_like(120, 160), "JPEG")
    whole = dng(jpeg, (160, 120), 1)
    expected = decoded(whole, SQUARE, b"a.dng").pixels
    end = whole.index(jpeg[-100:]) + 100
    for length in [*np.linspace(1, len(whole) - 1, 30).astype(int).tolist(), end - 1, end - 20, end - 400]:
        try:
            pixels = decoded(whole[:length], SQUARE, b"a.dng").pixels
        except DecodeError:
            continue
        assert length >= end
        assert distance(pixels, expected) == 0


@pytest.mark.parametrize("kind", [1, 3, 4, 5, 6, 7, 8, 9, 10, 2], ids="type {}".format)
def test_the_orientation_may_be_any_kind_of_number(kind: int) -> None:
    """Byte, long, signed, rational, undefined or text: programs write them all."""
    size, letter = {1: (1, "B"), 3: (2, "H"), 4: (4, "I"), 6: (1, "b"), 8: (2, "h"), 9: (4, "i")}.get(kind, (0, ""))
    values = {5: struct.pack("<II", 6, 1), 10: struct.pack("<ii", 6, 1), 7: b"\6", 2: b"6\0"}
    value = struct.pack(f"<{letter}", 6) if letter else values[kind]
    count = {2: 2}.get(kind, 1)
    where = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", 26)
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x0112, kind, count) + where + b"\0" * 4 + value
    assert size <= len(value)
    expected = TURNED[6](np.asarray(RGB))
    wish = preprocess(*expected.shape[:2], resize_mode="squash")
    assert distance(decoded(saved(RGB, "PNG", exif=block), wish).pixels, expected) == 0


def test_a_heic_is_turned_by_its_own_property_alone() -> None:
    """EXIF in a HEIC tells how it was turned when it was made, as the standard says: nothing to do again."""
    plain = saved(RGB, "HEIF", exif=exif(1).tobytes(), quality=-1)
    tag = struct.pack(">HHIH", 0x0112, 3, 1, 1)
    assert plain.count(tag) == 1
    assert distance(decoded(plain.replace(tag, tag[:-1] + b"\6")).pixels, decoded(plain).pixels) == 0


def test_an_avif_is_turned_by_its_own_property_alone() -> None:
    """XMP in it may still say how it lay before."""
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decoded(saved(RGB, "AVIF", xmp=packet)).facts[:2] == (WIDTH, HEIGHT)


def test_grey_with_associated_alpha_is_read() -> None:
    """On white where it is transparent; its levels have been multiplied with alpha already."""
    levels, alpha = np.asarray(GREY).astype(int), np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).round()
    pixels = np.stack([(levels * alpha / 255).round(), alpha], axis=-1).astype(np.uint8)
    data = saved(Image.fromarray(pixels, "LA"), "TIFF")
    unassociated = struct.pack("<HHIH", 338, 3, 1, 2)
    data = data.replace(unassociated, unassociated[:-2] + b"\1\0")
    assert Image.open(io.BytesIO(data)).mode == "La"
    assert distance(decoded(data).pixels[..., 0], levels * alpha / 255 + 255 - alpha) <= 2


def test_pillow_prints_nothing_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """A line without the name of a file helps nobody; the reason comes with the file."""
    data = bytearray(saved(RGB, "TIFF"))
    samples_per_pixel = data.index(struct.pack("<HHI", 277, 3, 1)) + 8
    data[samples_per_pixel : samples_per_pixel + 2] = b"\xff\x7f"
    with pytest.raises(DecodeError):
        decoded(bytes(data))
    assert caplog.records == []


@pytest.mark.parametrize("name", [name for name in SAMPLE_NAMES if name != "dib"])  # a DIB has no signature
def test_a_picture_under_a_raw_name_is_what_it_is(name: str) -> None:
    """The content decides, and not the name."""
    here, there = (decode(content(samples()[name], file), SQUARE, float("inf")) for file in (b"a", b"a.cr2"))
    assert here.facts == there.facts
    assert distance(here.pixels, there.pixels) == 0


def test_a_tiff_that_libraw_takes_for_a_raw_file_is_a_tiff() -> None:
    """It takes those of 16 bits, and would show the small second page."""
    deep = Image.fromarray(np.arange(600 * 800, dtype=np.uint16).reshape(600, 800))
    data = saved(deep, "TIFF", save_all=True, append_images=[photo_like(30, 40)])
    picture = decoded(data, SQUARE, b"a.nef")
    assert picture.facts[:3] == (800, 600, "tiff")
    assert distance(picture.pixels, decoded(data, SQUARE).pixels) == 0


def test_what_is_no_picture_under_a_raw_name_is_refused() -> None:
    """What nothing knows is a DecodeError."""
    for data in (b"raw", b"II*\0\x08\0\0\0", saved(RGB, "TIFF")[:-20]):
        with pytest.raises(DecodeError):
            decoded(data, SQUARE, b"a.cr2")


def test_raw_files_ask_for_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rawpy the reason says what to install."""
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(DecodeError, match=r"pip install 'imgidx\[raw\]'"):
        decoded(b"raw", SQUARE, b"a.dng")
