"""EfficientNet-Lite0 as a timm model: the published weights under timm's names."""

from __future__ import annotations

import io
from typing import cast

import timm
import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor

OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
"""Names outside the blocks: of efficientnet_lite_pytorch, then of timm; so below."""

SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def load_classifier(weights: bytes) -> EfficientNet:
    """Return the ImageNet classifier (B, 3, 224, 224) to (B, 1000) with the published weights, in eval mode.

    The `tf_` model carries the batch-norm epsilon of 1e-3 these weights were trained with.
    """
    model = cast("EfficientNet", timm.create_model("tf_efficientnet_lite0", num_classes=1000))
    published: dict[str, Tensor] = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    blocks = _block_names(model)
    model.load_state_dict({_timm_name(name, blocks): tensor for name, tensor in published.items()})
    return model.eval()


def _block_names(model: EfficientNet) -> list[tuple[str, dict[str, str]]]:
    """Return, for each block in order, timm's prefix and the table of names that fits its kind."""
    return [
        (f"blocks.{stage}.{index}", SEPARABLE if type(block).__name__ == "DepthwiseSeparableConv" else INVERTED)
        for stage, members in enumerate(model.blocks)
        for index, block in enumerate(members.children())
    ]


def _timm_name(name: str, blocks: list[tuple[str, dict[str, str]]]) -> str:
    """Translate one name, such as `_blocks.1._bn0.weight` to `blocks.1.0.bn1.weight`."""
    outer, rest = name.split(".", 1)
    if outer != "_blocks":
        return f"{OUTER[outer]}.{rest}"
    number, part, rest = rest.split(".", 2)
    prefix, inner = blocks[int(number)]
    return f"{prefix}.{inner[part]}.{rest}"
