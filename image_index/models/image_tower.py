"""Pictures to vectors in this process, without torch: the exported image tower on ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image_index.models.graph import Graph
from image_index.models.tower_files import IMAGE_GRAPH, ImagePart, fault, state
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


def open_image_tower(directory: Path, fingerprint: str, threads: int) -> tuple[ImageTower, ImagePart]:
    """Return the loaded image tower in `directory`, and what its manifest says of it.

    Raises `ValueError` where it is not that of the model or not whole, and whatever ONNX Runtime raises.
    """
    _, manifest = state(directory, fingerprint, thorough=False)
    if manifest is None or manifest.image is None:
        raise ValueError(f"the towers in {directory} {fault(directory)}")
    session = Graph.of(directory, manifest, IMAGE_GRAPH).load(threads, optimised=manifest.image.convolutional)
    return ImageTower(session), manifest.image
