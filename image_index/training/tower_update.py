"""When a training run exports the text tower of the index's model, and what becomes of it.

A first child that is ready does it before its first batch, so that searches during a long run need no child of theirs.
Nothing that goes wrong with it costs the run.
"""

from __future__ import annotations

import logging

from image_index.errors import ImgidxError, StorageError
from image_index.files.atomic import draft_of, put_directory, remove
from image_index.models.names import ModelSpec, locate_weights
from image_index.models.tower_files import is_settled, write_refusal
from image_index.records import ModelFacts
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.workers.engine import Engine
from image_index.workers.messages import NO_TOWER, Errand, ExportText
from image_index.workers.pool import ChildPool

logger = logging.getLogger(__name__)


class TextExport:
    """One run's export to `text/`, if it needs one."""

    def __init__(self, home: IndexHome, model: ModelFacts | None) -> None:
        """Look whether the tower of `model` is there; None is the model of a new index."""
        self._directory = home.text
        self._draft = draft_of(self._directory)
        there = model is not None and is_settled(self._directory, model.fingerprint)
        self.errand = None if there else Errand(ExportText(str(self._draft)))

    def settle(self, facts: ModelFacts | None, *, remember_loss: bool = False) -> None:
        """Put what the child has exported in its place, as soon as it has.

        A model that cannot be exported is remembered; that a child died of it, only with `remember_loss`.
        """
        outcome = self.errand.outcome if self.errand else None
        if outcome is None or facts is None:
            return
        self.errand = None
        try:
            if outcome.refusal is None:
                put_directory(self._draft, self._directory)
                return
            level = logging.INFO if outcome.refusal == NO_TOWER else logging.WARNING
            logger.log(level, "Searches by text will load the whole model, for it has no export: %s", outcome.refusal)
            if not outcome.lost or remember_loss:
                write_refusal(self._directory, facts.fingerprint, outcome.refusal)
        except StorageError as error:
            logger.warning("The text tower is not stored: %s", error)

    def close(self) -> None:
        """Remove what an export that did not end has written."""
        remove(self._draft)


def export_alone(home: IndexHome, model: ModelFacts, spec: ModelSpec, engine: Engine, stop: StopRequest) -> bool:
    """Export the text tower where it is missing or damaged, in a run that has nothing to embed: by one child.

    Return whether a child was started. A model that is not on this machine is not fetched for it.
    """
    export = TextExport(home, model)
    try:
        if export.errand is None or locate_weights(spec) is None:
            return False
        with engine.alone().pool(spec, stop, quiet=True) as pool:
            pool.errand = export.errand
            _finish(pool)
            if pool.facts and pool.facts.fingerprint == model.fingerprint:
                export.settle(pool.facts, remember_loss=True)
    except ImgidxError as error:
        logger.warning("The text tower is not exported: %s", error)
    finally:
        export.close()
    return True


def _finish(pool: ChildPool) -> None:
    """Wait for the errand."""
    for _ in pool.embed(()):
        raise AssertionError("a batch that nobody gave came back")
