"""Exported text towers of every kind, against the models that they come from."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP

from image_index.models.tower import open_tower, run_graph
from image_index.models.tower_export import ExportRefused, export_text_tower
from image_index.models.tower_files import GRAPH, MANIFEST, MERGES, WEIGHTS, read_manifest, state
from image_index.records import DerivedState, Vectors
from tests.support.records import facts
from tests.support.text_models import OWN_LENGTH, TEXT, TOWERS, VISION, export, make_model, tokenizer

pytestmark = pytest.mark.slow

TEXTS = (
    "dog",
    "a dog",
    "a dog on the beach",
    "Caf\u00e9 &amp; cr\u00eape \U0001f95e",
    "word " * 60,
    "the <end_of_text> of it",
)


def torch_vectors(model: Any, tokens: Any, texts: tuple[str, ...]) -> Vectors:
    """Return what open_clip itself makes of `texts`."""
    with torch.no_grad():
        vectors: Vectors = model.encode_text(tokens(list(texts)), normalize=True).numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@pytest.mark.parametrize("kind", TOWERS)
def test_an_exported_tower_gives_the_vectors_of_its_model(tmp_path: Path, kind: str) -> None:
    """Each text by itself, at its own length where the tower is of a kind that allows it."""
    model = make_model(kind)
    model_facts = export(model, tmp_path / "text")
    manifest, tower = read_manifest(tmp_path / "text"), open_tower(tmp_path / "text", model_facts.fingerprint)
    assert manifest is not None
    assert tower is not None
    assert manifest.own_length == (kind in OWN_LENGTH)
    for text, expected in zip(TEXTS, torch_vectors(model, tokenizer(), TEXTS), strict=True):
        vector = tower.encode(text)
        assert vector is not None
        assert vector @ expected >= 0.9999, text
    vectors = torch_vectors(model, tokenizer(), TEXTS)
    assert (vectors @ vectors.T)[np.triu_indices(len(TEXTS), 1)].min() < 0.99  # else any vector would do


def test_the_bundled_model_is_exported_truly(tmp_path: Path) -> None:
    """The real starter, its own tokenizer, real queries."""
    name = "local-dir:image_index/models/starter"
    model, tokens = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
    export_text_tower(model, tokens, facts(512), tmp_path / "text")
    tower = open_tower(tmp_path / "text", facts(512).fingerprint)
    assert tower is not None
    assert tower.manifest.own_length
    for text, expected in zip(TEXTS, torch_vectors(model, tokens, TEXTS), strict=True):
        vector = tower.encode(text)
        assert vector is not None
        assert vector @ expected >= 0.9999, text


def test_a_short_text_has_the_vector_that_it_has_when_padded(tmp_path: Path) -> None:
    """The same graph at the text's own length and at every longer one."""
    model_facts = export(make_model("CLIP"), tmp_path / "text")
    tower = open_tower(tmp_path / "text", model_facts.fingerprint)
    assert tower is not None
    ids = tower.tokenizer.encode("a dog")
    vectors = [run_graph(tmp_path / "text" / GRAPH, ids + [0] * more)[0] for more in range(24 - len(ids) + 1)]
    np.testing.assert_allclose(np.array(vectors) @ vectors[0], 1, atol=1e-5)


def test_the_files_are_private_and_whole(tmp_path: Path) -> None:
    """Nothing is left of the drafts."""
    model_facts = export(make_model("CLIP"), tmp_path / "text")
    paths = list((tmp_path / "text").iterdir())
    assert {path.name for path in paths} == {MANIFEST, GRAPH, WEIGHTS, MERGES}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE((tmp_path / "text").stat().st_mode) == 0o700
    assert state(tmp_path / "text", model_facts.fingerprint)[0] is DerivedState.CURRENT


def test_the_model_goes_on_as_before(tmp_path: Path) -> None:
    """The child that has exported it embeds with it next."""
    model = make_model("CLIP")
    before = torch_vectors(model, tokenizer(), TEXTS)
    with torch.inference_mode():  # as a child may be in
        export(model, tmp_path / "text")
    np.testing.assert_array_equal(torch_vectors(model, tokenizer(), TEXTS), before)
    with torch.no_grad():
        assert model.encode_image(torch.zeros(1, 3, 32, 32)).shape == (1, 16)  # type: ignore[operator]


def test_a_tower_in_another_number_format_is_exported_as_a_copy(tmp_path: Path) -> None:
    """As on a GPU, where the weights are not at hand in float32 on the CPU."""
    model = make_model("CLIP").half()
    export(model, tmp_path / "text")
    assert next(model.parameters()).dtype == torch.float16
    assert hasattr(model, "visual")


class Fickle(CLIP):  # type: ignore[misc]
    """A model that no graph follows: what it does depends on the values of the tokens."""

    def encode_text(self, text: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Turn the vector of every text but the first probe around."""
        features: torch.Tensor = super().encode_text(text, normalize)
        return features if int((text > 0).sum()) == 4 else features.flip(-1)


def test_a_tower_that_disagrees_with_its_model_is_refused(tmp_path: Path) -> None:
    """It is the model's own answers that decide, not that an export went through."""
    torch.manual_seed(1)
    with pytest.raises(ExportRefused, match="cosine"):
        export(Fickle(16, VISION, TEXT).eval(), tmp_path / "text")
    assert read_manifest(tmp_path / "text") is None


class OtherTokenizer:
    """What a model of the hub brings."""


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (OtherTokenizer(), "OtherTokenizer"),
        (open_clip.SimpleTokenizer(context_length=24, clean="whitespace"), "settings"),
        (open_clip.SimpleTokenizer(context_length=24, reduction_mask="simple"), "settings"),
        (open_clip.SimpleTokenizer(context_length=24, additional_special_tokens=["<more>"]), "settings"),
    ],
    ids=["another kind", "case matters", "random cuts", "more special tokens"],
)
def test_a_tokenizer_that_is_not_known_is_refused(tmp_path: Path, tokens: Any, reason: str) -> None:
    """Such a model's texts are encoded by a child."""
    with pytest.raises(ExportRefused, match=reason):
        export(make_model("CLIP"), tmp_path / "text", tokens)
    assert not (tmp_path / "text").exists()
