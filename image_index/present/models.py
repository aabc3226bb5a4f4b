"""The models that can be used: as JSON and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from image_index.models.names import ModelListing
from image_index.present.tables import Screen, headed_table, render


def model_record(model: ModelListing) -> dict[str, Any]:
    """Return one model: its name, where it is, and what is known of it before it is loaded."""
    return {
        "name": model.name,
        "kind": model.kind,
        "dim": model.dim,
        "size_mb": model.size_mb,
        "licence": model.licence,
        "note": model.note,
    }


def models_table(models: Iterable[ModelListing], screen: Screen) -> str:
    """Return a table of models: name, where it is, dim, download size, licence and a note."""
    table = headed_table("model", "", "dim", "MB", "licence", "note")
    for model in models:
        size = "" if model.size_mb is None else str(model.size_mb)
        table.add_row(model.name, model.kind, str(model.dim), size, model.licence, model.note)
    return render(table, screen)
