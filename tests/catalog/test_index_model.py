"""An index and its one model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.index_model import check_model, choose_model
from image_index.errors import IndexMismatch, ModelUnavailable
from image_index.models.names import DEFAULT_MODEL, ModelSpec, digest_weights, parse_model
from image_index.models.registry import CHOICES
from image_index.records import ModelFacts
from image_index.settings import IndexHome
from tests.support.fake_hub import hub_settings, put
from tests.support.fake_models import FACTS

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path) -> Iterator[None]:
    """Let the hub's cache be empty, and the hub itself out of reach."""
    with hub_settings(tmp_path / "hf", offline=True):
        yield


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a model's directory and returns its name."""

    def make(name: str, weights: bytes = b"weights") -> str:
        directory = tmp_path / name
        directory.mkdir()
        config = {"model_cfg": {}, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
        (directory / "open_clip_config.json").write_text(json.dumps(config))
        (directory / WEIGHTS).write_bytes(weights)
        return f"local-dir:{directory}"

    return make


def facts_of(name: str) -> ModelFacts:
    """Return the facts of a model in a directory, as its encoder would."""
    return replace(FACTS, name=name, weights_sha256=digest_weights(Path(name.removeprefix("local-dir:")) / WEIGHTS))


def chosen(home: IndexHome, asked: str | None) -> ModelSpec:
    """Return the model that a training run would use."""
    with Catalog(home.catalog) if home.catalog.exists() else nullcontext() as catalog:
        return choose_model(catalog, asked)


def begin(home: IndexHome, facts: ModelFacts) -> None:
    """Make an index of a model."""
    home.create()
    with Catalog(home.catalog, write=True) as catalog:
        check_model(catalog, facts)


def stored(home: IndexHome) -> ModelFacts | None:
    """Return the model that the catalog knows."""
    with Catalog(home.catalog) as catalog:
        return catalog.read_model()


def test_new_index_takes_the_model_asked_for(home: IndexHome, model: Callable[..., str]) -> None:
    """The first training chooses."""
    name = model("mine")
    assert chosen(home, name) == parse_model(name)


def test_a_new_index_takes_the_default_model_where_none_is_asked_for(home: IndexHome) -> None:
    """Where the default model is not to be had, the error is about that model, and the index is not begun."""
    with pytest.raises(ModelUnavailable, match=DEFAULT_MODEL):
        chosen(home, None)
    assert not home.path.exists()


def test_an_index_that_holds_no_model_yet_can_still_choose(home: IndexHome, model: Callable[..., str]) -> None:
    """A run that ended before its first batch has chosen nothing."""
    home.create()
    with Catalog(home.catalog, write=True):
        pass
    assert chosen(home, model("mine")).name.endswith("mine")


def test_a_new_index_warns_of_a_licence_for_research(
    home: IndexHome, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever makes it may have taken the name from a table of benchmarks; later runs say nothing."""
    put(tmp_path, "apple/MobileCLIP-S1-OpenCLIP", WEIGHTS)
    name = "MobileCLIP-S1/datacompdr"
    with hub_settings(tmp_path / "hub", offline=True):
        chosen(home, name)  # no index yet: it is about to be asked again
        home.create()
        with Catalog(home.catalog, write=True):
            pass
        chosen(home, name)
        begin(home, replace(FACTS, name=name))
        chosen(home, None)
    assert [record.getMessage() for record in caplog.records] == [
        f"The licence of {name}, AMLR, allows research only: see https://huggingface.co/apple/MobileCLIP-S1-OpenCLIP"
    ]


def test_a_model_for_any_use_is_taken_without_a_word(
    home: IndexHome, model: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A directory says nothing of its licence, and the bundled model may be used for anything."""
    home.create()
    with Catalog(home.catalog, write=True):
        pass
    chosen(home, model("mine"))
    chosen(home, "starter")
    assert not caplog.records


def test_index_remembers_its_model(home: IndexHome, model: Callable[..., str]) -> None:
    """No model asked for, or the same one again, is the index's own model."""
    name = model("mine")
    begin(home, facts_of(name))
    assert chosen(home, None) == chosen(home, name) == parse_model(name)


def test_an_index_keeps_what_a_word_meant_when_it_was_made(home: IndexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--model best` in a crontab goes on working after a version in which "best" is another model."""
    begin(home, replace(FACTS, name=DEFAULT_MODEL))
    monkeypatch.setitem(CHOICES, "best", ("ViT-L-14/openai", DEFAULT_MODEL))
    assert chosen(home, "best") == chosen(home, None) == parse_model(DEFAULT_MODEL)
    with pytest.raises(IndexMismatch, match="ViT-B-16-SigLIP2-512/webli is another one"):
        chosen(home, "ViT-B-16-SigLIP2-512/webli")


def test_a_word_that_means_another_model_is_refused_by_the_models_name(home: IndexHome) -> None:
    """The message names the models, not the word, and how to have both."""
    begin(home, replace(FACTS, name=DEFAULT_MODEL))
    with pytest.raises(IndexMismatch, match=f"--index DIR --roots-of {re.escape(str(home.path))}") as caught:
        chosen(home, "multilingual")
    assert f"with the model {DEFAULT_MODEL}, and ViT-B-32-SigLIP2-256/webli is another one" in str(caught.value)


def test_another_model_is_refused_and_both_are_named(home: IndexHome, model: Callable[..., str]) -> None:
    """Vectors of two models are never mixed; the message says what to do."""
    mine, other = model("mine"), model("other", b"other weights")
    begin(home, facts_of(mine))
    with pytest.raises(IndexMismatch, match="leave --model out, or train another index with --index DIR") as caught:
        chosen(home, other)
    assert mine in str(caught.value)
    assert other in str(caught.value)
    assert stored(home) == facts_of(mine)


def test_another_model_that_is_not_even_there_is_refused_without_a_download(
    home: IndexHome, model: Callable[..., str]
) -> None:
    """An index of another model is no reason to fetch one."""
    begin(home, facts_of(model("mine")))
    with pytest.raises(IndexMismatch):
        chosen(home, "ViT-B-32/openai")


def test_the_same_weights_under_another_name_are_the_same_model(home: IndexHome, model: Callable[..., str]) -> None:
    """A model's directory may move; the index then remembers where it went."""
    mine, moved = model("mine"), model("moved")
    begin(home, facts_of(mine))
    assert chosen(home, moved) == parse_model(moved)
    begin(home, facts_of(moved))
    assert stored(home) == facts_of(moved)


def test_a_model_that_changed_under_its_name_is_refused(home: IndexHome, model: Callable[..., str]) -> None:
    """The name alone proves nothing: what the child has loaded is compared before its first batch is stored."""
    name = model("mine")
    begin(home, facts_of(name))
    before = facts_of(name)
    (Path(name.removeprefix("local-dir:")) / WEIGHTS).write_bytes(b"trained further")
    with pytest.raises(IndexMismatch, match="is another one"):
        begin(home, facts_of(name))
    assert stored(home) == before


@pytest.mark.parametrize("changes", [{"dim": 4}, {"config": '{"a": 1}'}, {"weights_sha256": "f" * 64}], ids=str)
def test_every_part_of_the_fingerprint_is_compared(home: IndexHome, changes: dict[str, object]) -> None:
    """Facts that give other vectors are another model, whatever it is called."""
    begin(home, FACTS)
    with pytest.raises(IndexMismatch):
        begin(home, replace(FACTS, **changes))  # type: ignore[arg-type]


def test_the_same_model_again_writes_nothing(home: IndexHome) -> None:
    """A second training leaves the catalog's model as it is."""
    begin(home, FACTS)
    with Catalog(home.catalog, write=True) as catalog:
        before = catalog.connection.total_changes
        check_model(catalog, FACTS)
        assert catalog.connection.total_changes == before
