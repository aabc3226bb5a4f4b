"""One `update_index` into a new index; prints when each step of its start was reached. Run by `start.py`."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

from image_index.paths import resolve
from image_index.records import Progress
from image_index.settings import IndexHome
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.survey import SurveyOptions

SAID = {
    "Preloading embedding model in worker process": "first child up",
    "Embedding model preloaded successfully in worker process": "first model loaded",
}
REPORTED = {"load": "scan done", "embed": "first batch stored"}


class Timeline(logging.Handler):
    """Notes in seconds after `start`, a time of the system's clock, when a step was reached first."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start
        self.reached: dict[str, float] = {}

    def note(self, step: str | None) -> None:
        """Note a step."""
        if step is not None:
            self.reached.setdefault(step, time.time() - self.start)

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one log record."""
        self.note(SAID.get(record.getMessage()))

    def report(self, progress: Progress) -> None:
        """Look at one progress record."""
        self.note(REPORTED.get(progress.stage))


def main() -> None:
    """Train once: START (seconds since 1970), PHOTOS, INDEX, MODEL."""
    start, photos, index, model = sys.argv[1:]
    timeline = Timeline(float(start))
    timeline.note("parent's imports done")
    package_log = logging.getLogger("image_index")
    package_log.setLevel(logging.INFO)
    package_log.addHandler(timeline)
    survey = SurveyOptions((resolve(Path(photos)),))
    update_index(UpdateRequest(IndexHome(Path(index)), survey, model, quiet=True), timeline.report)
    json.dump(timeline.reached, sys.stdout)


if __name__ == "__main__":
    main()
