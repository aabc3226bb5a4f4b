"""Tokenizers of the hub, read whole and as they are exported, against open_clip's own, which uses `transformers`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from open_clip.tokenizer import HFTokenizer
from tokenizers import Tokenizer

from image_index.models.hub_tokenizer import HubTokenizer, export_tokenizer, open_exported, read_tokenizer
from image_index.models.word_table import UnknownModel
from tests.support.hub_tokenizers import LAYOUTS, make_tokenizer, some_text


@dataclass(frozen=True)
class Made:
    """A tokenizer in its folder: as open_clip reads it, and as we do."""

    folder: Path
    text_config: dict[str, Any]
    theirs: HFTokenizer
    whole: HubTokenizer
    exported: HubTokenizer


@pytest.fixture(scope="module", params=LAYOUTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Give a tokenizer of each layout."""
    folder = tmp_path_factory.mktemp("tokenizer")
    text_config = make_tokenizer(request.param, folder / "hub")
    whole = read_tokenizer(folder / "hub", text_config)
    options = text_config.get("tokenizer_kwargs", {})
    mode, length = text_config.get("tokenizer_mode"), text_config.get("context_length", 77)
    theirs = HFTokenizer(str(folder / "hub"), context_length=length, tokenizer_mode=mode, **options)
    return Made(folder / "hub", text_config, theirs, whole, export_tokenizer(whole, folder))


@pytest.mark.slow
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_texts_get_the_ids_that_transformers_gives_them(made: Made, count: int) -> None:
    """Of many scripts: emoji, controls, combining marks, special tokens written out, over-long texts and empty ones."""
    random = Random(1)
    texts = [some_text(random) for _ in range(count)]
    expected = made.theirs(texts).tolist()
    for text, ids in zip(texts, expected, strict=True):
        assert made.whole.padded(made.whole.encode(text)) == ids, ascii(text)
        assert made.exported.padded(made.exported.encode(text)) == ids, ascii(text)
        assert made.exported.cut(text) == made.whole.cut(text)


def test_what_does_not_fit_is_told_as_it_was_cleaned(made: Made) -> None:
    """What is kept fits, and has the tokens that the whole text begins with; a text that fits loses nothing."""
    text = " ".join(f"dog{number}" for number in range(100))
    lost = made.exported.cut(text)
    assert lost
    kept = text.removesuffix(lost).strip()
    assert made.exported.cut(kept) == made.exported.cut("a dog") == ""
    begun = made.exported.encode(kept)[:-2]
    assert begun == made.exported.encode(text)[: len(begun)]


def edit(folder: Path, name: str, **changes: Any) -> None:
    """Change the JSON object in a file."""
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("settings", "text_config", "reason"),
    [
        ({}, {"tokenizer_kwargs": {"language": "fra_Latn"}}, "options"),
        ({}, {"tokenizer_kwargs": {"clean": "thoroughly"}}, "options"),
        ({}, {"tokenizer_mode": "tiles"}, "options"),
        ({"truncation_side": "left"}, {}, "left"),
        ({"tokenizer_class": "NllbTokenizerFast"}, {}, "NllbTokenizerFast"),
        ({"added_tokens_decoder": {"9999": {"content": "<more>"}}}, {}, "add tokens"),
        ({"pad_token": "<none>"}, {}, "lacks a special token"),
        ({"bos_token": None, "eos_token": None, "add_eos_token": True}, {}, None),
    ],
)
def test_what_only_transformers_knows_is_left_to_it(
    tmp_path: Path, settings: dict[str, Any], text_config: dict[str, Any], reason: str | None
) -> None:
    """A tokenizer that may give other ids than here is not read at all."""
    config = make_tokenizer("SigLIP", tmp_path) | text_config
    edit(tmp_path, "tokenizer_config.json", **settings)
    if reason is None:
        assert read_tokenizer(tmp_path, config).framing.after == (1,)
        return
    with pytest.raises(UnknownModel, match=reason):
        read_tokenizer(tmp_path, config)


@pytest.mark.parametrize(
    ("layout", "changes", "reason"),
    [
        ("SigLIP2", {"dropout": 0.1}, "at random"),
        ("SigLIP2", {"end_of_word_suffix": "</w>"}, "affixes"),
        ("BERT", {"type": "WordLevel"}, "WordLevel"),
    ],
)
def test_a_vocabulary_that_cannot_be_cut_down_is_not_exported(
    tmp_path: Path, layout: str, changes: dict[str, Any], reason: str
) -> None:
    """A child reads it whole."""
    config = make_tokenizer(layout, tmp_path)
    edit(tmp_path, "tokenizer.json", model=json.loads((tmp_path / "tokenizer.json").read_text())["model"] | changes)
    tokenizer = read_tokenizer(tmp_path, config)
    with pytest.raises(UnknownModel, match=reason):
        export_tokenizer(tokenizer, tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {"type": "BPE"}}', "\0\0"])
def test_a_damaged_file_is_an_error_of_its_own(tmp_path: Path, content: str) -> None:
    """It names the file, in one line."""
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json") as caught:
        read_tokenizer(tmp_path, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["shorter", "no JSON", "other JSON"])
def test_a_damaged_export_is_an_error_and_no_other_tokens(tmp_path: Path, damage: str) -> None:
    """The text tower is then left, and a child encodes the text."""
    whole = read_tokenizer(tmp_path, make_tokenizer("SigLIP", tmp_path))
    (tmp_path / "towers").mkdir()
    export_tokenizer(whole, tmp_path / "towers")
    words, frame = tmp_path / "towers/words.bin", tmp_path / "towers/tokenizer.json"
    if damage == "shorter":
        words.write_bytes(words.read_bytes()[:1000])
    else:
        frame.write_text("{" if damage == "no JSON" else "{}")
    with pytest.raises(ValueError, match=r"."):
        open_exported(tmp_path / "towers", whole.framing, whole.context_length)


def test_words_that_no_text_has_are_no_hindrance(tmp_path: Path) -> None:
    """One that is there twice, an empty one, and one much longer than any other: the library reads them as well."""
    config = make_tokenizer("SigLIP", tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["vocab"] += [["\u2581dog", -1.0], ["", -3.0], ["x" * 500, -2.0]]
    Tokenizer.from_str(json.dumps(content)).save(str(tmp_path / "tokenizer.json"))
    whole = read_tokenizer(tmp_path, config)
    (tmp_path / "towers").mkdir()
    exported = export_tokenizer(whole, tmp_path / "towers")
    for text in ("a dog", "x" * 499, "x" * 1200, ""):
        assert exported.encode(text) == whole.encode(text)
