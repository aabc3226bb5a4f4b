"""When a training run exports the text tower of the index's model, and what becomes of it.

The first child that is ready does it before its first batch, so that searches during a long run need no child of their
own. Nothing that goes wrong with it costs the run.
"""

from __future__ import annotations

import logging
from contextlib import closing

from image_index.catalog.catalog import Catalog
from image_index.catalog.query_memory import QueryMemory
from image_index.errors import ImgidxError, StorageError
from image_index.files.atomic import draft_of, put_directory, remove
from image_index.models.names import ModelSpec, locate_weights
from image_index.models.tower_files import state, write_refusal
from image_index.records import DerivedState, ModelFacts
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.workers.engine import Engine
from image_index.workers.messages import Exported, ExportText, JobFailed

logger = logging.getLogger(__name__)


class TowerExport:
    """One run's export of the text tower; `jobs` is what a child has to do for it: one job, or none."""

    def __init__(self, home: IndexHome, catalog: Catalog) -> None:
        """Look whether the tower of the index's model is there and whole.

        Bit rot may have made a damaged one give wrong vectors: the texts that are remembered are then forgotten.
        """
        self._directory = home.text
        self.draft = draft_of(self._directory)
        model = catalog.read_model()
        found = state(self._directory, model.fingerprint)[0] if model else DerivedState.ABSENT
        if found is DerivedState.DAMAGED:
            QueryMemory(catalog).clear()
        is_settled = found in {DerivedState.CURRENT, DerivedState.REFUSED}
        self.jobs = () if is_settled else (ExportText(str(self.draft)),)

    def settle(self, outcome: Exported | JobFailed, facts: ModelFacts, *, remember_loss: bool = False) -> None:
        """Put the tower that a child has exported in its place, or remember why the model of `facts` has none.

        That a child died of the export is remembered only with `remember_loss`: else the next run tries again.
        """
        try:
            if isinstance(outcome, Exported):
                put_directory(self.draft, self._directory)
                return
            reason = outcome.reason
            logger.warning(
                "Searches by text will load the whole model, because its text tower cannot be exported: %s", reason
            )
            # A child may be lost by chance, and a run that embeds has children anyway: the next one tries again. A run
            # that started a child for this alone would do so every time, so it remembers.
            if remember_loss or not outcome.lost:
                write_refusal(self._directory, facts.fingerprint, reason)
        except StorageError as error:
            logger.warning("The text tower is not stored: %s", error)

    def close(self) -> None:
        """Remove what an export that did not end has written."""
        remove(self.draft)


def export_alone(home: IndexHome, catalog: Catalog, spec: ModelSpec, engine: Engine, stop: StopRequest) -> bool:
    """Export the text tower where it is missing or damaged, in a run that has nothing to embed: by one child.

    Return whether a child was started. A model that is not on this machine is not fetched for it.
    """
    try:
        with closing(TowerExport(home, catalog)) as export, engine.alone().pool(spec, stop, quiet=True) as pool:
            if not export.jobs or locate_weights(spec) is None:
                return False
            outcome = pool.export_text(str(export.draft))
            model = catalog.read_model()
            if outcome and model and pool.facts and pool.facts.fingerprint == model.fingerprint:
                export.settle(outcome, pool.facts, remember_loss=True)
    except ImgidxError as error:
        logger.warning("The text tower is not exported: %s", error)
    return True
