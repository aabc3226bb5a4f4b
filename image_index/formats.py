"""Which files count as pictures: extensions that the scan takes, formats that the decoder may open, and shortcuts."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec

PICTURE_EXTENSIONS = frozenset(
    b".jpg .jpeg .jpe .jfif .png .apng .webp .gif .tif .tiff .bmp .dib .jp2 .j2k .jpf .jpx .jpc"
    b" .pnm .pbm .pgm .ppm .pfm .avif .avifs .heic .heics .heif .heifs .hif".split()
)
"""Lower-case extensions, as bytes, of the formats every installation reads."""

RAW_EXTENSIONS = frozenset(
    b".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .srw .x3f".split()
)
"""Lower-case extensions of camera RAW files, read through their embedded preview by the extra `raw`."""

PILLOW_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM", "AVIF", "HEIF")
"""The only decoders a file may reach, whatever its content claims (no EPS, PSD, PDF, ...)."""

LEAST_MAX_PIXELS = 128_000_000
"""The limit for a picture is never set below this: on a small machine fewer threads decode instead."""

_OTHER_NAMES = {
    "jpeg": "jpg jpe jfif mpo",
    "png": "apng",
    "tiff": "tif",
    "jpeg2000": "jp2 j2k jpf jpx jpc",
    "ppm": "pnm pbm pgm pfm",
    "avif": "avifs",
    "heif": "heic heics heifs hif",
}
_FORMATS = {name.lower(): name.lower() for name in PILLOW_FORMATS} | {"raw": "raw"}
_FORMATS |= {other: name for name, others in _OTHER_NAMES.items() for other in others.split()}


class Decoding(StrEnum):
    """With which shortcuts pictures are decoded (docs/decisions/0012).

    With `preview` the small copy that a camera or phone has put into the file stands for the picture, where it has as
    many pixels as the model takes.
    """

    FAST = "fast"
    EXACT = "exact"
    PREVIEW = "preview"


def format_names(word: str) -> tuple[str, ...]:
    """Return the catalog's names of a format, given its name or an extension: `("jpeg", "mpo")` for `jpg`.

    Raises ValueError, listing the formats, for a word that is none.
    """
    name = _FORMATS.get(word.lower().removeprefix("."))
    if name is None:
        raise ValueError(", ".join(sorted({*_FORMATS.values()})))
    return ("jpeg", "mpo") if name == "jpeg" else (name,)  # MPO is a JPEG with more pictures behind it


def readable_extensions() -> frozenset[bytes]:
    """Return the extensions this installation reads: RAW files count only where the extra `raw` is installed."""
    return PICTURE_EXTENSIONS | RAW_EXTENSIONS if find_spec("rawpy") else PICTURE_EXTENSIONS
