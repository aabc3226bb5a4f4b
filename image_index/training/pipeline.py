"""`update_index`: scan, plan, embed, record, build."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field

from image_index.catalog.catalog import Catalog
from image_index.catalog.index_model import check_model, choose_model
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.reader import CatalogReader
from image_index.catalog.runs import Run, Runs
from image_index.catalog.schema import is_there
from image_index.files.default_excludes import excluded_text
from image_index.models.names import ModelSpec
from image_index.paths import printable, problem_text
from image_index.records import (
    EmbeddedBatch,
    MachineShare,
    ModelFacts,
    Outcome,
    Progress,
    Report,
    StageSeconds,
    Summary,
)
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.training.freshness import build_if_stale
from image_index.training.plan import Plan
from image_index.training.survey import EarlyStart, SurveyOptions, plan_roots
from image_index.training.tower_update import TowerExport, export_alone
from image_index.workers.engine import Engine
from image_index.workers.pool import Pool

logger = logging.getLogger(__name__)

MakePool = Callable[[Engine, ModelSpec, ModelFacts | None, StopRequest], Pool]
"""Makes the pool of a run from its engine, the model, what the index knows of that model, and the request to stop."""


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
    make_pool: MakePool | None = None
    """What makes the pool, in place of the engine with its local children."""
    session: int | None = None
    """The number of the session that this is, None for a run that nobody asked a server for."""


def update_index(request: UpdateRequest, report: Report = lambda _: None, stop: StopRequest | None = None) -> Summary:
    """Bring the index up to date with the roots: scan, plan, embed, record, build. Return what was done.

    Everything embedded is stored batch by batch: whenever this ends, by an error or by SIGKILL, a later call goes on
    from there. Raises the errors of `image_index.errors`; pictures that fail are no error but counted.
    """
    stop, tally = stop or StopRequest(), Tally()
    with _writable_catalog(request, stop) as (catalog, run):
        spec = choose_model(catalog, request.model, quiet=request.quiet)
        run.begin()
        report = run.reporting(report)
        with closing(TowerExport(request.home, catalog)) as export:
            with _pool(request, spec, catalog, export, stop) as pool:
                with tally.seconds_of("scan"):
                    early = EarlyStart(pool.start, request.engine.enough_to_start(export.exported))
                    tally.plan = plan = plan_roots(catalog, request.survey, report, stop, early)
                with tally.seconds_of("store"):
                    record_plan(catalog, plan)
                if plan.embed_count:
                    report(Progress("load", 0, plan.embed_count))
                with closing(embed(catalog, pool, plan, request, export)) as batches:
                    for batch in batches:
                        tally.count(batch, pool)
                        with tally.seconds_of("store"):
                            catalog.record(batch, run.noting(tally.progress()))
                        report(tally.progress())
            # The children have ended: what follows may need the memory that they held.
            if not (plan.embed_count and pool.is_local) and not stop() and catalog.holds_pictures():
                tally.exported = export_alone(export, catalog, spec, request.engine, stop)
            # Asked now: the index is built whole, so that a time limit that passes meanwhile has stopped nothing.
            run.outcome = Outcome.STOPPED if stop() else Outcome.DONE
            note_roots(catalog, request, plan)
            # After each of many small batches nobody wants to read the whole of a large file for its checksum.
            is_thorough = tally.embedded > 0 and request.survey.changed is None
            with tally.seconds_of("index"):
                build_if_stale(catalog, request.home, report, thorough=is_thorough)
            run.summary = summary = tally.summary(stop.signal_number)
    return summary


def _pool(request: UpdateRequest, spec: ModelSpec, catalog: Catalog, export: TowerExport, stop: StopRequest) -> Pool:
    """Return the pool that the request asks for; it is not started yet."""
    if request.make_pool:
        return request.make_pool(request.engine, spec, catalog.read_model(), stop)
    return request.engine.pool(spec, stop, export.exported, quiet=request.quiet)


@contextmanager
def _writable_catalog(request: UpdateRequest, stop: StopRequest) -> Iterator[tuple[Catalog, Run]]:
    """Lock the index and open its catalog, with the row of this run; a new index needs a model that can be had."""
    # Else a mistyped --model would leave an empty index behind, and a search in it would find nothing (exit code 1)
    # where there is no index (exit code 4).
    home = request.home
    if not is_there(home.catalog):
        choose_model(None, request.model, quiet=request.quiet)
    home.create()
    with ExitStack() as stack:
        # A row ends before the lock is let go by which others see that its run is alive.
        if request.session is None:
            stack.enter_context(exclusive_lock(home.lock, request.wait_s, stop))
        else:
            stack.enter_context(exclusive_lock(home.session_lock))
        catalog = stack.enter_context(Catalog(home.catalog, write=True))
        run = stack.enter_context(Runs(catalog).recorded(stop, request.session))
        if request.session is not None:
            stack.enter_context(exclusive_lock(home.lock, request.wait_s, stop))
        yield catalog, run


@dataclass(slots=True)
class Tally:
    """Counts what a run does; at its end that is its summary."""

    plan: Plan = field(default_factory=Plan)
    embedded: int = 0
    failed: int = 0
    vanished: int = 0
    exported: bool = False
    machines: tuple[MachineShare, ...] = ()
    stages: StageSeconds = field(default_factory=StageSeconds)
    started: float = field(default_factory=time.monotonic)
    first: tuple[float, int] | None = None
    """When the first batch came back, and how many pictures it had."""

    @contextmanager
    def seconds_of(self, stage: str) -> Iterator[None]:
        """Count the seconds of a block for a stage, by its name in `StageSeconds`."""
        start = time.monotonic()
        yield
        self.stages += StageSeconds(**{stage: time.monotonic() - start})

    def count(self, batch: EmbeddedBatch, pool: Pool) -> None:
        """Count a batch from `pool` that has been recorded."""
        self.machines = pool.machines
        self.embedded += len(batch.images)
        self.failed += len(batch.failures)
        self.vanished += len(batch.vanished)
        self.stages += batch.seconds
        self.first = self.first or (time.monotonic(), self.done)

    @property
    def done(self) -> int:
        """Return how many of the planned pictures have been dealt with."""
        return self.embedded + self.failed + self.vanished

    def progress(self) -> Progress:
        """Return how far the embedding has come."""
        began, before = self.first or (0.0, 0)
        seconds = time.monotonic() - began
        rate = (self.done - before) / seconds if self.done > before and seconds else None
        return Progress("embed", self.done, self.plan.embed_count, self.failed, rate, self.stages, self.machines)

    def summary(self, stopped_by: int = 0) -> Summary:
        """Return what the run has done; `stopped_by` is the number of the signal that ended it, or 0."""
        plan = self.plan
        return Summary(
            planned=plan.embed_count,
            embedded=self.embedded,
            unchanged=plan.unchanged + len(plan.touched),
            moved=len(plan.moved) + len(plan.copied),
            missing=len(plan.missing),
            failed=self.failed,
            failed_before=plan.failed_before,
            kept=plan.kept,
            names=len(plan.names),
            vanished=self.vanished,
            not_on_disk=plan.not_on_disk,
            excluded={str(reason): count for reason, count in sorted(plan.excluded.items())},
            seconds=time.monotonic() - self.started,
            stages=self.stages,
            problems=tuple(plan.problems),
            stopped_by=stopped_by,
            exported=self.exported,
            machines=self.machines,
        )


def preview_update(request: UpdateRequest) -> Plan:
    """Return what `update_index` would do, without touching anything."""
    path = request.home.catalog
    with CatalogReader(path) if is_there(path) else nullcontext() as catalog:
        return plan_roots(catalog, request.survey, lambda _: None, StopRequest())


def record_plan(catalog: Catalog, plan: Plan) -> None:
    """Store what the plan settles without embedding anything."""
    if plan.names_gone:
        catalog.drop_names(plan.names_gone)
    if plan.missing:
        catalog.mark_missing(plan.missing)
    if plan.touched or plan.moved:
        catalog.move([*plan.touched, *plan.moved])
    if plan.names:  # after the moves: such a path may be one that an image has just left
        catalog.add_names(plan.names)
    if plan.renumbered:
        catalog.note_inodes(zip(plan.renumbered[::2], plan.renumbered[1::2], strict=True))
    if plan.copied:
        catalog.copy(plan.copied)
    if plan.failures_gone:
        catalog.drop_failures(plan.failures_gone)
    if plan.excluded:
        logger.info("%s; --no-default-excludes takes them", excluded_text(plan.excluded))
    for problem in plan.problems:
        logger.error("%s", problem_text(problem.path, problem.reason))


def embed(
    catalog: Catalog, pool: Pool, plan: Plan, request: UpdateRequest, export: TowerExport
) -> Generator[EmbeddedBatch]:
    """Yield what the children make of the plan's files, once their model is known to be the index's own.

    A child of this machine exports the towers, if they are missing. Where there is nothing to embed, none is started.
    """
    if not plan.embed_count:
        return
    is_checked = False
    batches = request.engine.batches(plan.files_to_embed)
    for result in pool.embed(export.among(batches) if pool.is_local else batches, plan.embed_count):
        # Before anything is stored: no index holds vectors of two models. But not before the first result: a run that
        # is stopped earlier leaves a new index that may still be trained with another model.
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
