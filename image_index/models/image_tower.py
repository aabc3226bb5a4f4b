"""Pictures to vectors in this process, without torch: the exported image tower on ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from image_index.records import Pixels, Vectors

INPUT, OUTPUT = "pixels", "vectors"
"""The names of the graph's input (N, H, W, 3) uint8 and its output (N, D) float32."""


@dataclass(frozen=True, slots=True)
class ImageTower:
    """A loaded image tower; mean and deviation of the preprocessing are part of its graph."""

    session: Any

    def encode(self, pixels: Pixels) -> Vectors:
        """Return the unit vectors (N, D) of `pixels` (N, H, W, 3) uint8; raises whatever ONNX Runtime raises."""
        vectors: Vectors = self.session.run([OUTPUT], {INPUT: pixels})[0]
        return vectors
