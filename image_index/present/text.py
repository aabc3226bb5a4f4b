"""Results as text for people."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from urllib.parse import quote_from_bytes

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from image_index.dates import time_field
from image_index.models.names import ModelListing
from image_index.paths import kept_note, printable
from image_index.records import Counts, Hit, KnownFailure, KnownRun, ModelFacts, Outcome, Root, ScanProblem, Summary
from image_index.search.labels import TaggedImage
from image_index.training.plan import Plan

DATE_WIDTH = 60
"""A table that is narrower shows no date: the path needs the room."""


def hits_table(hits: Iterable[Hit], *, width: int, colour: bool) -> str:
    """Return a table of rank, score, sigma, path and date; the path is a link to the file where there is colour."""
    dated = width >= DATE_WIDTH
    table = _table("", "score", "sigma", "path", *(["date"] if dated else []))
    for hit in hits:
        sigma = "" if hit.sigma is None else f"{hit.sigma:.1f}"
        date = [f"{datetime.fromtimestamp(hit.image.date_s):%Y-%m-%d}"] if dated else []
        table.add_row(str(hit.rank), f"{hit.score:.3f}", sigma, path_text(hit.path), *date)
    return render(table, width=width, colour=colour)


def tags_table(pictures: Iterable[TaggedImage], *, width: int, colour: bool) -> str:
    """Return a table of probability, label and path; a path is told once."""
    table = plain_table()
    for tagged in pictures:
        for place, (label, probability) in enumerate(tagged.labels):
            path = Text("") if place else path_text(tagged.image.path)
            table.add_row(f"{probability:.2f}", Text(printable(label)), path)
    return render(table, width=width, colour=colour)


def path_text(path: bytes) -> Text:
    """Return a path with its name set off, and a link to it."""
    directory, name = os.path.split(path)
    text = Text(printable(directory + b"/" * (directory != b"/")), style="dim", overflow="fold")
    text.append(printable(name), style="not dim")
    text.stylize(Style(link=f"file://{quote_from_bytes(path)}"))
    return text


def path_lines(hits: Iterable[Hit], *, end: str, escaped: bool) -> str:
    """Return the paths alone, each followed by `end`; `escaped` for a terminal, else byte for byte."""
    return "".join((printable(hit.path) if escaped else os.fsdecode(hit.path)) + end for hit in hits)


def problem_text(problem: ScanProblem) -> str:
    """Return what could not be read, and what that means."""
    return f"{printable(problem.path)}: {printable(problem.reason)}; {kept_note(problem.path)}"


def models_table(models: Iterable[ModelListing], *, width: int, colour: bool) -> str:
    """Return a table of models: name, where it is, dim, download size, licence and a note."""
    table = _table("model", "", "dim", "MB", "licence", "note")
    for model in models:
        size = "" if model.size_mb is None else str(model.size_mb)
        table.add_row(model.name, model.kind, str(model.dim), size, model.licence, model.note)
    return render(table, width=width, colour=colour)


def status_text(
    counts: Counts, roots: Sequence[Root], model: ModelFacts | None, size_bytes: int, last_run: KnownRun | None
) -> str:
    """Return what an index holds, in a few lines."""
    lines = [
        f"pictures   {counts.images}",
        f"missing    {counts.missing}",
        f"failures   {counts.failures}" + ("   (imgidx failures lists them)" if counts.failures else ""),
        f"model      {f'{printable(model.name)}, {model.dim} dimensions' if model else 'none yet'}",
        f"size       {size_bytes / 1e6:.1f} MB",
        f"last run   {_run_text(last_run)}",
    ]
    for root in roots:
        problem = f"  ! {printable(root.problem)}" if root.problem else ""
        lines.append(f"root       {printable(root.path)}{problem}")
    return "\n".join(lines) + "\n"


def _run_text(run: KnownRun | None) -> str:
    if run is None:
        return "never"
    started = time_field(run.started_at_s)
    if run.outcome is Outcome.RUNNING:
        return f"{started}, not finished: running, or killed"
    if run.outcome is Outcome.FAILED:
        return f"{started}, failed: {printable(run.error or '')}"
    embedded, seconds = (run.summary.get(key, 0) for key in ("embedded", "seconds"))
    return f"{started}, {run.outcome}, {embedded} embedded in {seconds:.0f} s"


def failure_text(known: KnownFailure) -> str:
    """Return one failure on one line."""
    failure = known.failure
    since = time_field(known.first_failed_at_s)
    tries = f"{known.attempts} tries" if known.attempts > 1 else "1 try"
    return f"{printable(failure.file.path)}: {printable(failure.reason)} ({failure.stage}, since {since}, {tries})\n"


def summary_text(summary: Summary) -> str:
    """Return what an update did, in a line or a few."""
    counts = _counts(
        ("unchanged", summary.unchanged),
        ("moved", summary.moved),
        ("missing", summary.missing),
        ("failed", summary.failed),
        ("failed before", summary.failed_before),
        ("kept unseen", summary.kept),
        ("vanished", summary.vanished),
        ("left to do", summary.remaining),
    )
    if summary.embedded or summary.failed or summary.remaining:
        speed = f"embedded {summary.embedded} in {summary.seconds:.1f} s ({summary.pictures_per_second:.1f} pictures/s)"
    else:
        children = "one child exported the text tower" if summary.exported else "no child was started"
        speed = f"nothing to embed, {children} ({summary.seconds:.1f} s)"
    return f"{speed}{counts}\n" + (_stage_line(summary) if summary.embedded else "")


def _stage_line(summary: Summary) -> str:
    """Return where the seconds went; what the children did is added up over all of them."""
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in asdict(summary.stages).items())
    return f"seconds: {stages}\n"


def plan_text(plan: Plan) -> str:
    """Return what an update would do."""
    counts = _counts(
        ("changed", len(plan.changed)),
        ("moved", len(plan.moved) + len(plan.copied)),
        ("missing", len(plan.missing)),
        ("unchanged", plan.unchanged + len(plan.touched)),
        ("failed before", plan.failed_before),
        ("kept unseen", plan.kept),
    )
    return f"would embed {plan.embed_count}: {len(plan.new)} new{counts}\n"


def _counts(*pairs: tuple[str, int]) -> str:
    """Return the counts that are not zero, each behind a comma."""
    return "".join(f", {count} {name}" for name, count in pairs if count)


def plain_table() -> Table:
    """Return a table without heads and lines."""
    return Table(box=None, show_header=False, pad_edge=False)


def fitted(text: str, width: int) -> str:
    """Return `text` in exactly `width` cells of a terminal: filled up with blanks, or cut with an ellipsis."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "\u2026"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in {"", "score", "sigma", "dim", "MB"} else "left")
    return table


def render(table: Table, *, width: int, colour: bool) -> str:
    """Return a table as text for a terminal."""
    buffer = io.StringIO()
    Console(file=buffer, width=width, force_terminal=colour, no_color=not colour, highlight=False).print(table)
    return buffer.getvalue()
