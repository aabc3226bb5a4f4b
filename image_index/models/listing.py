"""Which models there are to choose from, and what is known of each before it is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from image_index.models import hub
from image_index.models.names import CONFIG, STARTER, ModelSpec, locate_weights, parse_model
from image_index.models.registry import CHOICES, RECOMMENDED, KnownModel, Recommendation, licence_of, load_registry


@dataclass(frozen=True, slots=True)
class ModelListing:
    """A line of `imgidx models`; `size_mb` (10^6 bytes) is of the file for a local model, else of float32 weights.

    `choices` are the words that mean the model (see `CHOICES`); `about` is None for one that is not recommended.
    """

    name: str
    choices: tuple[str, ...]
    kind: Literal["bundled", "cached", "known"]
    dim: int
    size_mb: int | None
    licence: str
    note: str
    about: Recommendation | None


def list_models(*, everything: bool = False) -> tuple[ModelListing, ...]:
    """Return the recommended models, the bundled one, and others in the hub's cache; or `everything` that is known."""
    distinct = {(known.loads_as, known.tag): known for known in reversed(load_registry().values())}
    listed = {known.name: _listing(known) for known in distinct.values()}
    first = [listed.pop(model.name) for model in RECOMMENDED]
    others = sorted(listed.values(), key=lambda one: one.name)
    return (*first, _bundled(), *(one for one in others if everything or one.kind == "cached"))


def _bundled() -> ModelListing:
    dim = json.loads((STARTER / CONFIG).read_text(encoding="utf-8"))["model_cfg"]["embed_dim"]
    about = Recommendation("starter", "English", note="for a first try")
    size = _megabytes(locate_weights(parse_model("starter")))
    return ModelListing("starter", (), "bundled", dim, size, "Apache-2.0", about.note, about)


def _listing(known: KnownModel) -> ModelListing:
    weights = locate_weights(ModelSpec(known.name, known.loads_as, known.tag)) if hub.has_folder(known.repo) else None
    choices = tuple(choice for choice, meanings in CHOICES.items() if meanings[0] == known.name)
    about = next((model for model in RECOMMENDED if model.name == known.name), None)
    notes = [about.note] if about and about.note else []
    if known.text_model:
        notes.append("needs the extra `transformers`")
    return ModelListing(
        known.name,
        choices,
        kind="cached" if weights else "known",
        dim=known.dim,
        size_mb=_megabytes(weights) or (known.parameters and round(known.parameters * 4 / 1e6)),
        licence=str(licence_of(known.repo) or "see model card"),
        note="; ".join(notes),
        about=about,
    )


def _megabytes(path: Path | None) -> int | None:
    return round(path.stat().st_size / 1e6) if path else None
