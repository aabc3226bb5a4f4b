"""What the stages alone allow: the forward pass and the decoding, each by itself on all cores; prints both as JSON.

As many processes as cores, with one thread each, do nothing but forward passes for a while, then nothing but decoding.
Run by `end_to_end.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from image_index.machine import core_count
from image_index.models.names import parse_model
from image_index.workers.devices import Precision, plan_slots

BATCH_SIZE = 32


def work(photos: Path, model: str, seconds: float, start_together: Callable[[], object]) -> tuple[float, float]:
    """Return the forward passes and the decodings a second of this process, in pictures."""
    from image_index.files.read import read_file
    from image_index.pictures.decode import decode
    from image_index.workers.encoder import load_encoder

    encoder = load_encoder(parse_model(model), "0" * 64, "cpu", Precision.AUTO)
    paths = sorted(os.fsencode(path) for path in photos.iterdir())
    height, width = encoder.facts.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, height, width, 3), dtype=np.uint8)
    source = cycle(paths)
    stages: tuple[Callable[[], object], ...] = (
        lambda: encoder.encode_images(pixels),
        lambda: [decode(read_file(next(source)), encoder.facts.preprocess) for _ in range(8)],
    )
    rates = []
    for stage, pictures in zip(stages, (BATCH_SIZE, 8), strict=True):
        stage()
        start_together()
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            stage()
            done += pictures
        rates.append(done / (time.perf_counter() - start))
    return rates[0], rates[1]


def run_process(photos: Path, model: str, seconds: float, barrier: object, results: object) -> None:
    """Work in a process of its own."""
    results.put(work(photos, model, seconds, barrier.wait))  # type: ignore[attr-defined]


def main() -> None:
    """Measure, and print pictures a second of all processes together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each of the two stages (default: 8)")
    arguments = parser.parse_args()
    os.environ.update(plan_slots("cpu", core_count())[0].environment())
    context = get_context("spawn")
    barrier, results = context.Barrier(core_count()), context.Queue()
    given = (arguments.photos, arguments.model, arguments.seconds, barrier, results)
    processes = [context.Process(target=run_process, args=given) for _ in range(core_count())]
    for process in processes:
        process.start()
    rates = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    forward, decoding = (sum(rate[stage] for rate in rates) for stage in (0, 1))
    limit = 1 / (1 / forward + 1 / decoding)
    json.dump({"forward_per_second": forward, "decode_per_second": decoding, "pictures_per_second": limit}, sys.stdout)


if __name__ == "__main__":
    main()
