"""The image head: a classifier turned into a sentence-like encoder, without one photo or training step.

A picture's vector is the sum of the text vectors of the classes that the classifier sees in it, each weighted by
how sure it is (ConSE: Norouzi et al., Zero-Shot Learning by Convex Combination of Semantic Embeddings, 2013,
https://arxiv.org/abs/1312.5650). Open_clip's "mlp" head, linear, GELU, linear, is wide enough to hold it as weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional

from build_starter.teacher import MiniLM
from build_starter.texts import CLASS_NAMES, WordNet, photo_of

SHARPNESS = 4.0
"""Factor on the logits, which makes GELU nearly a hinge."""

THRESHOLD = 3.0
"""A class whose logit is below this counts as not seen."""

DEFINITION_WEIGHT = 0.3
SILENT_BIAS = -10.0
"""GELU maps it to 0: hidden units beyond the classes stay out."""


@dataclass(frozen=True, slots=True)
class ClassVectors:
    """Teacher vectors of ImageNet's classes, (1000, 384) float32 unit rows: by name, and by name and definition."""

    names: Tensor
    meanings: Tensor


def embed_classes(teacher: MiniLM, wordnet: WordNet) -> ClassVectors:
    """Embed the classes as "a photo of a NAME", and once more with their WordNet definitions mixed in."""
    names = teacher.embed([photo_of(name) for name in CLASS_NAMES])
    definitions = teacher.embed(wordnet.class_definitions())
    return ClassVectors(names, functional.normalize(names + DEFINITION_WEIGHT * definitions, dim=-1))


def write_head(head: Mlp, classifier: nn.Linear, meanings: Tensor) -> None:
    """Set the head's weights: its hidden units are the classes (C), its output their centred vectors (C, D).

    Units and outputs beyond C and D are left without effect.
    """
    outputs, hidden = head.fc2.weight.shape
    classes, width = meanings.shape
    idle = hidden - classes
    centred = (meanings - meanings.mean(0)).T
    weights = {
        "fc1.weight": functional.pad(SHARPNESS * classifier.weight, (0, 0, 0, idle)),
        "fc1.bias": functional.pad(SHARPNESS * (classifier.bias - THRESHOLD), (0, idle), value=SILENT_BIAS),
        "fc2.weight": functional.pad(centred, (0, idle, 0, outputs - width)),
    }
    head.load_state_dict(weights)
