"""Results as JSON lines with pinned keys."""

from __future__ import annotations

import json
from typing import Any

from image_index.dates import time_field
from image_index.paths import path_field
from image_index.records import Counts, Failure, Hit, ImageFacts, KnownFailure, KnownRun, ModelFacts, Root


def hit_line(hit: Hit, query: str | None = None) -> str:
    """Return one hit: `query` where it has a name, `rank`, `score`, `sigma`, and `image_fields`."""
    named = {} if query is None else {"query": query}
    sigma = None if hit.sigma is None else round(hit.sigma, 3)
    return _dump({**named, "rank": hit.rank, "score": round(hit.score, 6), "sigma": sigma, **image_fields(hit.image)})


def image_fields(image: ImageFacts) -> dict[str, Any]:
    """Return what is shown of a picture: `path` or `path_bytes`, `date`, `width`, `height`, `format`, `camera`."""
    return {
        **path_field(image.path),
        "date": time_field(image.date_s),
        "width": image.picture.width,
        "height": image.picture.height,
        "format": image.picture.format,
        "camera": image.picture.camera,
    }


def known_failure_line(known: KnownFailure) -> str:
    """Return one failure: `failure_fields`, `attempts`, `first_failed_at`, `last_failed_at`."""
    return _dump(
        {
            **failure_fields(known.failure),
            "attempts": known.attempts,
            "first_failed_at": time_field(known.first_failed_at_s),
            "last_failed_at": time_field(known.last_failed_at_s),
        }
    )


def failure_fields(failure: Failure) -> dict[str, str]:
    """Return what failed, where and why."""
    return {**path_field(failure.file.path), "stage": str(failure.stage), "reason": failure.reason}


def status_line(
    counts: Counts, roots: list[Root], model: ModelFacts | None, size_bytes: int, last_run: KnownRun | None
) -> str:
    """Return the one object of `status --json`."""
    return _dump(
        {
            "images": counts.images,
            "missing": counts.missing,
            "failures": counts.failures,
            "roots": [
                {**path_field(root.path), "scanned_at": time_field(root.scanned_at_s), "problem": root.problem}
                for root in roots
            ],
            "model": model.name if model else None,
            "dim": model.dim if model else None,
            "bytes": size_bytes,
            "last_run": _run_fields(last_run) if last_run else None,
        }
    )


def _run_fields(run: KnownRun) -> dict[str, Any]:
    """Return how a run went, and the keys of its summary."""
    times = {"started_at": time_field(run.started_at_s), "ended_at": time_field(run.ended_at_s)}
    return {**times, "outcome": str(run.outcome), "error": run.error, **run.summary}


def record_line(record: dict[str, Any]) -> str:
    """Return a record whose keys are pinned where it is made."""
    return _dump(record)


def _dump(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)
