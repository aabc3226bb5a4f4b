"""Leave out of a PNG what is not needed, so that damage beside the picture does not cost it (W3C PNG, 3rd edition).

Pillow refuses a file for a side chunk that is too large or damaged: text with a wrong checksum, a gamma of two bytes.
As libpng does, a damaged side chunk is left out here; and so is one that nothing is read of.
"""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MOST_BYTES = 16 << 20
"""A profile or a text that is larger, once decompressed, is left out; the largest real profiles have 4 MiB."""

_NEEDED_TEXTS = frozenset(
    b"XML:com.adobe.xmp|Raw profile type exif|Raw profile type APP1|Raw profile type xmp"
    b"|exif:DateTimeOriginal|exif:DateTimeDigitized|exif:DateTime|Creation Time|create-date".split(b"|")
)
_LEAST_TRANSPARENCY = {0: 2, 2: 6}
"""How many bytes tRNS has at least, by colour type."""


def without_side_chunks(data: bytes) -> bytes:
    """Return a PNG with its picture, its transparency, profile and EXIF, and the text that is read; else as it is.

    What follows a truncated chunk, or bytes that are none, stays: it is for the decoder to refuse.
    """
    kept, start, texts = [data[:8]], 8, set[bytes]()
    colour_type = data[25] if len(data) > 25 else 0
    while len(data) - start >= 12:
        size, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + size
        is_damaged = not kind.isalpha()
        if end > len(data) or (is_damaged and not data[end + 4 : end + 8].isalpha()):
            break
        chunk = data[start:end]
        is_critical = not is_damaged and kind[:1].isupper()
        if is_critical or (_is_sound(chunk) and _is_wanted(kind, chunk[8:-4], colour_type, texts)):
            kept.append(chunk)
        start = end
        if kind == b"IEND":
            break
    kept.append(data[start:])
    return b"".join(kept)


def _is_sound(chunk: bytes) -> bool:
    """Tell whether a chunk's checksum is right."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _is_wanted(kind: bytes, content: bytes, colour_type: int, texts: set[bytes]) -> bool:
    """Tell whether a side chunk is needed and bounded; `texts` are the names of those before it."""
    name, _, rest = content.partition(b"\0")
    match kind:
        case b"tRNS":
            return len(content) >= _LEAST_TRANSPARENCY.get(colour_type, 1)
        case b"eXIf":
            return True
        case b"iCCP":
            return _is_bounded(rest)
        case b"tEXt" | b"zTXt" | b"iTXt" if name in _NEEDED_TEXTS and name not in texts:
            texts.add(name)
            if kind == b"iTXt" and rest[:1] == b"\1":  # a method, a language and a keyword stand before the text
                return _is_bounded(rest[1:2] + rest[2:].split(b"\0", 2)[-1])
            return _is_bounded(rest) if kind == b"zTXt" else len(rest) <= MOST_BYTES
    return False


def _is_bounded(rest: bytes) -> bool:
    """Tell whether a compression method and a stream are zlib's, and what comes of them is not too large."""
    reader = zlib.decompressobj()
    try:
        reader.decompress(rest[1:], MOST_BYTES)
    except zlib.error:
        return False
    return rest[:1] == b"\0" and not reader.unconsumed_tail
