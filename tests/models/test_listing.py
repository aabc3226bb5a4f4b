"""The list of models: what is recommended first, then what is at hand, and everything where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_index.models.listing import list_models
from image_index.models.registry import CHOICES, RECOMMENDED, load_registry
from tests.support.fake_hub import put

NAMES = [model.name for model in RECOMMENDED]


@pytest.mark.usefixtures("no_network")
def test_list_names_recommended_bundled_and_cached_models(hf_home: Path) -> None:
    """Local ones have the size of their file; the others what they would cost."""
    put(hf_home, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors", bytes(3_000_000))
    put(hf_home, "timm/vit_base_patch16_clip_224.metaclip_400m", "open_clip_model.safetensors", bytes(2_000_000))
    put(hf_home, "timm/vit_base_patch32_clip_224.openai", "README.md")
    listed = {one.name: (one.kind, one.size_mb) for one in list_models()}
    assert list(listed) == [*NAMES, "starter", "ViT-B-16/metaclip_400m"]
    assert listed["ViT-B-32/laion2b_s34b_b79k"] == ("cached", 3)
    assert listed["ViT-B-32-SigLIP2-256/webli"] == ("known", 1507)
    assert listed["starter"] == ("bundled", 33)
    assert listed["ViT-B-16/metaclip_400m"] == ("cached", 2)


@pytest.mark.usefixtures("hf_home")
def test_everything_is_every_known_model_once() -> None:
    """The shorter list comes first; a limit of the licence is said with each that has one."""
    listed = list_models(everything=True)
    assert listed[: len(list_models())] == list_models()
    registry = load_registry()
    limits = {one.name: one.licence for one in listed}
    assert len(limits) == len(listed)
    assert {registry[name].repo for name in limits if name != "starter"} == {known.repo for known in registry.values()}
    assert limits["MobileCLIP-S1/datacompdr"] == "AMLR: research only"


@pytest.mark.usefixtures("hf_home")
def test_each_word_for_a_choice_stands_beside_one_model() -> None:
    """Whoever reads the list knows what to write."""
    listed = {choice: one.name for one in list_models() for choice in one.choices}
    assert listed == {choice: meanings[0] for choice, meanings in CHOICES.items()}


@pytest.mark.usefixtures("hf_home")
def test_list_says_which_models_need_an_extra() -> None:
    """A model whose text tower is transformers' is marked, and no other."""
    listed, registry = list_models(everything=True), load_registry()
    marked = {one.name for one in listed if "transformers" in one.note}
    assert marked == {one.name for one in listed if one.name != "starter" and registry[one.name].text_model}
    assert "xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k" in marked
