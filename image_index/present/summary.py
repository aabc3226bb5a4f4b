"""What a command did or would do: an update, a plan, an export; as JSON and as text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from image_index.files.default_excludes import excluded_text
from image_index.paths import path_field, printable
from image_index.records import MachineShare, Summary

if TYPE_CHECKING:
    from image_index.training.plan import Plan
    from image_index.upkeep.export import Exported


def summary_record(summary: Summary) -> dict[str, Any]:
    """Return what an update did: its counts, and the seconds of each stage."""
    stages = {stage: round(seconds, 3) for stage, seconds in asdict(summary.stages).items()}
    return {**_counts_record(summary), "stage_seconds": stages}


def plan_record(plan: Plan) -> dict[str, Any]:
    """Return what an update would do, with the keys of an update that was done."""
    from image_index.training.pipeline import Tally  # `imgidx status` does without all that a training needs

    return {"dry_run": True, "to_embed": plan.embed_count, **_counts_record(Tally(plan).summary())}


def _counts_record(summary: Summary) -> dict[str, Any]:
    """Return the counts that updates and plans have in common."""
    return {
        "embedded": summary.embedded,
        "unchanged": summary.unchanged,
        "moved": summary.moved,
        "missing": summary.missing,
        "failed": summary.failed,
        "not_on_disk": summary.not_on_disk,
        "excluded": summary.excluded,
        "seconds": round(summary.seconds, 3),
        "pictures_per_second": round(summary.pictures_per_second, 3),
        "machines": machine_records(summary.machines),
    }


def machine_records(machines: Iterable[MachineShare]) -> list[dict[str, Any]]:
    """Return what each machine of a cluster has embedded."""
    return [{**share._asdict(), "pictures_per_second": round(share.pictures_per_second, 3)} for share in machines]


def summary_text(summary: Summary) -> str:
    """Return what an update did, in a line or a few."""
    counts = _counts(
        ("unchanged", summary.unchanged),
        ("moved", summary.moved),
        ("other names", summary.names),
        ("missing", summary.missing),
        ("failed", summary.failed),
        ("failed before", summary.failed_before),
        ("unreachable but kept", summary.kept),
        ("not on this disk", summary.not_on_disk),
        ("vanished", summary.vanished),
        ("left to do", summary.remaining),
    )
    if summary.embedded or summary.failed or summary.remaining:
        speed = f"embedded {summary.embedded} in {summary.seconds:.1f} s ({summary.pictures_per_second:.1f} pictures/s)"
    else:
        children = "one child was started to export the towers" if summary.exported else "no child was started"
        speed = f"nothing to embed, {children} ({summary.seconds:.1f} s)"
    return f"{speed}{counts}\n" + (_stage_line(summary) if summary.embedded else "")


def _stage_line(summary: Summary) -> str:
    """Return in which stages the seconds went; the children's are added up over all of them."""
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in asdict(summary.stages).items())
    machines = ", ".join(
        f"{share.name} {share.pictures} ({share.pictures_per_second:.1f} pictures/s)" for share in summary.machines
    )
    return f"seconds: {stages}\n" + (f"machines: {machines}\n" if machines else "")


def plan_text(plan: Plan) -> str:
    """Return what an update would do, and which directories it would leave out by default, in a line each."""
    counts = _counts(
        ("changed", len(plan.changed)),
        ("moved", len(plan.moved) + len(plan.copied)),
        ("other names", len(plan.names)),
        ("missing", len(plan.missing)),
        ("unchanged", plan.unchanged + len(plan.touched)),
        ("failed before", plan.failed_before),
        ("unreachable but kept", plan.kept),
        ("not on this disk", plan.not_on_disk),
    )
    excluded = f"{excluded_text(plan.excluded)}\n" if plan.excluded else ""
    return f"would embed {plan.embed_count}: {len(plan.new)} new{counts}\n{excluded}"


def _counts(*pairs: tuple[str, int]) -> str:
    """Return the counts that are not zero, each behind a comma."""
    return "".join(f", {count} {name}" for name, count in pairs if count)


def exported_record(done: Exported) -> dict[str, Any]:
    """Return what was exported, and where to."""
    return {
        **path_field(os.fsencode(done.path)),
        "format": done.format,
        "images": done.images,
        "parts": done.parts,
        "dim": done.dim,
        "without_vector": done.without_vector,
        "gone": done.gone,
        "mark": done.mark,
    }


def exported_text(done: Exported) -> str:
    """Return what was exported, in a line, and the mark in another."""
    parts = "1 part" if done.parts == 1 else f"{done.parts} parts"
    left_out = f"; left out, for they have no vector: {done.without_vector}" if done.without_vector else ""
    followed = f"; gone: {done.gone}\nmark: {done.mark}" if done.mark else ""
    return f"exported {done.images} pictures in {parts} to {printable(str(done.path))}{left_out}{followed}\n"
