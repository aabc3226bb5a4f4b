"""Write `image_index/models/registry.json` from the installed open_clip: `python tools/build_registry.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path

import open_clip
import torch

import image_index.models.registry
from image_index.models.registry import KnownModel

REGISTRY = Path(image_index.models.registry.__file__).with_name("registry.json")


def known_models() -> Iterator[KnownModel]:
    """Yield every pair of open_clip that has its weights on the hub."""
    for architecture, tag in open_clip.list_pretrained():
        weights = open_clip.get_pretrained_cfg(architecture, tag)
        if not weights.get("hf_hub"):
            continue
        config = open_clip.get_model_config(architecture)
        repo, _, file = weights["hf_hub"].rpartition("/")
        yield KnownModel(
            architecture=architecture,
            tag=tag,
            loads_as=with_right_activation(architecture, tag),
            repo=repo,
            file=file or None,
            dim=config["embed_dim"],
            tokenizer=config["text_cfg"].get("hf_tokenizer_name"),
            text_model=config["text_cfg"].get("hf_model_name"),
            parameters=count_parameters(architecture),
        )


def with_right_activation(architecture: str, tag: str) -> str:
    """Return the architecture whose activation is the one the weights were trained with, where open_clip has it."""
    wanted = open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False)
    has = open_clip.get_model_config(architecture).get("quick_gelu", False)
    variant = f"{architecture}-quickgelu"
    return variant if wanted and not has and tag in open_clip.list_pretrained_tags_by_model(variant) else architecture


@cache
def count_parameters(architecture: str) -> int | None:
    """Return how many parameters a model has, or None where building it takes a file from the hub."""
    if "hf_model_name" in open_clip.get_model_config(architecture)["text_cfg"]:
        return None
    with torch.device("meta"):
        model = open_clip.create_model(architecture, load_weights=False, device="meta")
    return sum(int(parameter.numel()) for parameter in model.parameters())


def main() -> None:
    """Write the registry, one model a line."""
    rows = ",\n".join("  " + json.dumps(asdict(model)) for model in known_models())
    REGISTRY.write_text(f'{{\n "open_clip": "{version("open-clip-torch")}",\n "models": [\n{rows}\n ]\n}}\n')


if __name__ == "__main__":
    main()
