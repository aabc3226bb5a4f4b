"""Where the files of a run lie on another machine, and whether it sees them there as this one does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from image_index.errors import UsageError, WorkersFailed
from image_index.paths import printable
from image_index.records import ImageFile


@dataclass(frozen=True, slots=True)
class PathMap:
    """Pairs of directories: what lies below the first here lies below the second there. Without pairs all is alike."""

    pairs: tuple[tuple[bytes, bytes], ...] = ()

    def there(self, path: bytes) -> bytes:
        """Return where the file at `path` lies on the other machine, by the first pair that it lies below."""
        for here, there in self.pairs:
            if path == here or path.startswith(here.rstrip(b"/") + b"/"):
                return there.rstrip(b"/") + path[len(here.rstrip(b"/")) :]
        return path


def parse_map(text: str) -> tuple[bytes, bytes]:
    """Return the pair of directories of `--map HERE=THERE`; both have to be absolute."""
    here, _, there = text.partition("=")
    if not (here.startswith("/") and there.startswith("/")):
        raise UsageError(f"--map takes two absolute directories, /here=/there; not {text!r}")
    return os.fsencode(os.path.normpath(here)), os.fsencode(os.path.normpath(there))


def choose_map(sample: Sequence[ImageFile], asked: PathMap) -> PathMap:
    """Return the map by which this machine sees every file of `sample`: none where that does, else the one `asked` for.

    Raises `WorkersFailed` with a sentence where it sees another file, or none.
    """
    problem = first_difference(sample, PathMap())
    if problem is None:
        return PathMap()
    if asked.pairs:
        problem = first_difference(sample, asked)
    if problem is None:
        return asked
    raise WorkersFailed(problem, "mount the pictures there at the same path, or use --map HERE=THERE")


def first_difference(sample: Sequence[ImageFile], by: PathMap) -> str | None:
    """Return in words the first file that this machine sees otherwise, None where there is none."""
    for file in sample:
        path = by.there(file.path)
        try:
            seen = ImageFile.of(path, os.stat(path))
        except OSError as error:
            return f"it does not see {printable(path)}: {error.strerror}"
        if (seen.size, seen.mtime_ns) != (file.size, file.mtime_ns):
            return f"it sees another file at {printable(path)}: size or time differ"
    return None
