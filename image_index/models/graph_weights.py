"""Where an exported graph finds its weights: in the model's own file where they stand there as the graph takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from image_index.models.tower_files import own_weights

SMALL_BYTES = 1024
"""Smaller weights stand in the graph."""

ALIGNMENT = 64
"""Weights in a file of our own begin at multiples of this."""


class Place(NamedTuple):
    """Where the bytes of a tensor stand."""

    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class StoredTensors:
    """The float32 tensors of a safetensors file, by name, with their shapes."""

    path: Path
    places: dict[str, tuple[Place, tuple[int, ...]]]

    @classmethod
    def of(cls, weights: Path) -> StoredTensors:
        """Read the header (https://github.com/huggingface/safetensors#format); no other format can be pointed into."""
        path = weights.resolve()
        if weights.suffix != ".safetensors":
            return cls(path, {})
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        places = {}
        for name, tensor in header.items():
            if name != "__metadata__" and tensor["dtype"] == "F32":
                begin, end = tensor["data_offsets"]
                places[name] = Place(path.name, 8 + size + begin, end - begin), tuple(tensor["shape"])
        return cls(path, places)

    def find(self, name: str, tensor: NDArray[np.generic]) -> Place | None:
        """Return where the file holds exactly this tensor under its name."""
        place, shape = self.places.get(name, (None, ()))
        if place is None or shape != tensor.shape or tensor.dtype != np.float32 or not tensor.size:
            return None
        stored = np.memmap(self.path, "<f4", "r", place.offset, shape or (1,))
        return place if np.array_equal(stored.reshape(shape), tensor) else None


def place_weights(
    model: onnx.ModelProto, graph: Path, tensors: Mapping[str, NDArray[np.generic]], stored: StoredTensors
) -> None:
    """Write `model`, whose weights are inputs, to `graph` with its weights in their places.

    `tensors` are the weights by the names of the inputs, `model.` and their name in the model. A graph can point into
    one folder only. Where the model's file holds most of the bytes it points there and carries the others itself, as
    masks; otherwise all that is large goes to a file of its own.
    """
    inputs = [value for value in model.graph.input if value.name in tensors]
    weights = {value.name: tensors[value.name] for value in inputs}
    found = {name: stored.find(name.removeprefix("model."), weight) for name, weight in weights.items()}
    shared = sum(place.length for place in found.values() if place)
    if 2 * shared < sum(weight.nbytes for weight in weights.values()):
        found = _write_own(graph.with_name(own_weights(graph.name)), weights)
    for value in inputs:
        model.graph.input.remove(value)
        model.graph.initializer.append(_initialiser(value.name, weights[value.name], found[value.name]))
    onnx.save(model, str(graph))


def _write_own(path: Path, weights: Mapping[str, NDArray[np.generic]]) -> dict[str, Place | None]:
    """Write weights to a file of their own; return their places."""
    places: dict[str, Place | None] = {}
    with path.open("wb") as file:
        for name, weight in weights.items():
            places[name] = None
            if weight.nbytes >= SMALL_BYTES:
                file.write(bytes(-file.tell() % ALIGNMENT))
                places[name] = Place(path.name, file.tell(), weight.nbytes)
                file.write(np.ascontiguousarray(weight).data)
    return places


def _initialiser(name: str, weight: NDArray[np.generic], place: Place | None) -> object:
    """Return the ONNX tensor of a weight, which stands at `place`, or else in the tensor itself."""
    if place is None:
        return onnx.numpy_helper.from_array(weight, name)
    tensor = onnx.TensorProto(
        name=name,
        dims=weight.shape,
        data_type=onnx.helper.np_dtype_to_tensor_dtype(weight.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in zip(("location", "offset", "length"), place, strict=True):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
