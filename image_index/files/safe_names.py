"""Names for files that every system takes, whatever bytes the names had that they are made of."""

from __future__ import annotations

import os
import re

from image_index.paths import printable

NAME_BYTES = 200
"""How long a name may be unless another length is asked for; file systems take 255 bytes, and a number may follow."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
"""What Windows takes in no name."""

_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE | re.ASCII)
"""What Windows takes for a device, whatever its extension."""


def safe_name(name: bytes, most_bytes: int = NAME_BYTES) -> str:
    """Return a file's name as every system takes it: no control characters, no separators, no device, not too long."""
    text = _FORBIDDEN.sub("_", printable(name)).strip(" .") or "picture"
    stem, extension = os.path.splitext(text)
    room = most_bytes - len(extension.encode())
    stem = stem.encode()[: max(room, 1)].decode(errors="ignore").rstrip(" .")
    text = f"{stem}{extension}" if room > 0 else stem
    return f"_{text}" if _DEVICE.match(text) else text
