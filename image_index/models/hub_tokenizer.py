"""Tokenizers that are published as a `tokenizer.json`: those of SigLIP, SigLIP2, XLM-R and other models of the hub.

open_clip reads them by `transformers`, whose import takes 2.5 s. The library `tokenizers`, which does the work there,
reads the same file; what is around it stands here: the cleaning of texts, the special tokens, truncation and padding.
To load a large vocabulary still takes a second, so an exported tower has it as a `WordTable`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from image_index.models.cleaning import CLEANINGS, clean
from image_index.models.tower_files import Framing
from image_index.models.word_table import UnknownModel, WordTable, read_table, write_table

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
"""What a folder of the hub holds: the tokenizer itself, and what `transformers` is to do around it."""

FRAME, WORDS = "tokenizer.json", "words.bin"
"""The files of an exported tokenizer: all of it but the vocabulary, and the vocabulary."""

KNOWN_OPTIONS = {"clean", "strip_sep_token"}
"""The `tokenizer_kwargs` of open_clip that are known here."""

KNOWN_CLASSES = {"Bert", "Gemma", "PreTrained", "Roberta", "T5", "TokenizersBackend", "XLMRoberta"}
"""The tokenizers of `transformers` that do what their file says; those of NLLB, for one, set a language besides."""

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

USUAL = {"pad_token": ("<pad>", "[PAD]"), "sep_token": ("</s>", "[SEP]"), "bos_token": ("<s>", "<bos>")}
USUAL |= {"eos_token": ("</s>", "<eos>"), "cls_token": ("<s>", "[CLS]")}
"""What special tokens are called in a vocabulary whose settings do not say it."""

NO_WORD = "\U0010ffff" * 16
"""The one word of a model that gives back what it is asked to split; no text has it."""


class Splitter(Protocol):
    """What splits a cleaned text into words of the vocabulary: all of that, or the words that the text needs."""

    def split(self, text: str) -> tuple[list[int], list[int]]:
        """Return the ids of a text, without special tokens, and where in it each begins."""


@dataclass(frozen=True, slots=True)
class HubTokenizer:
    """Texts to the ids that open_clip's HFTokenizer gives them."""

    splitter: Splitter
    framing: Framing
    context_length: int

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the ids of texts, padded, (N, context length) int64, as open_clip's tokenizers do."""
        return np.array([self.padded(self.encode(text)) for text in texts], np.int64)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text` with its special tokens, at most as many as fit, without the padding."""
        framing = self.framing
        ids, _ = self.splitter.split(clean(text, framing.clean))
        whole = [*framing.before, *ids[: self._room], *framing.after]
        return [0 if token == framing.zeroed else token for token in whole]

    def padded(self, ids: Sequence[int]) -> list[int]:
        """Return the ids of a text in the context's length."""
        framing = self.framing
        padding = [framing.pad] * (self.context_length - len(ids) - len(framing.last))
        return [*padding, *ids, *framing.last] if framing.pad_left else [*ids, *padding, *framing.last]

    def cut(self, text: str) -> str:
        """Return what of `text` does not fit into the context."""
        cleaned = clean(text, self.framing.clean)
        _, begins = self.splitter.split(cleaned)
        return cleaned[begins[self._room] :].strip() if len(begins) > self._room else ""

    @property
    def _room(self) -> int:
        """How many tokens a text may have beside the special ones."""
        framing = self.framing
        return max(self.context_length - len(framing.before) - len(framing.after) - len(framing.last), 0)


@dataclass(frozen=True, slots=True)
class WholeVocabulary:
    """The library with all of a tokenizer."""

    tokenizer: Tokenizer

    def split(self, text: str) -> tuple[list[int], list[int]]:
        """Return the ids of a text, without special tokens, and where in it each begins."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, _begins(encoding)


class MappedVocabulary:
    """The library with the words of a tokenizer that a text needs."""

    def __init__(self, table: WordTable, frame: Mapping[str, Any]) -> None:
        """`frame` is the JSON of the tokenizer, without its model."""
        self._table = table
        self._frame = frame
        self._added = {token["content"]: int(token["id"]) for token in frame["added_tokens"]}

    def split(self, text: str) -> tuple[list[int], list[int]]:
        """Return the ids of a text, without special tokens, and where in it each begins."""
        words = self._wordless.encode(text, add_special_tokens=False).tokens
        model, ids = self._table.model_of("\n".join(words))
        tokenizer = self._with(model)
        encoding = tokenizer.encode(text, add_special_tokens=False)
        # Added tokens that the model itself lacks have ids behind those of its words.
        whole = [ids[one] if one < len(ids) else self._added[str(tokenizer.id_to_token(one))] for one in encoding.ids]
        return whole, _begins(encoding)

    @cached_property
    def _wordless(self) -> Tokenizer:
        """A tokenizer whose tokens are what the model would be asked to split, and added tokens."""
        return self._with({"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [(NO_WORD, 0.0)]})

    def _with(self, model: Mapping[str, Any]) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps({**self._frame, "model": model}))


def read_tokenizer(folder: Path, text_config: Mapping[str, Any]) -> HubTokenizer:
    """Return the tokenizer in `folder` as open_clip uses it for a model with that `text_cfg`.

    Raises `UnknownModel` where it takes `transformers` to know what is meant, and `OSError` or `ValueError` where a
    file is not there or damaged.
    """
    from tokenizers import Tokenizer

    settings = _json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    text = (folder / TOKENIZER).read_text(encoding="utf-8")
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{folder / TOKENIZER}: {' '.join(str(error).split())}"[:300]) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _add_special_tokens(tokenizer, settings)
    framing = _framing(tokenizer, settings, text_config)
    return HubTokenizer(WholeVocabulary(tokenizer), framing, int(text_config.get("context_length", 77)))


def export_tokenizer(tokenizer: HubTokenizer, directory: Path) -> HubTokenizer:
    """Write a tokenizer that was read whole into `directory`; return it as it is read from there.

    Raises `UnknownModel` where it is of a kind that cannot be cut down to the words of a text.
    """
    if not isinstance(tokenizer.splitter, WholeVocabulary):
        raise UnknownModel("its tokenizer has been exported already")
    frame = json.loads(tokenizer.splitter.tokenizer.to_str())
    table = write_table(frame.pop("model"), directory / WORDS)
    frame |= {"post_processor": None, "decoder": None}
    (directory / FRAME).write_text(json.dumps({"frame": frame, "table": table}), encoding="ascii")
    return open_exported(directory, tokenizer.framing, tokenizer.context_length)


def open_exported(directory: Path, framing: Framing, context_length: int) -> HubTokenizer:
    """Return an exported tokenizer; raises `OSError` or `ValueError` where its files are damaged."""
    content = _json(directory / FRAME)
    try:
        splitter = MappedVocabulary(read_table(directory / WORDS, content["table"]), content["frame"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{directory / FRAME} lacks {error}") from error
    return HubTokenizer(splitter, framing, context_length)


def _begins(encoding: Encoding) -> list[int]:
    return [begin for begin, _ in encoding.offsets]


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object")
    return content


def _name(settings: Mapping[str, Any], key: str) -> str | None:
    """Return the special token of that role as the settings have it."""
    value = settings.get(key)
    return value["content"] if isinstance(value, dict) else value


def _add_special_tokens(tokenizer: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Add what `transformers` adds; raise `UnknownModel` where that would be more than the vocabulary has."""
    listed = settings.get("added_tokens_decoder") or {}
    if any(tokenizer.token_to_id(token["content"]) != int(number) for number, token in listed.items()):
        raise UnknownModel("its settings add tokens to its vocabulary")
    names = [name for key in SPECIAL if (name := _name(settings, key))]
    if any(tokenizer.token_to_id(name) is None for name in names):
        raise UnknownModel("its vocabulary lacks a special token")
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    tokenizer.add_special_tokens([name for name in names if name not in known])


def _framing(tokenizer: Tokenizer, settings: Mapping[str, Any], text_config: Mapping[str, Any]) -> Framing:
    """Return what comes around the tokens of a text."""
    options = text_config.get("tokenizer_kwargs") or {}
    how, mode = options.get("clean", "whitespace"), text_config.get("tokenizer_mode") or ""
    if options.keys() - KNOWN_OPTIONS or how not in CLEANINGS or mode not in {"", "clips"}:
        raise UnknownModel("its configuration has options that are not known here")
    kind = str(settings.get("tokenizer_class") or "PreTrained").removesuffix("Fast").removesuffix("Tokenizer")
    if kind not in KNOWN_CLASSES:
        raise UnknownModel(f"its tokenizer is a {settings['tokenizer_class']}")
    if settings.get("truncation_side", "right") != "right":
        raise UnknownModel("its texts are cut off at the left")

    def number(key: str) -> int:
        names = (name,) if (name := _name(settings, key)) else USUAL[key]
        ids = (tokenizer.token_to_id(name) for name in names)
        found = next((one for one in ids if one is not None), None)
        if found is None:
            raise UnknownModel(f"it has no {key}")
        return found

    if mode == "clips":
        return Framing(how, number("pad_token"), (number("bos_token"),), (number("eos_token"),), (number("cls_token"),))
    flags = {key: settings.get(key) for key in ("add_bos_token", "add_eos_token")}
    if any(flag is not None for flag in flags.values()):  # then `transformers` replaces what the file says
        before = tuple(number("bos_token") for _ in range(bool(flags["add_bos_token"])))
        after = tuple(number("eos_token") for _ in range(bool(flags["add_eos_token"])))
    else:
        before, after = _special_tokens(tokenizer)
    side = settings.get("padding_side") or ("left" if kind == "Gemma" else "right")
    zeroed = number("sep_token") if options.get("strip_sep_token") else None
    return Framing(how, number("pad_token"), before, after, zeroed=zeroed, pad_left=side == "left")


def _special_tokens(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids that the tokenizer puts before and behind those of a text."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return tuple(whole[:start]), tuple(whole[start + len(bare) :])
    raise UnknownModel("its special tokens do not stand around a text")
