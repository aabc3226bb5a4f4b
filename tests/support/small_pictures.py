"""Small pictures of one colour, for what does not look at them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from image_index.records import ImageFile


@dataclass
class Pictures:
    """A directory of small pictures."""

    directory: Path

    def make(self, name: str, colour: tuple[int, int, int] = (10, 20, 30)) -> ImageFile:
        """Write one picture, wider than high."""
        path = self.directory / name
        Image.new("RGB", (12, 8), colour).save(path, "PNG")
        return self.file(path)

    def file(self, path: Path) -> ImageFile:
        """Return a file as the scan does."""
        return ImageFile.of(os.fsencode(path), path.stat())
