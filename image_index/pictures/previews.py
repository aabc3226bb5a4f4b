"""The small copy of a picture that phones and cameras put into its file, to be decoded instead of the picture.

A HEIC has it as a thumbnail item (ISO/IEC 23008-12, 6.4.4), a JPEG in the second directory of its EXIF (Exif 2.32,
4.5.8). An iPhone's is 320 x 240, a Samsung's 512 x 384; cameras write 160 x 120 into a JPEG, which is no use.
"""

from __future__ import annotations

from io import BytesIO

from PIL import ExifTags, Image

from image_index.pictures.truncation import a_box_is_cut

PREVIEW_FORMATS = ("JPEG", "MPO", "HEIF")
"""What `load_preview` can do something with: for some others, asking for the orientation costs all pixels."""

ROUNDING = 2
"""By how many pixels a side of a preview may differ from the picture's shape: as in pillow-heif."""


def load_preview(image: Image.Image, data: bytes, scan_start: int, least_size: tuple[int, int]) -> Image.Image | None:
    """Return the preview of an opened picture, loaded, with the metadata of the picture; None where none serves.

    One serves that has at least `least_size` (width, height), shows all of the picture, and stands in a file whose end
    is there. The picture is of one of `PREVIEW_FORMATS`; `scan_start` is where a JPEG's header ends, `data` its file.
    """
    if image.format != "HEIF":
        # No scan has these bytes inside: a JPEG without them is truncated, and what decodes all of it will say so.
        return None if data.find(b"\xff\xd9", scan_start) < 0 else _exif_preview(image, least_size)
    if a_box_is_cut(data) or image.draft(None, least_size) is None:
        return None
    image.load()
    return image


def _exif_preview(image: Image.Image, least_size: tuple[int, int]) -> Image.Image | None:
    try:
        directory = image.getexif().get_ifd(ExifTags.IFD.IFD1)
        start, length = directory[ExifTags.Base.JpegIFOffset], directory[ExifTags.Base.JpegIFByteCount]
        block = image.info["exif"].removeprefix(b"Exif\0\0")
        preview = Image.open(BytesIO(block[start : start + length]), formats=("JPEG",))
        if preview.mode != image.mode or not _is_scaled_copy(preview.size, image.size, least_size):
            return None
        preview.load()
    except Exception:  # no preview, or as many types for a damaged one as `decode` expects: the picture is there
        return None
    preview.info, preview.format = image.info, image.format
    return preview


def _is_scaled_copy(size: tuple[int, int], whole: tuple[int, int], least_size: tuple[int, int]) -> bool:
    """Tell whether a preview has pixels enough and the shape of the whole: black bars and an old crop change it."""
    (width, height), (whole_width, whole_height) = size, whole
    is_large = width >= least_size[0] and height >= least_size[1]
    return is_large and abs(width * whole_height - height * whole_width) <= ROUNDING * max(whole)
