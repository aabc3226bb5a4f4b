"""Weights that are mapped and converted one after the other are those that are loaded and converted at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from image_index.models.mapped_weights import converted_behind, keep_visual, map_file


def test_mapped_tensors_are_those_of_the_file(tmp_path: Path) -> None:
    """Whatever their shape and number format, and wherever in the file they stand."""
    torch.manual_seed(0)
    tensors = {
        "matrix": torch.randn(300, 70),
        "odd": torch.arange(7, dtype=torch.uint8),
        "half": torch.randn(5, 1, 3).half(),
        "brain": torch.randn(4, 4).bfloat16(),
        "double": torch.randn(3).double(),
        "positions": torch.arange(77).unsqueeze(0),
        "mask": torch.tensor([True, False]),
        "scale": torch.tensor(4.6),
        "nothing": torch.empty(0, 8),
    }
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    mapped, expected = map_file(path), load_file(path)
    assert mapped.keys() == expected.keys()
    for name, tensor in mapped.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name])


def test_a_tensor_that_is_not_whole_is_no_tensor(tmp_path: Path) -> None:
    """A shape that its bytes do not fill, or a file that ends before them, is an error, as in the library."""
    path = tmp_path / "weights.safetensors"
    save_file({"one": torch.ones(10)}, path)
    content = path.read_bytes()
    for damaged in (content.replace(b"[10]", b"[9] "), content[:-4]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"bytes|mmap"):
            map_file(path)


def test_writing_to_a_mapped_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    """A library that changes its weights in place changes its own copy of a page."""
    path = tmp_path / "weights.safetensors"
    save_file({"one": torch.ones(10)}, path)
    content = path.read_bytes()
    map_file(path)["one"].mul_(3)
    assert path.read_bytes() == content


class Tower(torch.nn.Module):
    """Modules that run in order, one that runs twice, one whose weights its parent takes, and weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.rand(8))
        self.norm = torch.nn.LayerNorm(8)
        self.twice = torch.nn.Linear(8, 8)
        self.attend = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, L, 8) for (N, L, 8)."""
        x = self.twice(functional.gelu(self.twice(self.norm(x))))
        attended: torch.Tensor = self.attend(x, x, x, need_weights=False)[0]
        return attended * self.scale


def test_a_pass_that_converts_computes_what_it_computes_without() -> None:
    """Each module runs with the weights that it had; afterwards all are converted."""
    torch.manual_seed(0)
    tower, x = Tower().eval(), torch.randn(2, 3, 8)
    with torch.inference_mode():
        expected = tower(x)
        with converted_behind(tower, torch.bfloat16):
            vectors = tower(x)
    assert torch.nn.functional.cosine_similarity(vectors.flatten(), expected.flatten(), dim=0) > 0.9999
    assert {parameter.dtype for parameter in tower.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        assert tower(x.bfloat16()).dtype == torch.bfloat16


def test_only_the_image_tower_is_kept() -> None:
    """Who asks the rest for a text gets an error and no vector of nothing."""
    model = torch.nn.Module()
    model.visual, model.text = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    kept = model.visual.weight.detach().clone()
    keep_visual(model)
    assert torch.equal(model.visual.weight, kept)
    assert sum(parameter.numel() for parameter in model.text.parameters()) == 0
    with pytest.raises(RuntimeError):
        model.text(torch.ones(1, 2))
