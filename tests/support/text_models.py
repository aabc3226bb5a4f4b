"""Small CLIP models with random weights, whose text towers are of every kind that open_clip has, and their export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import save_file

from image_index.models.tower_export import Original, export_towers
from image_index.models.tower_files import state
from image_index.records import DerivedState, ModelFacts, Preprocess
from image_index.workers.self_test import self_test_pictures
from tests.support.records import facts

LENGTH = 24
VISION = {"layers": 1, "width": 32, "image_size": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": LENGTH, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}

TOWERS: dict[str, tuple[Any, dict[str, object]]] = {
    "CLIP": (CLIP, {}),
    "a tower of its own": (CustomTextCLIP, {}),
    "end by its id": (CustomTextCLIP, {"pool_type": "eos", "eos_id": 49407}),
    "a biased projection": (CustomTextCLIP, {"proj_bias": True}),
    "layer scale": (CustomTextCLIP, {"ls_init_value": 0.1}),
    "every token sees all": (CustomTextCLIP, {"no_causal_mask": True}),
    "last token": (CustomTextCLIP, {"no_causal_mask": True, "pool_type": "last"}),
    "class token": (CustomTextCLIP, {"embed_cls": True}),
}
"""Models by what is special about their text tower: class, and what differs in the configuration."""

OWN_LENGTH = {"CLIP", "a tower of its own", "end by its id", "a biased projection", "layer scale"}
"""Those whose vectors do not depend on the padding."""


def make_model(kind: str) -> torch.nn.Module:
    """Return a model with that text tower."""
    torch.manual_seed(1)
    maker, changes = TOWERS[kind]
    model: torch.nn.Module = maker(16, VISION, TEXT | changes)
    tower = getattr(model, "text", model)
    for name, parameter in tower.named_parameters():  # as if trained: fresh ones hardly tell two texts apart
        if "embedding" in name or name == "cls_emb":
            torch.nn.init.normal_(parameter, std=1.0)
    return model.eval()


def tokenizer() -> Any:
    """Return the tokenizer of these models."""
    return open_clip.SimpleTokenizer(context_length=LENGTH)


PREPROCESS = Preprocess((32, 32), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
"""That of these models."""


def export(model: torch.nn.Module, directory: Path, tokens: Any = None, *, weights: Path | None = None) -> ModelFacts:
    """Export the towers of `model`; return the facts that they are exported with.

    `weights` is a safetensors file to write and to point into; without it the towers have files of their own.
    """
    model_facts = replace(facts(16), preprocess=PREPROCESS)
    if weights:
        save_file(model.state_dict(), weights.resolve())
    file = weights or directory.with_name("pytorch_model.bin")
    export_towers(Original(model, tokens or tokenizer(), model_facts, file, self_test_pictures(32, 32)), directory)
    return model_facts


def is_settled(directory: Path, fingerprint: str) -> bool:
    """Tell whether a training run has nothing to export: the tower is there and whole, or was refused."""
    return state(directory, fingerprint)[0] in {DerivedState.CURRENT, DerivedState.REFUSED}
