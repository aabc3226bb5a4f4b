"""One model on one device, and one setting of imgidx measured on it; the parts of `gpu.py`."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import REPOSITORY, python, run
from photos import generate, links

from image_index.workers.devices import default_batch_size, plan_slots

ARCHITECTURES = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "tiny")

NAIVE_PICTURES = 512
NAIVE_S = 6.0
"""The plain loop is slow: it gets so many pictures at most, and no more than the device computes in so many seconds."""

LEAST_STEADY = 0.25
"""Pictures a second count from when the last child is ready; from the first where fewer than this share came later."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting of imgidx; None leaves it to imgidx, and a cell of nothing but None is `auto`."""

    children: int | None = None
    threads: int | None = None
    batch: int | None = None
    precision: str | None = None

    def options(self) -> list[str]:
        """Return what `run_imgidx.py` takes for it."""
        names = ("--workers", "--decode-threads", "--batch-size", "--precision")
        values = (self.children, self.threads, self.batch, self.precision)
        given = [(name, str(value)) for name, value in zip(names, values, strict=True) if value is not None]
        return [part for pair in given for part in pair]


@dataclass(slots=True)
class Bench:
    """One model on a device: where it lies, what it can do at most, and the cells measured so far."""

    name: str
    directory: Path
    device: str
    ceiling: Record
    naive: Record
    decode_rate: float
    """Pictures a second that all cores decode, with nothing else to do."""
    start_s: float
    """How long a cell takes beside embedding, as far as seen."""
    cells: list[Record] = field(default_factory=list)

    @property
    def limit(self) -> float:
        """Pictures a second that forward passes and decoding, at the same time, allow."""
        return float(min(self.ceiling["best"]["pictures_per_second"], self.decode_rate))

    def explained(self, cell: Cell) -> Record:
        """Return the settings of a cell, those that imgidx chooses included."""
        slots = plan_slots(self.device, cell.children)
        return {
            "auto": cell == Cell(),
            "children": len(slots),
            "decode_threads": slots[0].decode_threads if cell.threads is None else cell.threads,
            "batch_size": cell.batch or default_batch_size(self.device),
            "precision": cell.precision or self.ceiling["auto_precision"],
        }


def run_script(name: str, *arguments: str) -> Record:
    """Run one script of this directory in a process of its own; return what it prints, and its seconds."""
    done = run(python(str(REPOSITORY / "benchmarks" / name), *arguments))
    return {"seconds": done.seconds, **json.loads(done.stdout)}


def prepare(name: str, sources: list[Path], decode_rate: float, arguments: argparse.Namespace) -> Bench:
    """Make a model, measure its ceilings and the plain loop, and start the index that every cell copies.

    That first run exports the text tower, once for all cells.
    """
    device = arguments.device
    directory = sources[0].parent.parent / name
    model = f"local-dir:{directory / 'model'}"
    given = ("--device", device, "--seconds", str(arguments.ceiling_seconds))
    ceiling = run_script("run_ceiling.py", name, str(directory / "model"), *given)
    ceiling["best"] = _fastest(ceiling["precisions"])
    computed = NAIVE_S * max(ceiling["precisions"]["fp32"]["pictures_per_second"].values())
    with links(sources, max(1, min(arguments.count, NAIVE_PICTURES, int(computed)))) as photos:
        naive = run_script("run_naive.py", str(photos), model, "--device", device)
    naive["pictures_per_second"] = round(naive["embedded"] / naive["embedding_seconds"], 1)
    photos = generate(directory / "first", 1, (64, 48))[0].parent  # as long as no other file, so that none is a copy
    options = ("--device", device, "--workers", "1")
    first = run_script("run_imgidx.py", str(photos), str(directory / "index"), model, *options)
    return Bench(name, directory, device, ceiling, naive, decode_rate, first["seconds"])


def measure(bench: Bench, cell: Cell, photos: Path, work_s: float) -> Record:
    """Return what came of one cell: `photos` go into a copy of the first index, and it ends early if it takes long."""
    model, index = f"local-dir:{bench.directory / 'model'}", bench.directory / "copy"
    shutil.copytree(bench.directory / "index", index)
    options = ("--device", bench.device, "--stop-after", str(2 * (bench.start_s + work_s)), *cell.options())
    started = time.monotonic()
    try:
        done = run_script("run_imgidx.py", str(photos), str(index), model, *options)
    except (RuntimeError, ValueError) as error:  # too many children for the memory, perhaps: that is a result
        return {**bench.explained(cell), "failed": str(error)}
    finally:
        shutil.rmtree(index)
    if not done["embedded"]:
        return {**bench.explained(cell), "failed": "nothing was embedded in time"}
    bench.start_s = max(bench.start_s, time.monotonic() - started - done["embedding_seconds"])
    return {**bench.explained(cell), **_figures(bench, done, bench.explained(cell)["decode_threads"])}


def bound_by(stages: Record, threads: int) -> str:
    """Return what kept the children: `forward`, `decode`, or `parent` where they had no work and nothing to decode."""
    prepared = stages["read"] + stages["decode"]
    forward, idle = stages["forward"], stages["idle"]
    if not threads:  # each picture is decoded when its turn has come, so that nothing of it is idle
        return max((forward, "forward"), (prepared, "decode"), (idle, "parent"))[1]
    if forward >= idle:
        return "forward"
    return "decode" if prepared / threads >= (forward + idle) / 2 else "parent"


def _figures(bench: Bench, done: Record, threads: int) -> Record:
    """Return what `run_imgidx.py` has measured as rates and ratios."""
    steady = done["steady"]
    if is_steady := steady["pictures"] >= LEAST_STEADY * done["embedded"] > 0:
        rate = steady["pictures"] / steady["seconds"]
    else:
        rate = done["embedded"] / done["embedding_seconds"]
    return {
        "steady": is_steady,
        "embedded": done["embedded"],
        "seconds": round(done["seconds"], 2),
        "pictures_per_second": round(rate, 1),
        "of_the_ceiling": round(rate / bench.ceiling["best"]["pictures_per_second"], 3),
        "of_the_limit": round(rate / bench.limit, 3),
        "ratio_to_naive": round(rate / bench.naive["pictures_per_second"], 2),
        "bound_by": bound_by(done["stage_seconds"], threads),
        "stage_seconds": {stage: round(seconds, 2) for stage, seconds in done["stage_seconds"].items()},
        "parent_peak_mb": round(done["parent_peak_bytes"] / 1e6),
    }


def _fastest(precisions: Record) -> Record:
    """Return the precision and batch size of most pictures a second."""
    rates = {
        (precision, int(size)): rate
        for precision, found in precisions.items()
        for size, rate in found["pictures_per_second"].items()
    }
    precision, size = max(rates, key=lambda place: rates[place])
    return {"precision": precision, "batch_size": size, "pictures_per_second": rates[precision, size]}
