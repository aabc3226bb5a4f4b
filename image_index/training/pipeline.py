"""`update_index`: scan, plan, embed, record, build."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any

from image_index.catalog.catalog import Catalog
from image_index.catalog.index_model import check_model, choose_model
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.reader import CatalogReader
from image_index.paths import printable, problem_text
from image_index.records import EmbeddedBatch, Outcome, Progress, Report, StageSeconds, Summary
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.training.freshness import build_if_stale
from image_index.training.plan import Plan
from image_index.training.survey import SurveyOptions, plan_roots
from image_index.training.tower_update import TowerExport, export_alone
from image_index.workers.engine import Engine, make_batches
from image_index.workers.pool import ChildPool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    """What to bring up to date; `model` None means the index's own, or the default for a new one."""

    home: IndexHome
    survey: SurveyOptions
    model: str | None = None
    engine: Engine = field(default_factory=Engine)
    register_roots: bool = True
    quiet: bool = False
    wait_s: float = 0.0
    """How long to wait for another run that is writing."""


def update_index(request: UpdateRequest, report: Report = lambda _: None, stop: StopRequest | None = None) -> Summary:
    """Bring the index up to date with the roots: scan, plan, embed, record, build. Return what was done.

    Everything embedded is stored batch by batch: whenever this ends, by an error or by SIGKILL, a later call goes on
    from there. Raises the errors of `image_index.errors`; pictures that fail are no error but counted.
    """
    stop, clock = stop or StopRequest(), Clock()
    started = time.monotonic()
    with CatalogReader(request.home.catalog) if request.home.catalog.exists() else nullcontext() as known:
        spec = choose_model(known, request.model, quiet=request.quiet)
    request.home.create()
    lock = exclusive_lock(request.home.lock, request.wait_s)
    with lock, Catalog(request.home.catalog, write=True) as catalog, catalog.run() as run:
        with request.engine.pool(spec, stop, quiet=request.quiet) as pool:
            with clock.of("scan"):
                plan = plan_roots(catalog, request.survey, report, stop, on_new_size=pool.start)
            with clock.of("store"):
                record_plan(catalog, plan)
            summary = plan_summary(plan)
            if plan.embed_count:
                report(Progress("load", 0, plan.embed_count))
            with closing(embed(catalog, pool, plan, request)) as batches:
                for batch in batches:
                    with clock.of("store"):
                        catalog.record(batch)
                    summary = count_batch(summary, batch)
                    report(Progress("embed", plan.embed_count - summary.remaining, plan.embed_count, summary.failed))
        if not plan.embed_count and not stop() and catalog.holds_pictures():
            exported = export_alone(request.home, catalog, spec, request.engine, stop)
            summary = replace(summary, exported=exported)
        run.outcome = Outcome.STOPPED if stop() else Outcome.DONE  # now: the index is built whole, whatever time it is
        note_roots(catalog, request, plan)
        with clock.of("index"):
            build_if_stale(catalog, request.home, report, thorough=summary.embedded > 0)
        stages, seconds = summary.stages + clock.seconds, time.monotonic() - started
        summary = replace(summary, seconds=seconds, stages=stages, stopped_by=stop.signal_number)
        run.summary = summary_record(summary)
    return summary


class Clock:
    """Adds up what the parent spends in its stages."""

    def __init__(self) -> None:
        self.seconds = StageSeconds()

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the seconds of a block for a stage, by its name in `StageSeconds`."""
        start = time.monotonic()
        yield
        self.seconds += StageSeconds(**{stage: time.monotonic() - start})


def preview_update(request: UpdateRequest, stop: StopRequest | None = None) -> Plan:
    """Return what `update_index` would do, without touching anything."""
    stop = stop or StopRequest()
    with ExitStack() as stack:
        there = request.home.catalog.exists()
        catalog = stack.enter_context(Catalog(request.home.catalog)) if there else None
        return plan_roots(catalog, request.survey, lambda _: None, stop)


def record_plan(catalog: Catalog, plan: Plan) -> None:
    """Store what the plan settles without embedding anything."""
    if plan.missing:
        catalog.mark_missing(plan.missing)
    if plan.touched or plan.moved:
        catalog.move([*plan.touched, *plan.moved])
    if plan.copied:
        catalog.copy(plan.copied)
    if plan.failures_gone:
        catalog.drop_failures(plan.failures_gone)
    for problem in plan.problems:
        logger.error("%s", problem_text(problem.path, problem.reason))


def embed(catalog: Catalog, pool: ChildPool, plan: Plan, request: UpdateRequest) -> Generator[EmbeddedBatch]:
    """Yield what the children make of the plan's files, once their model is known to be the index's own.

    Their first job is to export the text tower, if it is missing. Where there is nothing to embed, no child is started.
    """
    if not plan.embed_count:
        return
    batches = make_batches(plan.files_to_embed, request.engine.size_of_batch)
    with closing(TowerExport(request.home, catalog)) as export:
        is_checked = False
        for result in pool.embed(chain(export.jobs, batches)):
            if pool.facts and not is_checked:
                check_model(catalog, pool.facts)
                is_checked = True
            if isinstance(result, EmbeddedBatch):
                for failure in result.failures:
                    logger.warning("%s: %s (%s)", printable(failure.file.path), failure.reason, failure.stage)
                yield result
            elif pool.facts:
                export.settle(result, pool.facts)


def note_roots(catalog: Catalog, request: UpdateRequest, plan: Plan) -> None:
    """Record which roots were scanned, and what was wrong with them; one that never could be read is not taken in."""
    known = {root.path for root in catalog.roots()}
    for root in request.survey.roots if request.register_roots else ():
        problem = next((problem.reason for problem in plan.problems if problem.path == root), None)
        if problem is None or root in known:
            catalog.note_scan(root, problem)


# Summaries


def plan_summary(plan: Plan) -> Summary:
    """Return the part of the summary that the plan alone decides."""
    return Summary(
        unchanged=plan.unchanged + len(plan.touched),
        moved=len(plan.moved) + len(plan.copied),
        missing=len(plan.missing),
        failed_before=plan.failed_before,
        kept=plan.kept,
        problems=tuple(plan.problems),
        remaining=plan.embed_count,
    )


def count_batch(summary: Summary, batch: EmbeddedBatch) -> Summary:
    """Return `summary` with a batch counted in."""
    return replace(
        summary,
        embedded=summary.embedded + len(batch.images),
        failed=summary.failed + len(batch.failures),
        vanished=summary.vanished + len(batch.vanished),
        remaining=summary.remaining - len(batch.images) - len(batch.failures) - len(batch.vanished),
        stages=summary.stages + batch.seconds,
    )


def summary_record(summary: Summary) -> dict[str, Any]:
    """Return the pinned keys of a summary, as `train --json` and `status --json` show them."""
    stages = {stage: round(seconds, 3) for stage, seconds in asdict(summary.stages).items()}
    return {**counts_record(summary), "stage_seconds": stages}


def counts_record(summary: Summary) -> dict[str, int | float]:
    """Return the pinned keys of a run that was only tried, as `train --dry-run --json` shows them."""
    return {
        "embedded": summary.embedded,
        "unchanged": summary.unchanged,
        "moved": summary.moved,
        "missing": summary.missing,
        "failed": summary.failed,
        "seconds": round(summary.seconds, 3),
        "pictures_per_second": round(summary.pictures_per_second, 3),
    }
