"""A directory of files that hold a few letters, and a catalog that knows them: what a survey needs, without a model."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from image_index.catalog.catalog import Catalog
from image_index.paths import resolve
from image_index.records import EmbeddedBatch, ImageFile
from image_index.stop import StopRequest
from image_index.training.pipeline import record_plan
from image_index.training.plan import Plan
from image_index.training.survey import SurveyOptions, plan_roots
from tests.support.records import LONG_AGO_NS, embedded_image


@dataclass
class Scanned:
    """A directory of files, and a catalog."""

    root: Path
    catalog: Catalog

    def write(self, name: str, content: str) -> Path:
        """Write a file that was last changed long ago."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
        return path

    def file(self, name: str) -> ImageFile:
        """Return a file as a scan sees it."""
        return ImageFile.of(os.fsencode(self.root / name), (self.root / name).stat())

    def take_in(self, *names: str) -> None:
        """Record files as if they had been embedded; no name means all."""
        found = names or [str(path.relative_to(self.root)) for path in self.root.rglob("*.jpg")]
        self._record(self.file(name) for name in found)

    def update(self, *roots: str, **options: Any) -> Plan:
        """Update the catalog as a training does, with vectors that come from no model; return what was planned."""
        plan = self.plan(*roots, **options)
        record_plan(self.catalog, plan)
        self._record(plan.files_to_embed)
        return plan

    def _record(self, files: Iterable[ImageFile]) -> None:
        images = tuple(embedded_image(file, Path(os.fsdecode(file.path)).read_bytes()) for file in files)
        self.catalog.record(EmbeddedBatch(images, np.ones((len(images), 4), np.float32)))

    def plan(self, *roots: str, **options: Any) -> Plan:
        """Plan an update of roots; no name means the whole library."""
        survey = SurveyOptions(tuple(resolve(self.root / root) for root in roots or ("",)), **options)
        return plan_roots(self.catalog, survey, lambda _: None, StopRequest())

    def names(self, files: Any) -> list[str]:
        """Return the relative paths of files or rows."""
        return [os.path.relpath(os.fsdecode(file.path), self.root) for file in files]
