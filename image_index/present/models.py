"""The models that can be used: as JSON and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from image_index.models.listing import ModelListing
from image_index.present.screen import Screen
from image_index.present.tables import headed_table, render


def model_record(model: ModelListing) -> dict[str, Any]:
    """Return one model: its name, where it is, and what is known of it before it is loaded."""
    about = model.about
    recall = about and about.recall_percent
    return {
        "name": model.name,
        "choices": list(model.choices),
        "kind": model.kind,
        "dim": model.dim,
        "size_mb": model.size_mb,
        "relative_speed": about and about.relative_speed,
        "memory_mb": about and about.memory_mb,
        "recall_percent": recall and {"en": recall[0], "de": recall[1]},
        "languages": about and about.languages,
        "licence": model.licence,
        "note": model.note,
    }


def models_table(models: Iterable[ModelListing], screen: Screen) -> str:
    """Return a table of models, two lines each; what is not known of one is left empty."""
    table = headed_table("model", "size", "training", "recall", "about")
    table.columns[0].overflow = "fold"  # half a name is of no use
    for model in models:
        table.add_row(*_cells(model))
    return render(table, screen)


def _cells(model: ModelListing) -> Iterator[str]:
    """Yield the cells of a row; the words that mean a model stand above its name."""
    yield _lines(", ".join(model.choices), model.name)
    yield _lines(f"{model.size_mb} MB" if model.size_mb else "", f"{model.dim} dim")
    kind, about = "" if model.kind == "known" else model.kind, model.about
    if about is None:
        yield from ("", "", "; ".join(filter(None, (kind, model.licence, model.note))))
        return
    speed = "" if about.relative_speed is None else f"{about.relative_speed:.2f} x"
    yield _lines(speed, "" if about.memory_mb is None else f"{about.memory_mb / 1000:.1f} GB")
    yield "en {:.0f} %\nde {:.0f} %".format(*about.recall_percent) if about.recall_percent else ""
    yield "; ".join(filter(None, (kind, about.languages, model.licence, model.note)))


def _lines(*lines: str) -> str:
    """Return those of `lines` that say something."""
    return "\n".join(filter(None, lines))
