"""Small CLIP models with random weights, whose text towers are of every kind that open_clip has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, CustomTextCLIP

from image_index.models.tower_export import export_text_tower
from image_index.models.tower_files import state
from image_index.records import DerivedState, ModelFacts
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


def export(model: torch.nn.Module, directory: Path, tokens: Any = None) -> ModelFacts:
    """Export the text tower of `model`; return the facts that it is exported with."""
    model_facts = facts(16)
    export_text_tower(model, tokens or tokenizer(), model_facts, directory)
    return model_facts


def is_settled(directory: Path, fingerprint: str) -> bool:
    """Tell whether a training run has nothing to export: the tower is there and whole, or was refused."""
    return state(directory, fingerprint)[0] in {DerivedState.CURRENT, DerivedState.REFUSED}
