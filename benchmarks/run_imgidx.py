"""One `update_index` of a directory into a new index; prints what it did as JSON. Run by `end_to_end.py`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from image_index.paths import resolve
from image_index.pipeline import UpdateRequest, update_index
from image_index.records import Progress
from image_index.settings import IndexHome
from image_index.survey import SurveyOptions

PRELOADED = "Embedding model preloaded successfully in worker process"


class FirstReady(logging.Handler):
    """Notes when the first child says that its model is loaded."""

    at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one log record."""
        if not self.at and record.getMessage() == PRELOADED:
            self.at = time.perf_counter()


class LastStored:
    """Notes when the last batch was stored."""

    at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Look at one progress record."""
        if progress.stage == "embed":
            self.at = time.perf_counter()


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("model")
    arguments = parser.parse_args()

    ready, stored = FirstReady(), LastStored()
    package_log = logging.getLogger("image_index")
    package_log.setLevel(logging.INFO)
    package_log.addHandler(ready)
    survey = SurveyOptions((resolve(arguments.photos),))
    summary = update_index(UpdateRequest(IndexHome(arguments.index), survey, arguments.model, quiet=True), stored)
    stages = summary.stages
    record = {
        "embedded": summary.embedded,
        "embedding_seconds": stored.at - ready.at,
        "stage_seconds": {"read": stages.read, "decode": stages.decode, "forward": stages.forward},
    }
    json.dump(record, sys.stdout)


if __name__ == "__main__":
    main()
