"""Whether what a machine says of a file is to be believed: the driver sees the same files, and looks for itself.

A machine whose mount is gone would report every file as vanished; one without permission, each as a failure.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace

from image_index.files.read import DatalessError, read_file
from image_index.records import EmbeddedBatch, EmbeddedImage, Failure, ImageFile, Stage

MACHINES_PER_FILE = 2
"""A file that two machines cannot see or read is what they say, although the driver sees and reads it."""


@dataclass(slots=True)
class Checked:
    """A result with the driver's own word for each file, and the files that another machine is to try."""

    result: EmbeddedBatch
    disputed: list[ImageFile]


@dataclass(slots=True)
class Trust:
    """What machines have said so far that the driver does not see."""

    fetch_cloud: bool = False
    disputes: Counter[bytes] = field(default_factory=Counter)

    def check(self, result: EmbeddedBatch, held: MutableMapping[bytes, ImageFile]) -> Checked:
        """Take the files of `result` out of `held`; what is said of any other file is left out, for nobody asked."""
        disputed: list[ImageFile] = []
        images: list[EmbeddedImage] = []
        rows: list[int] = []
        failures: list[Failure] = []
        vanished: list[ImageFile] = []
        for row, image in enumerate(result.images):
            if file := held.pop(image.file.path, None):
                if stored := self._to_store(file, image.file):
                    images.append(replace(image, file=stored))
                    rows.append(row)
                else:
                    disputed.append(file)
        for failure in result.failures:
            if file := held.pop(failure.file.path, None):
                if failure.stage is Stage.READ and self._reads_here(file):
                    disputed.append(file)
                else:
                    failures.append(replace(failure, file=file))
        for gone in result.vanished:
            if file := held.pop(gone.path, None):
                (disputed if self._reads_here(file) else vanished).append(file)
        kept = replace(
            result,
            images=tuple(images),
            vectors=result.vectors[rows],
            failures=tuple(failures),
            vanished=tuple(vanished),
        )
        return Checked(kept, disputed)

    def _to_store(self, file: ImageFile, seen: ImageFile) -> ImageFile | None:
        """Return a file as it is to be stored where a machine saw it as `seen`; None if that is another file."""
        if _alike(file, seen):
            return file
        try:
            here = ImageFile.of(file.path, os.stat(file.path))
        except OSError:
            return seen  # it has gone since it was read
        if _alike(here, seen):
            return here  # it has changed since the scan
        return None if self._is_disputed(file) else seen

    def _reads_here(self, file: ImageFile) -> bool:
        """Tell whether the driver reads a file that a machine could not read or find, and that is to be disputed."""
        try:
            read_file(file.path, fetch_cloud=self.fetch_cloud)
        except (OSError, DatalessError):
            return False
        return self._is_disputed(file)

    def _is_disputed(self, file: ImageFile) -> bool:
        """Count one more machine that sees a file otherwise; tell whether another one is to be asked."""
        self.disputes[file.path] += 1
        return self.disputes[file.path] < MACHINES_PER_FILE


def _alike(one: ImageFile, other: ImageFile) -> bool:
    """Tell whether two looks at a path saw the same file: inodes differ from machine to machine."""
    return (one.size, one.mtime_ns) == (other.size, other.mtime_ns)
