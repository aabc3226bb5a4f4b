"""What an index holds, and which pictures could not be indexed: as JSON and as text."""

from __future__ import annotations

from typing import Any

from image_index.dates import time_field
from image_index.files.default_excludes import excluded_text
from image_index.paths import path_field, printable
from image_index.present.summary import summary_record
from image_index.records import KnownFailure, KnownRun, Outcome, Summary
from image_index.upkeep.status import IndexStatus

NO_VECTOR = "the model sees nothing in it, as in one flat grey: no search by meaning finds it"
"""What it means that a picture has no vector."""


def status_record(status: IndexStatus) -> dict[str, Any]:
    """Return what an index holds; null means not known."""
    counts, model = status.counts, status.model
    return {
        "images": counts.images,
        "missing": counts.missing,
        "failures": counts.failures,
        "without_vector": counts.without_vector,
        "roots": [
            {**path_field(root.path), "scanned_at": time_field(root.scanned_at_s), "problem": root.problem}
            for root in status.roots
        ],
        "model": model.name if model else None,
        "dim": model.dim if model else None,
        "bytes": status.size_bytes,
        "last_run": _run_record(status.last_run) if status.last_run else None,
    }


def _run_record(run: KnownRun) -> dict[str, Any]:
    """Return how a run went, and the keys of its summary."""
    times = {"started_at": time_field(run.started_at_s), "ended_at": time_field(run.ended_at_s)}
    summary = summary_record(run.summary) if run.summary else {}
    return {**times, "outcome": str(run.outcome), "error": run.error, **summary}


def status_text(status: IndexStatus) -> str:
    """Return what an index holds, in a few lines."""
    counts, model = status.counts, status.model
    lines = [
        f"pictures   {counts.images}",
        f"missing    {counts.missing}",
        f"failures   {counts.failures}" + ("   (imgidx failures lists them)" if counts.failures else ""),
        f"model      {f'{printable(model.name)}, {model.dim} dimensions' if model else 'none yet'}",
        f"size       {status.size_bytes / 1e6:.1f} MB",
        f"last run   {_run_text(status.last_run)}",
    ]
    if counts.without_vector:
        lines.insert(3, f"no vector  {counts.without_vector}   ({NO_VECTOR})")
    summary = (status.last_run and status.last_run.summary) or Summary()
    if summary.not_on_disk:
        lines.append(f"           {summary.not_on_disk} not on this disk (imgidx train --fetch-cloud downloads them)")
    if summary.excluded:
        lines.append(f"           {printable(excluded_text(summary.excluded))}")
    for root in status.roots:
        problem = f"  ! {printable(root.problem)}" if root.problem else ""
        lines.append(f"root       {printable(root.path)}{problem}")
    return "\n".join(lines) + "\n"


def _run_text(run: KnownRun | None) -> str:
    if run is None:
        return "never"
    started = time_field(run.started_at_s)
    if run.outcome is Outcome.RUNNING:
        return f"{started}, running"
    if run.outcome is Outcome.FAILED:
        return f"{started}, failed: {printable(run.error or '')}"
    summary = run.summary or Summary()
    return f"{started}, {run.outcome}, {summary.embedded} embedded in {summary.seconds:.0f} s"


def failure_record(known: KnownFailure) -> dict[str, Any]:
    """Return one failure: its `path` or `path_bytes`, and the keys of `reason_record`."""
    return {**path_field(known.failure.file.path), **reason_record(known)}


def reason_record(known: KnownFailure) -> dict[str, Any]:
    """Return why a picture could not be indexed, how often that was tried and since when."""
    return {
        "stage": str(known.failure.stage),
        "reason": known.failure.reason,
        "attempts": known.attempts,
        "first_failed_at": time_field(known.first_failed_at_s),
        "last_failed_at": time_field(known.last_failed_at_s),
    }


def failure_text(known: KnownFailure) -> str:
    """Return one failure on one line."""
    return f"{printable(known.failure.file.path)}: {reason_text(known)}\n"


def reason_text(known: KnownFailure) -> str:
    """Return why and since when a picture could not be indexed."""
    since, tries = time_field(known.first_failed_at_s), "1 try" if known.attempts == 1 else f"{known.attempts} tries"
    return f"{printable(known.failure.reason)} ({known.failure.stage}, since {since}, {tries})"
