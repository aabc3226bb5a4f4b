"""Decoding alone: as many processes as cores read and decode for a while; prints pictures a second as JSON.

Run by `gpu.py`. What a GPU computes is no use where the cores cannot feed it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

from image_index.files.read import read_file
from image_index.machine import core_count
from image_index.pictures.decode import decode
from image_index.records import Preprocess


def decode_for(seconds: float, size: int, paths: list[bytes]) -> float:
    """Return the pictures a second that this process reads and decodes to `size` pixels square."""
    preprocess = Preprocess((size, size), (0, 0, 0), (1, 1, 1))
    start, done = time.perf_counter(), 0
    for path in cycle(paths):
        decode(read_file(path), preprocess)
        done += 1
        if time.perf_counter() - start >= seconds:
            break
    return done / (time.perf_counter() - start)


def main() -> None:
    """Measure, and print pictures a second of all cores together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, default=224, help="what the model takes (default: 224)")
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    paths = sorted(os.fsencode(path) for path in arguments.photos.iterdir())
    measure = partial(decode_for, arguments.seconds, arguments.size)
    with get_context("spawn").Pool(core_count()) as pool:
        rates = pool.map(measure, [paths[place:] + paths[:place] for place in range(core_count())], chunksize=1)
    json.dump({"decode_per_second": sum(rates)}, sys.stdout)


if __name__ == "__main__":
    main()
