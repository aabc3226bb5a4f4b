"""One `update_index` of a directory into a new index; prints what it did as JSON. Run by other benchmarks."""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from pathlib import Path

from image_index.paths import resolve
from image_index.records import Progress
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.survey import SurveyOptions
from image_index.workers.devices import Precision
from image_index.workers.engine import Engine

PRELOADED = "Embedding model preloaded successfully in worker process"


class FirstReady(logging.Handler):
    """Notes when the first child says that its model is loaded, and when the latest one does."""

    at = latest = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one log record."""
        if record.getMessage() == PRELOADED:
            self.latest = time.perf_counter()
            self.at = self.at or self.latest


class LastStored:
    """Notes when each batch was stored, and how many pictures that made; `at` is when the last one was."""

    at = 0.0

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []

    def __call__(self, progress: Progress) -> None:
        """Look at one progress record."""
        if progress.stage == "embed":
            self.at = time.perf_counter()
            self.marks.append((self.at, progress.done))

    def steady(self, since: float) -> dict[str, float]:
        """Return pictures and seconds from the first batch stored after `since` to the last."""
        marks = [mark for mark in self.marks if mark[0] >= since] or [(0.0, 0)]
        return {"pictures": marks[-1][1] - marks[0][1], "seconds": marks[-1][0] - marks[0][0]}


def peak_bytes() -> int:
    """Return the most memory that this process, which holds no model, has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--decode-threads", type=int)
    parser.add_argument("--precision", type=Precision, default=Precision.AUTO)
    parser.add_argument("--stop-after", type=float, help="seconds after which it ends early")
    return parser.parse_args()


def main() -> None:
    """Train once."""
    arguments = parse_arguments()
    deadline = time.monotonic() + arguments.stop_after if arguments.stop_after else None
    ready, stored = FirstReady(), LastStored()
    package_log = logging.getLogger("image_index")
    package_log.setLevel(logging.INFO)
    package_log.addHandler(ready)
    survey = SurveyOptions((resolve(arguments.photos),))
    engine = Engine(
        device=arguments.device,
        workers=arguments.workers,
        batch_size=arguments.batch_size,
        decode_threads=arguments.decode_threads,
        precision=arguments.precision,
    )
    request = UpdateRequest(IndexHome(arguments.index), survey, arguments.model, engine, quiet=True)
    summary = update_index(request, stored, StopRequest(deadline=deadline))
    stages = summary.stages
    record = {
        "embedded": summary.embedded,
        "embedding_seconds": stored.at - ready.at,
        "steady": stored.steady(ready.latest),
        "stage_seconds": {
            "read": stages.read,
            "decode": stages.decode,
            "forward": stages.forward,
            "idle": stages.idle,
        },
        "parent_peak_bytes": peak_bytes(),
    }
    json.dump(record, sys.stdout)


if __name__ == "__main__":
    main()
