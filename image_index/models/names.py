"""Models by name: which model a name stands for, where its weights are, and how a missing file of it is fetched."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image_index.errors import ModelUnavailable, UsageError
from image_index.models import hub
from image_index.models.registry import CHOICES, find_model, licence_of

logger = logging.getLogger(__name__)

DEFAULT_MODEL = CHOICES["default"][0]
STARTER = Path(__file__).with_name("starter")
CONFIG = "open_clip_config.json"
DEFAULT_WEIGHTS = "open_clip_pytorch_model.bin"
# The order in which open_clip's _find_checkpoint_in_dir takes a file of a directory.
PREFERRED_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
CLIP_SCALING = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
"""What is subtracted from the colours red, green and blue, and what they are divided by, where a model says nothing."""

VOCABULARIES = ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json")
TOKENIZER_SETTINGS = ("tokenizer_config.json", "config.json")
TOKENIZER_EXTRAS = ("special_tokens_map.json", "added_tokens.json", "merges.txt")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model that a user named: the canonical name, and what `open_clip.create_model` takes for it."""

    name: str
    architecture: str
    pretrained: str | None


@dataclass(frozen=True, slots=True)
class _Need:
    """A file that a hub model cannot do without: the first of `files` that its repository holds."""

    repo: str
    files: tuple[str, ...]


def parse_model(text: str) -> ModelSpec:
    """Return the model of that name, as `--model` takes it; raises UsageError for one that is not known."""
    if text == "starter":
        return ModelSpec("starter", f"local-dir:{STARTER}", None)
    scheme, _, rest = text.partition(":")
    if scheme == "local-dir" and rest:
        name = f"local-dir:{os.path.abspath(os.path.expanduser(rest))}"
        if os.fsencode(name).decode(errors="replace") != name:  # the catalog stores it as text
            raise UsageError(f"{name!r} is not text in UTF-8", "give its directory another name, or a link to it")
        return ModelSpec(name, name, None)
    if scheme == "hf-hub" and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", rest, re.ASCII):
        return ModelSpec(text, text, None)
    if scheme in {"local-dir", "hf-hub"}:
        raise UsageError(f"no model {text!r}", "it is written local-dir:PATH or hf-hub:ORG/NAME")
    known = find_model(text)
    return ModelSpec(known.name, known.loads_as, known.tag)


def locate_weights(spec: ModelSpec) -> Path | None:
    """Return the weights that open_clip would load offline, or None if a file of a hub model is not in the cache.

    Raises ModelUnavailable for a directory that does not hold a complete model.
    """
    if directory := _directory(spec):
        return _weights_in(directory, spec)
    needs = _needs(spec)
    found = [hub.find_cached(need.repo, need.files) for need in needs]
    return found[0] if found and all(found) else None


def find_config(spec: ModelSpec) -> Path | None:
    """Return the file of a directory or of the hub that describes the model; None where open_clip has it built in."""
    if directory := _directory(spec):
        return directory / CONFIG
    scheme, _, repo = spec.architecture.partition(":")
    return hub.find_cached(repo, (CONFIG,)) if scheme == "hf-hub" else None


def ensure_model(spec: ModelSpec, *, quiet: bool) -> Path:
    """Return the weights of a model, fetched if they are not there; raises ModelUnavailable."""
    return locate_weights(spec) or fetch_model(spec, quiet=quiet)


def fetch_model(spec: ModelSpec, *, quiet: bool) -> Path:
    """Download what is missing of a model, with a progress bar on a terminal; raises ModelUnavailable in seconds."""
    if located := locate_weights(spec):
        return located
    with hub.progress_bars(shown=not quiet and sys.stderr.isatty()):
        _download_needs(spec)
    if located := locate_weights(spec):
        return located
    raise _unavailable(spec, "the hub holds only parts of it")


def warn_of_licence(spec: ModelSpec) -> None:
    """Warn, in one line of the log, of a model whose licence does not allow every use."""
    scheme, _, repo = spec.architecture.partition(":")
    if scheme == "local-dir":
        return
    repo = repo or find_model(spec.name).repo
    licence = licence_of(repo)
    if licence and licence.limit:
        card = f"https://huggingface.co/{repo}"
        logger.warning("The licence of %s, %s, allows %s: see %s", spec.name, licence.name, licence.limit, card)


def warn_of_assumption(spec: ModelSpec) -> None:
    """Warn, in one line of the log, of a model whose file does not say how the colours of a picture are scaled.

    open_clip then takes CLIP's way without a word (https://github.com/mlfoundations/open_clip/issues/1068): a model
    that was trained otherwise gives poor vectors.
    """
    path = find_config(spec)
    said = path and _read_config(path, spec).get("preprocess_cfg")
    unsaid = [name for name in CLIP_SCALING if not (isinstance(said, dict) and name in said)]
    if path and unsaid:
        lack, taken = " and ".join(unsaid), ", ".join(f"{name} {CLIP_SCALING[name]}" for name in unsaid)
        logger.warning("%s says nothing of %s in preprocess_cfg; CLIP's is taken: %s", path, lack, taken)


def digest_weights(path: Path) -> str:
    """Return the hex SHA-256 of a file. Large files of the hub's cache are not read: they are called by their SHA-256.

    Only one link is followed: behind a blob there may be a store that names files by another hash.
    """
    try:
        blob = Path(os.path.normpath(path.parent / path.readlink())) if path.is_symlink() else path
        in_cache = blob.parent.name == "blobs" and blob.parent.parent.name.startswith("models--")
        if in_cache and re.fullmatch(r"[0-9a-f]{64}", blob.name) and blob.is_file():
            return blob.name
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelUnavailable(f"cannot read the weights {path}: {error.strerror}") from error


# Directories: the bundled model and local-dir:


def _directory(spec: ModelSpec) -> Path | None:
    scheme, _, directory = spec.architecture.partition(":")
    return Path(directory) if scheme == "local-dir" else None


def _weights_in(directory: Path, spec: ModelSpec) -> Path:
    """Return the file that open_clip picks in a directory; raises ModelUnavailable unless the model is whole."""
    text = _read_config(directory / CONFIG, spec)["model_cfg"].get("text_cfg", {})
    found = sorted(path for suffix in ("safetensors", "bin", "pth") for path in directory.glob(f"*.{suffix}"))
    found.sort(key=lambda path: path.suffix != ".safetensors")
    found.sort(key=lambda path: _rank(path.name))
    if not found:
        raise _not_whole(spec, f"{directory} holds no weights")
    if text.get("hf_tokenizer_name") and not any((directory / name).is_file() for name in VOCABULARIES):
        raise _not_whole(spec, f"{directory} lacks the tokenizer's files ({', '.join(VOCABULARIES[:2])}, ...)")
    return found[0]


def _rank(name: str) -> int:
    return PREFERRED_WEIGHTS.index(name) if name in PREFERRED_WEIGHTS else len(PREFERRED_WEIGHTS)


def _read_config(path: Path, spec: ModelSpec) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        missing = path if path.parent.is_dir() else path.parent
        raise _not_whole(spec, f"{missing}: {error.strerror}") from error
    except ValueError as error:
        raise _not_whole(spec, f"{path} is not JSON ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_cfg"), dict):
        raise _not_whole(spec, f"{path} has no model_cfg")
    return config


def _not_whole(spec: ModelSpec, cause: str) -> ModelUnavailable:
    return ModelUnavailable(f"model {spec.name}: {cause}", f"its directory must hold {CONFIG} and open_clip's weights")


# The hub: NAME/TAG and hf-hub:


def _needs(spec: ModelSpec) -> tuple[_Need, ...]:
    """Return what a hub model needs, its weights first; nothing as long as its config is not there to say."""
    scheme, _, repo = spec.architecture.partition(":")
    if scheme != "hf-hub":
        known = find_model(spec.name)
        return (_Need(known.repo, _weight_names(known.file)), *_text_needs(known.tokenizer, known.text_model))
    config = find_config(spec)
    if config is None:
        return ()
    text = _read_config(config, spec)["model_cfg"].get("text_cfg", {})
    needs = _text_needs(text.get("hf_tokenizer_name"), text.get("hf_model_name"))
    return (_Need(repo, _weight_names(None)), *needs)


def _weight_names(file: str | None) -> tuple[str, ...]:
    """Return the names that open_clip's download_pretrained_from_hf tries, in its order."""
    name = file or DEFAULT_WEIGHTS
    if name == DEFAULT_WEIGHTS:
        return ("open_clip_model.safetensors", name)
    return (f"{name[:-4]}.safetensors", name) if name.endswith((".bin", ".pth")) else (name,)


def _text_needs(tokenizer: str | None, text_model: str | None) -> Iterator[_Need]:
    """Yield what transformers reads for a tokenizer and for the shape of a text model."""
    if tokenizer:
        yield _Need(tokenizer, VOCABULARIES)
        yield _Need(tokenizer, TOKENIZER_SETTINGS)
    if text_model:
        yield _Need(text_model, ("config.json",))


def _download_needs(spec: ModelSpec) -> None:
    scheme, _, repo = spec.architecture.partition(":")
    if scheme == "hf-hub":
        _download_first(spec, _Need(repo, (CONFIG,)))
    weights, *others = _needs(spec)
    _download_first(spec, weights)
    for repo in sorted({need.repo for need in others}):
        for name in (*VOCABULARIES, *TOKENIZER_SETTINGS, *TOKENIZER_EXTRAS):
            _download(spec, repo, name)


def _download_first(spec: ModelSpec, need: _Need) -> None:
    if not any(_download(spec, need.repo, name) for name in need.files):
        raise _unavailable(spec, f"{need.repo} holds no {' or '.join(need.files)}")


def _download(spec: ModelSpec, repo: str, name: str) -> bool:
    try:
        return hub.download(repo, name)
    except ModelUnavailable as error:
        raise _unavailable(spec, str(error)) from error


def _unavailable(spec: ModelSpec, cause: str) -> ModelUnavailable:
    ways_out = f"run `imgidx models fetch {spec.name}` on a connected machine and bring its HF_HOME here"
    return ModelUnavailable(f"model {spec.name} is not available: {cause}", f"{ways_out}, or use `--model starter`")
