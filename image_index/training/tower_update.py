"""When a training run exports the towers of the index's model, and what becomes of it.

A child does it once the run has embedded for a minute, so that searches during a long run need no torch. In a shorter
run the last child does it, when the others have left and there is memory for it. Nothing that goes wrong with it costs
the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from time import monotonic

from image_index.catalog.catalog import Catalog
from image_index.catalog.query_memory import QueryMemory
from image_index.errors import ImgidxError, ModelUnavailable, StorageError
from image_index.files.atomic import draft_of, put_directory, remove
from image_index.models.names import ModelSpec, locate_weights
from image_index.models.tower_files import note_times, read_manifest, state, write_refusal
from image_index.records import Batch, DerivedState, ModelFacts
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.workers.engine import Engine
from image_index.workers.exported import ExportedModel
from image_index.workers.messages import Exported, ExportTowers, JobFailed

EXPORT_AFTER_S = 60.0
"""How long after the first batch a child is taken from the embedding, which costs some seconds of it, to export."""

logger = logging.getLogger(__name__)


class TowerExport:
    """One run's export of the towers; `jobs` is what a child has to do for it: one job, or none.

    `exported` is the image tower that is there and whole.
    """

    def __init__(self, home: IndexHome, catalog: Catalog) -> None:
        """Look whether the towers of the index's model are there and whole.

        Bit rot may have made damaged ones give wrong vectors: the texts that are remembered are then forgotten.
        """
        self._directory = home.towers
        self.draft = draft_of(self._directory)
        model = catalog.read_model()
        found, manifest = state(self._directory, model.fingerprint) if model else (DerivedState.ABSENT, None)
        if found is DerivedState.DAMAGED:
            QueryMemory(catalog).clear()
        if manifest:
            note_times(self._directory, manifest)
        self.jobs = () if manifest else (ExportTowers(str(self.draft)),)
        self.exported = ExportedModel.of(self._directory, model, manifest) if model else None

    def among(self, batches: Iterable[Batch]) -> Iterator[Batch | ExportTowers]:
        """Yield `batches`, and the export among them where they take long to embed, else behind them."""
        jobs, began = self.jobs, monotonic()
        for batch in batches:
            if jobs and monotonic() - began > EXPORT_AFTER_S:
                yield from jobs
                jobs = ()
            yield batch
        yield from jobs

    def settle(self, outcome: Exported | JobFailed, facts: ModelFacts, *, remember_loss: bool = False) -> None:
        """Put what a child has exported in its place, or remember why the model of `facts` has no towers.

        That a child died of the export is remembered only with `remember_loss`: else the next run tries again.
        """
        try:
            if isinstance(outcome, Exported):
                exported = read_manifest(self.draft)
                put_directory(self.draft, self._directory)
                _warn(exported.text_refusal if exported else "", exported.image_refusal if exported else "")
                return
            reason = outcome.reason
            _warn(reason, reason)
            # A child may be lost by chance, and a run that embeds has children anyway: the next one tries again. A run
            # that started a child for this alone would do so every time, so it remembers.
            if not outcome.by_system and (remember_loss or not outcome.lost):
                write_refusal(self._directory, facts.fingerprint, reason)
        except StorageError as error:
            logger.warning("The towers are not stored: %s", error)

    def close(self) -> None:
        """Remove what an export that did not end has written."""
        remove(self.draft)


def _warn(text_refusal: str, image_refusal: str) -> None:
    """Say what it costs that a tower cannot be exported."""
    if text_refusal:
        logger.warning("Searches by text will load torch, because the text tower cannot be exported: %s", text_refusal)
    if image_refusal:
        logger.warning("Every picture will need torch, because the image tower cannot be exported: %s", image_refusal)


def export_alone(export: TowerExport, catalog: Catalog, spec: ModelSpec, engine: Engine, stop: StopRequest) -> bool:
    """Export the towers where they are missing or damaged, in a run that has nothing to embed: by one child.

    Return whether a child was started. A model that is not on this machine is not fetched for it.
    """
    if not export.jobs or not _is_here(spec):
        return False
    try:
        with engine.alone().pool(spec, stop, quiet=True) as pool:
            outcome = pool.export_towers(str(export.draft))
            model = catalog.read_model()
            if outcome and model and pool.facts and pool.facts.fingerprint == model.fingerprint:
                export.settle(outcome, pool.facts, remember_loss=True)
    except ImgidxError as error:
        logger.warning("The towers are not exported: %s", error)
    return True


def _is_here(spec: ModelSpec) -> bool:
    """Tell whether a model is on this machine; say so where its directory is gone."""
    try:
        return locate_weights(spec) is not None
    except ModelUnavailable as error:
        logger.warning("The towers are not exported: %s", error)
        return False
