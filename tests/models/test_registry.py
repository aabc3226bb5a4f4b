"""The registry is what open_clip says it is, and finds what a user means."""

from __future__ import annotations

import open_clip
import pytest
import torch

from image_index.errors import UsageError
from image_index.models.names import DEFAULT_MODEL
from image_index.models.registry import (
    BEST_KNOWN_TAGS,
    CHOICES,
    RECOMMENDED,
    KnownModel,
    find_model,
    licence_of,
    load_registry,
)

REGISTRY = load_registry()


def test_registry_does_not_contradict_open_clip() -> None:
    """Every row says of its model what the installed open_clip says; pairs that only open_clip knows are no matter."""
    for known in REGISTRY.values():
        weights = open_clip.get_pretrained_cfg(known.architecture, known.tag)
        config = open_clip.get_model_config(known.architecture)
        text = config["text_cfg"]
        assert weights.get("hf_hub") == f"{known.repo}/{known.file or ''}", known.name
        assert config["embed_dim"] == known.dim, known.name
        assert text.get("hf_tokenizer_name") == known.tokenizer, known.name
        assert text.get("hf_model_name") == known.text_model, known.name


def test_weights_get_the_activation_they_were_trained_with() -> None:
    """A model whose weights want QuickGELU is created with it, and is otherwise the same architecture."""
    for known in REGISTRY.values():
        weights = open_clip.get_pretrained_cfg(known.loads_as, known.tag)
        plain, loaded = map(open_clip.get_model_config, (known.architecture, known.loads_as))
        assert weights["hf_hub"] == f"{known.repo}/{known.file or ''}", known.name
        assert {**plain, "quick_gelu": None} == {**loaded, "quick_gelu": None}, known.name
        assert loaded.get("quick_gelu", False) >= weights.get("quick_gelu", False), known.name


def test_parameters_are_those_of_the_model() -> None:
    """The count behind the download size is open_clip's own."""
    with torch.device("meta"):
        model = open_clip.create_model("ViT-B-32", load_weights=False, device="meta")
    assert REGISTRY[DEFAULT_MODEL].parameters == sum(parameter.numel() for parameter in model.parameters())


def test_only_models_built_from_hub_files_lack_a_size() -> None:
    """A model says how large it is, unless open_clip needs the hub to build it."""
    for known in REGISTRY.values():
        assert (known.parameters is None) == (known.text_model is not None), known.name


def test_name_finds_its_model() -> None:
    """A canonical name, as an index stores it, means the model it came from."""
    assert [find_model(name) for name in REGISTRY] == list(REGISTRY.values())


def test_architecture_alone_finds_a_model() -> None:
    """NAME without a tag means one of its own pairs, for every NAME but one."""
    names = {known.architecture for known in REGISTRY.values()} - {"ViT-H-14-quickgelu"}
    assert {find_model(name).architecture for name in names} == names


def test_architecture_alone_does_not_choose_between_licences_for_research() -> None:
    """Both models of this one have limits, each its own: neither is what a name silently means."""
    with pytest.raises(UsageError, match="write ViT-H-14-quickgelu/metaclip_fullcc or ViT-H-14-quickgelu/dfn5b"):
        find_model("ViT-H-14-quickgelu")


def test_recommended_models_may_be_used_for_anything() -> None:
    """The licence of each is known, and sets no limit."""
    for recommended in RECOMMENDED:
        licence = licence_of(REGISTRY[recommended.name].repo)
        assert licence is not None, recommended.name
        assert not licence.limit, recommended.name


@pytest.mark.parametrize("known", REGISTRY.values(), ids=lambda known: known.name)
def test_a_licence_with_a_limit_is_known(known: KnownModel) -> None:
    """Apple's models are for research, Meta's MetaCLIP and what is made of its NLLB is not for commerce."""
    licence = licence_of(known.repo)
    limit = licence.limit if licence else ""
    if known.architecture.startswith("MobileCLIP") or known.tag.startswith("dfn"):
        assert limit == "research only"
    elif known.tag.startswith("metaclip") or known.architecture.startswith("nllb"):
        assert limit == "non-commercial use only"
    else:
        assert not limit


def test_every_choice_is_recommended() -> None:
    """So its licence allows any use, and `imgidx models` says what it costs."""
    recommended = {model.name for model in RECOMMENDED}
    assert {meanings[0] for meanings in CHOICES.values()} <= recommended


def test_best_known_tag_of_the_default_architecture_is_the_default_model() -> None:
    """`--model ViT-B-32` is what no `--model` is."""
    assert find_model("ViT-B-32").name == DEFAULT_MODEL


def test_best_known_tags_exist() -> None:
    """The curated table names only pairs of the registry."""
    assert {f"{architecture}/{tag}" for architecture, tag in BEST_KNOWN_TAGS.items()} <= REGISTRY.keys()


def test_tag_may_be_spelt_as_on_the_hub() -> None:
    """Capitals and dashes in a tag do not matter, as in open_clip."""
    assert find_model("ViT-B-32/laion2B-s34B-b79K").name == "ViT-B-32/laion2b_s34b_b79k"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("ViT-B-32:openai", "ViT-B-32/openai"),
        ("ViT-B/32", "ViT-B-32"),
        ("vit-b-32", "ViT-B-32"),
        ("ViT-B-32/opnai", "ViT-B-32/openai"),
        ("ViT-B-33", "ViT-B-32"),
        ("MobileCLIP2-S9", "MobileCLIP2-S2"),
        ("Best", "best"),
        ("multi-lingual", "multilingual"),
    ],
)
def test_unknown_model_is_refused_with_what_comes_close(asked: str, meant: str) -> None:
    """A slip of the pen gets its correction, in one line that also says where to look."""
    with pytest.raises(UsageError) as refused:
        find_model(asked)
    assert meant in str(refused.value)
    assert "imgidx models" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("asked", ["", "/", "nonsense", "a/b/c", "ViT-B-32/\n"])
def test_model_that_resembles_nothing_is_refused(asked: str) -> None:
    """What is like no model gets no suggestion that makes no sense, and still one line."""
    with pytest.raises(UsageError, match="imgidx models") as refused:
        find_model(asked)
    assert "\n" not in str(refused.value)
