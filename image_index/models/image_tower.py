"""Pictures to vectors in this process, without torch: the exported image tower on ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from image_index.records import Pixels, Vectors

LEAST_LENGTH = 1e-3
"""Features of a picture that are shorter have no direction but that of rounding; those of photos measure 10 and more.

`starter` gives a flat grey between 104 and 180 features of length zero, and grey 100 or 184 some of 4e-6.
"""

INPUT, OUTPUT = "pixels", "vectors"
"""The names of the graph's input (N, H, W, 3) uint8 and its output (N, D) float32."""


@dataclass(frozen=True, slots=True)
class ImageTower:
    """A loaded image tower; mean and deviation of the preprocessing are part of its graph."""

    session: Any

    def encode(self, pixels: Pixels) -> Vectors:
        """Return the unit vectors (N, D) of `pixels` (N, H, W, 3) uint8; raises whatever ONNX Runtime raises.

        That of a picture without a direction is shorter than one.
        """
        vectors: Vectors = self.session.run([OUTPUT], {INPUT: pixels})[0]
        return vectors
