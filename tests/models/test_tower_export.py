"""Exported towers of every kind, against the models that they come from."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch.nn import functional

from image_index.models.graph import Graph
from image_index.models.image_tower import ImageTower
from image_index.models.text_tower import open_text_tower, run_graph
from image_index.models.tower_export import Original, export_towers
from image_index.models.tower_files import (
    IMAGE_GRAPH,
    MANIFEST,
    MERGES,
    TEXT_GRAPH,
    own_weights,
    read_manifest,
    state,
)
from image_index.records import DerivedState, Pixels, Vectors
from image_index.workers.self_test import self_test_pictures
from tests.support.records import facts
from tests.support.text_models import OWN_LENGTH, PREPROCESS, TEXT, TOWERS, VISION, export, make_model, tokenizer

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
    model_facts = export(model, tmp_path / "text", weights=tmp_path / "model.safetensors")
    manifest, tower = read_manifest(tmp_path / "text"), open_text_tower(tmp_path / "text", model_facts.fingerprint)
    assert manifest is not None
    assert tower is not None
    assert tower.part.own_length == (kind in OWN_LENGTH)
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
    weights = Path("image_index/models/starter/open_clip_model.safetensors")
    original = Original(model, tokens, facts(512), weights, self_test_pictures(224, 224))
    export_towers(original, tmp_path / "text")
    tower = open_text_tower(tmp_path / "text", facts(512).fingerprint)
    assert tower is not None
    assert tower.part.own_length
    for text, expected in zip(TEXTS, torch_vectors(model, tokens, TEXTS), strict=True):
        vector = tower.encode(text)
        assert vector is not None
        assert vector @ expected >= 0.9999, text


def test_a_short_text_has_the_vector_that_it_has_when_padded(tmp_path: Path) -> None:
    """The same graph at the text's own length and at every longer one."""
    model_facts = export(make_model("CLIP"), tmp_path / "text")
    tower = open_text_tower(tmp_path / "text", model_facts.fingerprint)
    assert tower is not None
    ids = tower.tokenizer.encode("a dog")
    vectors = [run_graph(tower.graph, ids + [0] * more)[0] for more in range(24 - len(ids) + 1)]
    np.testing.assert_allclose(np.array(vectors) @ vectors[0], 1, atol=1e-5)


def test_the_files_are_private_and_whole(tmp_path: Path) -> None:
    """Nothing is left of the drafts."""
    model_facts = export(make_model("CLIP"), tmp_path / "text")
    paths = list((tmp_path / "text").iterdir())
    graphs = {TEXT_GRAPH, IMAGE_GRAPH}
    assert {path.name for path in paths} == {MANIFEST, MERGES, *graphs, *map(own_weights, graphs)}
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


def torch_picture_vectors(model: Any, pictures: Pixels) -> Vectors:
    """Return what open_clip itself makes of `pictures`."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PREPROCESS.mean, PREPROCESS.std))
    with torch.no_grad():
        vectors: Vectors = functional.normalize(model.encode_image((pixels - mean) / std)).numpy()
    return vectors


def picture_vectors(directory: Path, pictures: Pixels) -> Vectors:
    """Return what the exported image tower makes of `pictures`, loaded in both ways."""
    manifest = read_manifest(directory)
    assert manifest is not None
    graph = Graph.of(directory, manifest, IMAGE_GRAPH)
    vectors = ImageTower(graph.load()).encode(pictures)
    np.testing.assert_allclose(ImageTower(graph.load(2, optimised=True)).encode(pictures), vectors, atol=1e-5)
    return vectors


@pytest.mark.parametrize("shared", [True, False])
def test_an_exported_tower_gives_pictures_the_vectors_of_its_model(tmp_path: Path, shared: bool) -> None:
    """Preprocessing included, in batches of any size; the weights in the model's file or in one of their own."""
    model = make_model("CLIP")
    export(model, tmp_path / "towers", weights=tmp_path / "model.safetensors" if shared else None)
    pictures = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), np.uint8)
    expected = torch_picture_vectors(model, pictures)
    np.testing.assert_allclose(picture_vectors(tmp_path / "towers", pictures), expected, atol=1e-5)
    np.testing.assert_allclose(picture_vectors(tmp_path / "towers", pictures[:1]), expected[:1], atol=1e-5)
    assert (expected @ expected.T).min() < 0.99  # else any vector would do


@pytest.mark.parametrize(
    ("changes", "quick_gelu"),
    [
        ({}, True),
        ({"ls_init_value": 0.5, "layers": 3}, False),
        ({"no_ln_pre": True}, False),
        ({"pool_type": "avg"}, True),
    ],
    ids=["quick activation", "layer scale", "no norm before", "average of all tokens"],
)
def test_image_towers_of_other_kinds_are_exported_as_well(
    tmp_path: Path, changes: dict[str, object], quick_gelu: bool
) -> None:
    """Written or traced, the vectors are the model's own, of pictures that the export has not seen."""
    torch.manual_seed(1)
    model = CLIP(16, VISION | changes, TEXT, quick_gelu=quick_gelu).eval()
    for parameter in model.visual.parameters():  # as if trained: all norms are 1 at first, and all biases 0
        torch.nn.init.normal_(parameter, std=0.2)
    export(model, tmp_path / "towers", weights=tmp_path / "model.safetensors")
    pictures = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    expected = torch_picture_vectors(model, pictures)
    np.testing.assert_allclose(picture_vectors(tmp_path / "towers", pictures), expected, atol=1e-4)


def test_a_plain_clip_is_written_without_torchs_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take twenty times as long."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(torch.onnx, "export", fail)
    model_facts = export(make_model("CLIP"), tmp_path / "towers")
    assert state(tmp_path / "towers", model_facts.fingerprint)[0] is DerivedState.CURRENT


def test_weights_that_stand_in_the_models_own_file_are_not_copied(tmp_path: Path) -> None:
    """Through a link, as in the hub's cache: ONNX Runtime would refuse it."""
    (tmp_path / "blobs").mkdir()
    link = tmp_path / "model.safetensors"
    link.symlink_to("blobs/0123")
    export(make_model("CLIP"), tmp_path / "towers", weights=link)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "towers").iterdir()}
    assert sizes.keys() == {MANIFEST, MERGES, TEXT_GRAPH, IMAGE_GRAPH}
    assert sum(sizes.values()) - sizes[MERGES] < link.stat().st_size / 10
    manifest = read_manifest(tmp_path / "towers")
    assert manifest is not None
    assert manifest.weights is not None
    assert manifest.weights.path == str(tmp_path / "blobs/0123")


def test_what_the_models_file_holds_otherwise_is_not_taken_from_there(tmp_path: Path) -> None:
    """A tensor of the right name and shape with other values, and one in another number format."""
    model, weights = make_model("CLIP"), tmp_path / "model.safetensors"
    tensors = model.state_dict()
    tensors["visual.proj"] = tensors["visual.proj"] + 1
    tensors["visual.conv1.weight"] = tensors["visual.conv1.weight"].half()
    save_file(tensors, weights)
    original = Original(model, tokenizer(), facts(16), weights, self_test_pictures(32, 32))
    export_towers(original, tmp_path / "towers")
    manifest = read_manifest(tmp_path / "towers")
    assert manifest is not None
    assert manifest.is_complete
    assert manifest.weights is not None


class Fickle(CLIP):  # type: ignore[misc]
    """A model that no graph follows: what it does depends on the values of the tokens."""

    def encode_text(self, text: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Turn the vector of every text but the first probe around."""
        features: torch.Tensor = super().encode_text(text, normalize)
        return features if int((text > 0).sum()) == 4 else features.flip(-1)


def test_a_tower_that_disagrees_with_its_model_is_refused(tmp_path: Path) -> None:
    """It is the model's own answers that decide, not that an export went through."""
    torch.manual_seed(1)
    export(Fickle(16, VISION, TEXT).eval(), tmp_path / "text")
    manifest = read_manifest(tmp_path / "text")
    assert manifest is not None
    assert "cosine" in manifest.text_refusal
    assert manifest.text is None
    assert manifest.image is not None
    assert {path.name for path in (tmp_path / "text").iterdir()} == {MANIFEST, IMAGE_GRAPH, own_weights(IMAGE_GRAPH)}


def test_an_image_tower_that_disagrees_with_its_model_is_refused_alone(tmp_path: Path) -> None:
    """Texts are encoded without torch all the same."""
    torch.manual_seed(1)

    class Turning(CLIP):  # type: ignore[misc]
        calls = 0

        def encode_image(self, image: torch.Tensor, normalize: bool = False) -> torch.Tensor:
            type(self).calls += 1
            features: torch.Tensor = super().encode_image(image, normalize)
            return features.flip(-1) if self.calls == 1 else features

    model_facts = export(Turning(16, VISION, TEXT).eval(), tmp_path / "towers")
    found, manifest = state(tmp_path / "towers", model_facts.fingerprint)
    assert found is DerivedState.REFUSED
    assert manifest is not None
    assert "cosine" in manifest.image_refusal
    assert open_text_tower(tmp_path / "towers", model_facts.fingerprint) is not None


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
    """Such a model's texts are encoded by a child; its pictures need no torch."""
    export(make_model("CLIP"), tmp_path / "text", tokens)
    manifest = read_manifest(tmp_path / "text")
    assert manifest is not None
    assert reason in manifest.text_refusal
    assert manifest.image is not None


def test_a_full_disk_is_no_reason_to_refuse_a_tower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a model would be without its towers for good."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("image_index.models.tower_export.place_weights", fail)
    with pytest.raises(OSError, match="No space"):
        export(make_model("CLIP"), tmp_path / "towers")
    assert read_manifest(tmp_path / "towers") is None
