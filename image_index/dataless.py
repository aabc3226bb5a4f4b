"""Files whose content is in a cloud and not on this disk.

iCloud Drive, Dropbox, OneDrive and Google Drive leave such files on a Mac. They have a name, a size and a time; whoever
reads one, or lists such a directory, starts a download and waits for it (Apple's technical note TN3150). To look at one
with `stat` is harmless. Other systems have no such flag: there every file counts as being on the disk.
"""

from __future__ import annotations

import os

SF_DATALESS = 0x40000000
"""The bit in `st_flags`, from macOS's sys/stat.h; Python's `stat` has no name for it before 3.13."""


HAS_FLAG = hasattr(os.stat_result, "st_flags")
"""Whether this system has the flag; a scan of a million files need not look for it elsewhere."""


def is_dataless(status: os.stat_result) -> bool:
    """Tell whether the content of a file or a directory is not on this disk."""
    return bool(getattr(status, "st_flags", 0) & SF_DATALESS)
