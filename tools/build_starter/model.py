"""The starter model as open_clip knows it: its configuration, its construction, its two files."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
from open_clip import CLIP
from timm.models.efficientnet import EfficientNet
from torch import Tensor

CONTEXT_LENGTH = 32

LOGIT_SCALE = 3.0
"""Natural logarithm of the factor on similarities, which no ranking depends on."""

MODEL_CONFIG: dict[str, object] = {
    "embed_dim": 512,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "mlp",
        "timm_proj_bias": False,
        "image_size": 224,
    },
    "text_cfg": {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": 49408,
        "width": 192,
        "heads": 3,
        "layers": 4,
    },
}

# The weights want 0.5, not ImageNet's mean and deviation, which cost 10 points of recall.
PREPROCESS_CONFIG: dict[str, object] = {
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def new_model(classifier: EfficientNet) -> CLIP:
    """Return an open_clip model around the classifier's trunk; head and text tower start at random."""
    model = CLIP(**MODEL_CONFIG)
    trunk = {name: tensor for name, tensor in classifier.state_dict().items() if not name.startswith("classifier")}
    model.visual.trunk.load_state_dict(trunk)
    model.logit_scale.data.fill_(LOGIT_SCALE)
    return model


def save(model: CLIP, directory: Path) -> None:
    """Write `open_clip_config.json` and, in float16, `open_clip_model.safetensors`."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL_CONFIG, "preprocess_cfg": PREPROCESS_CONFIG}
    (directory / "open_clip_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    tensors = {name: _to_float16(tensor) for name, tensor in model.state_dict().items() if _is_weight(name)}
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    # Not save_file, which makes a file that only its owner can read.
    (directory / "open_clip_model.safetensors").write_bytes(content)


def _is_weight(name: str) -> bool:
    """Whether inference needs the entry; batch norm's step counters it does not."""
    return "num_batches_tracked" not in name


def _to_float16(tensor: Tensor) -> Tensor:
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
