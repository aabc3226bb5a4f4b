"""A session or a foreign run, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from image_index.dates import time_field
from image_index.present.summary import machine_records, summary_record
from image_index.records import Progress, Session, Summary


def session_record(session: Session) -> dict[str, Any]:
    """Return what was asked for, how far it is, and how it ended; null means not known, or not yet."""
    summary = session.summary
    progress = _whole(summary) if summary else session.progress or Progress("")
    stages = progress.stages
    return {
        "id": session.id,
        "kind": str(session.kind),
        "state": str(session.state),
        "priority": str(session.priority),
        **asked_record(session.request),
        "asked_at": time_field(session.asked_at_s),
        "started_at": time_field(session.started_at_s),
        "ended_at": time_field(session.ended_at_s),
        "stage": progress.stage or None,
        "done": progress.done,
        "total": progress.total,
        "failures": progress.failed,
        "pictures_per_second": _rounded(progress.pictures_per_second),
        "seconds_left": _rounded(_seconds_left(progress)),
        "machines": machine_records(progress.machines),
        "stage_seconds": {name: round(seconds, 3) for name, seconds in asdict(stages).items()} if stages else None,
        "exit_code": session.exit_code,
        "error": session.error,
        "summary": summary_record(summary) if summary else None,
    }


def asked_record(request: str) -> dict[str, Any]:
    """Return what a session was asked to do; of a foreign run nothing of that is known."""
    asked = json.loads(request)
    return {
        "training_directory": asked.get("training_directory"),
        "exclude": asked.get("exclude", []),
        "retry_failed": asked.get("retry_failed", False),
        "time_limit": asked.get("time_limit"),
    }


def _whole(summary: Summary) -> Progress:
    """Return how far a run was when it ended, which then is in no stage any more."""
    done = summary.planned - summary.remaining
    rate = summary.pictures_per_second
    return Progress("", done, summary.planned, summary.failed, rate, summary.stages, summary.machines)


def _seconds_left(progress: Progress) -> float | None:
    """Return how long a session will embed, as of its last batch."""
    if progress.stage != "embed" or not progress.pictures_per_second:
        return None
    return ((progress.total or 0) - progress.done) / progress.pictures_per_second


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
