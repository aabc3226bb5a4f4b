"""Which paths lead to one file: links, hard links, and mounts of one disk at two places.

The identity of a file is its device and inode, as the system gives them now: both may be other ones tomorrow.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from image_index.files.read import hash_file
from image_index.records import ImageFile


def find_file(path: bytes) -> ImageFile | None:
    """Return the file that is at `path` now, None where there is none or it cannot be reached."""
    try:
        return ImageFile.of(path, os.stat(path))
    except OSError:
        return None


def group_by_file(paths: Iterable[bytes]) -> list[list[bytes]]:
    """Group paths by the file that they lead to now; a path that leads nowhere is in no group.

    Two different files are never in one group, also where a file system gives both the same inode: names are of one
    file only if size and time agree too and there is a reason for several names, which is a link. Without one, as with
    two mounts of a disk, they are compared by content. Where the inode is 0 each path is a file of its own.
    """
    by_status: dict[tuple[int, ...], list[bytes]] = defaultdict(list)
    groups: list[list[bytes]] = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_ino:
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_nlink)
            by_status[key].append(path)
        else:
            groups.append([path])
    for (*_, links), group in by_status.items():
        groups += [group] if len(group) == 1 or links > 1 or _lead_to_one_path(group) else _by_content(group)
    return groups


def is_one_file(path: bytes, other: bytes) -> bool:
    """Tell whether two paths lead to one file now."""
    return any(len(group) > 1 for group in group_by_file((path, other)))


def is_link(path: bytes) -> bool:
    """Tell whether a symbolic link is on the way to `path`."""
    return os.path.realpath(path) != path


def _lead_to_one_path(paths: list[bytes]) -> bool:
    """Tell whether paths are one and the same where their symbolic links are resolved."""
    return len({os.path.realpath(path) for path in paths}) == 1


def _by_content(paths: list[bytes]) -> list[list[bytes]]:
    """Group paths by the content of their files; one that cannot be read is alone."""
    by_content: dict[bytes, list[bytes]] = defaultdict(list)
    for path in paths:
        by_content[hash_file(path) or path].append(path)
    return list(by_content.values())
