"""What a child imports for its model, and that it gives the same vectors as with everything imported."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from image_index.models.names import ModelSpec, parse_model
from image_index.workers.devices import Precision
from image_index.workers.light_import import StandInCalled, stand_ins, unused_libraries
from tests.support.hub_tokenizers import make_siglip

BANNED = ("torchvision", "torch._dynamo", "torch._inductor", "sympy", "transformers")
"""What no model needs whose text tower is not of `transformers`."""

USER = """
from bulky.transforms import Blur, Mode
import bulky.kernels.fast as fast

try:
    import optional
except ImportError:
    optional = None

class MyBlur(Blur):
    pass

def blur(picture, mode=Mode.SOFT):
    return fast.blur(picture) if mode is Mode.HARD else picture

def is_blur(thing):
    return isinstance(thing, Blur)
"""
"""A library that mentions another one all over, and calls it in one place."""

CHILD = """
import json, sys
from image_index.models.names import parse_model
from image_index.workers import light_import
from image_index.workers.devices import Precision
import numpy as np

light_import.PLAYED |= set(sys.argv[2:])
encoder = light_import.load_lightly(parse_model(sys.argv[1]), "0" * 64, "cpu", Precision.FP32)
height, width = encoder.facts.preprocess.size
pictures = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
vectors = np.concatenate([encoder.encode_images(pictures), encoder.encode_texts(["a dog"])])
json.dump({"loaded": list(sys.modules), "vectors": vectors.tolist()}, sys.stdout)
"""


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a library with all that it mentions."""
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "optional.py").write_text("")
    for name in ("bulky", "bulky/transforms", "bulky/kernels"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("class Blur: ...\nclass Mode: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in {"user", "optional", "bulky"}]:
        del sys.modules[name]


@pytest.mark.usefixtures("libraries")
def test_what_is_only_mentioned_is_not_imported() -> None:
    """Base classes, default arguments and checks of a type need no library; what is optional is not there."""
    with stand_ins({"bulky"}, {"optional"}):
        user = importlib.import_module("user")
    assert user.optional is None
    assert user.blur("a picture") == "a picture"
    assert not user.is_blur("a picture")


@pytest.mark.usefixtures("libraries")
def test_what_is_called_is_an_error_and_never_a_wrong_answer() -> None:
    """A stand-in that is called says so, whatever it is called with."""
    with stand_ins({"bulky"}, ()):
        user = importlib.import_module("user")
    with pytest.raises(StandInCalled, match="blur"):
        user.fast.blur("a picture", radius=2)
    with pytest.raises(StandInCalled, match="MyBlur"):
        user.MyBlur()


@pytest.mark.usefixtures("libraries")
def test_after_the_block_the_libraries_themselves_are_imported() -> None:
    """No other code ever sees a stand-in."""
    with stand_ins({"bulky"}, {"optional"}):
        importlib.import_module("bulky.transforms")
    assert importlib.import_module("bulky.transforms").Blur()
    assert importlib.import_module("optional")


@pytest.mark.parametrize(
    ("name", "unused"),
    [
        ("starter", {"transformers"}),
        ("ViT-B-32/laion2b_s34b_b79k", {"timm", "transformers"}),
        ("MobileCLIP2-S0/dfndr2b", {"transformers"}),
        ("ViT-B-16-SigLIP2/webli", {"transformers"}),
        ("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", {"timm"}),
        ("local-dir:/nowhere", set()),
    ],
)
def test_a_model_needs_the_libraries_that_its_configuration_names(name: str, unused: frozenset[str]) -> None:
    """One whose configuration is not found may need any of them."""
    assert unused_libraries(parse_model(name)) == unused


def test_a_damaged_configuration_leaves_nothing_out(tmp_path: Path) -> None:
    """What is wrong with it, open_clip says better."""
    (tmp_path / "open_clip_config.json").write_text("{")
    assert not unused_libraries(ModelSpec("broken", f"local-dir:{tmp_path}", None))


def child(name: str, *played: str) -> tuple[set[str], np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Return what a fresh process has imported for a model, and the vectors that it gives."""
    script = [sys.executable, "-c", CHILD, name, *played]
    done = subprocess.run(script, env=dict(os.environ), stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    record = json.loads(done.stdout)
    return set(record["loaded"]), np.array(record["vectors"], np.float32)


@pytest.mark.slow
def test_a_tokenizer_of_the_hub_is_read_without_transformers(tmp_path: Path) -> None:
    """A model of SigLIP's kind needs only its tokenizer.json; the vectors are those of open_clip's own tokenizer."""
    name = f"local-dir:{make_siglip(tmp_path / 'model')}"
    loaded, vectors = child(name)
    assert not loaded & {*BANNED}
    model, tokenizer = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
    with torch.no_grad():
        expected = model.encode_text(tokenizer(["a dog"]), normalize=True).numpy()
    np.testing.assert_allclose(vectors[2:], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("played", "light"), [((), True), (("timm",), False)], ids=["light", "as usual"])
def test_a_child_imports_little_and_gives_the_same_vectors(played: tuple[str, ...], light: bool) -> None:
    """Where a new version of a library uses what it did not use before, all is imported and the vectors are right."""
    from image_index.workers.encoder import load_encoder

    loaded, vectors = child("starter", *played)
    assert bool(loaded & {*BANNED}) is not light
    plain = load_encoder(parse_model("starter"), "0" * 64, "cpu", Precision.FP32)
    height, width = plain.facts.preprocess.size
    pictures = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    expected = np.concatenate([plain.encode_images(pictures), plain.encode_texts(["a dog"])])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
