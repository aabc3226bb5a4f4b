"""Weights as little in memory as can be: mapped from their file, and converted one after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from mmap import ACCESS_COPY, ALLOCATIONGRANULARITY, mmap
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Self

import safetensors.torch
import torch
from torch.overrides import TorchFunctionMode

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The number formats of https://github.com/huggingface/safetensors#format that weights have."""


class MappedWeights(TorchFunctionMode):
    """While it is on, no weights are drawn at random, and those of a file are mapped into memory instead of copied.

    open_clip would draw every weight and then copy the file's over it (measured for a ViT-B-32 of 605 MB: 2.0 s instead
    of 0.7 s, and 1.9 GB at most instead of 1.3). What the file lacks makes the loading fail, as ever.
    """

    # open_clip has no option for either. torch's function mode catches the drawing wherever open_clip or timm asks for
    # it; `assign=True` makes a module take the mapped tensors of the file in place of its own. Patching the classes is
    # safe: a child loads one model, in one thread, and the patches are gone before anything else runs.

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Leave out the functions of `torch.nn.init`; they return the tensor they are given."""
        if getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))

    def __enter__(self) -> Self:
        self._copying = torch.nn.Module.load_state_dict
        self._loading = safetensors.torch.load_file
        torch.nn.Module.load_state_dict = partialmethod(self._copying, assign=True)  # type: ignore[assignment]
        safetensors.torch.load_file = map_file  # type: ignore[assignment]
        return super().__enter__()  # type: ignore[no-any-return, no-untyped-call]

    def __exit__(self, *error: object) -> None:
        torch.nn.Module.load_state_dict = self._copying  # type: ignore[method-assign]
        safetensors.torch.load_file = self._loading
        super().__exit__(*error)  # type: ignore[no-untyped-call]


def map_file(filename: str | PathLike[str], device: str | int = "cpu") -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file as `safetensors.torch.load_file` does, each a mapping of its own.

    The library maps the file once: all of it stays as long as one tensor does. Here the memory of a tensor goes with
    it, so that weights that have been converted, one after the other, are never there twice. Raises `OSError`,
    `ValueError` or `KeyError` where the file is damaged.
    """
    with Path(filename).open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        return {name: tensor.to(device) for name, tensor in _map_tensors(file, 8 + size, header)}


def _map_tensors(file: BinaryIO, start: int, header: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that the header describes, by name; their bytes begin at `start`."""
    for name, described in header.items():
        shape, dtype = described["shape"], DTYPES[described["dtype"]]
        begin, end = (start + offset for offset in described["data_offsets"])
        if begin == end:
            yield name, torch.empty(shape, dtype=dtype)
            continue
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has {end - begin} bytes for {shape}")
        before = begin % ALLOCATIONGRANULARITY  # a mapping begins where a page does
        mapping = mmap(file.fileno(), end - begin + before, access=ACCESS_COPY, offset=begin - before)
        tensor = torch.frombuffer(mapping, dtype=dtype, count=math.prod(shape), offset=before)
        yield name, tensor.reshape(shape)


@contextmanager
def converted_behind(tower: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let a forward pass within the block convert the weights of each module to `dtype` once it has run.

    The pass computes what it computes without; but of mapped weights only those of one module are in memory at a time.
    """

    def before(module: torch.nn.Module, *_: object) -> None:
        _convert(module, torch.float32)  # one that runs twice

    def after(module: torch.nn.Module, *_: object) -> None:
        _convert(module, dtype)

    hooks = [module.register_forward_pre_hook(before) for module in tower.modules()]
    hooks += [module.register_forward_hook(after) for module in tower.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def keep_visual(model: torch.nn.Module) -> None:
    """Let go of all weights of a CLIP model but those of its image tower; who asks it for a text meets an error."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not name.startswith("visual."):
            tensor.data = tensor.new_empty(0)


@torch.inference_mode(mode=False)
@torch.no_grad()
def _convert(module: torch.nn.Module, dtype: torch.dtype) -> None:
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
