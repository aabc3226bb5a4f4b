"""Does imgidx keep its promises on the accelerator of this machine? Whole processes, real kills, a few seconds each.

    python benchmarks/device_check.py --photos DIR [--device cuda] [--count 4000]

Trains pictures with the bundled model on the device and on the CPU and compares the vectors; then kills children and
whole runs, interrupts one, takes the device's memory away, and searches. Prints one JSON line for each check, and
leaves with 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from measure import child_environment, imgidx, python
from photos import links, pictures_in
from PIL import Image

from image_index import Index
from image_index.errors import ImgidxError

SMALLEST_MB = (100, 700)
"""How much of a GPU's memory other programs leave: too little for torch itself, and little for a batch."""

LEAST_MEAN_COSINE = {"auto": 0.995, "fp32": 0.999}
"""What `auto` (bfloat16) and float32 have to reach, as the tests ask of a CPU; a GPU may convolve in TF32."""

LEAST_COPY = 0.95
"""The score of a picture for its smaller copy."""

HOLD_MEMORY = """
import sys, time, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(free - (int(sys.argv[1]) << 20), dtype=torch.uint8, device="cuda")
print("held", flush=True)
time.sleep(600)
"""

Record = dict[str, Any]


@dataclass
class Bench:
    """The device, a directory of pictures, and one for the indexes."""

    device: str
    photos: Path
    scratch: Path
    count: int
    runs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, name: str, options: tuple[str, ...]) -> list[str]:
        """Return the command that trains the pictures into the index `name`."""
        given = ("--model", "starter", "--index", str(self.scratch / name), "--json", "--verbose")
        return imgidx("train", str(self.photos), *given, *options)

    def train(self, name: str, *options: str) -> Record:
        """Train to the end."""
        run = self.begin(name, *options)
        return self.end(run, name)

    def begin(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Begin to train, in a process group of its own."""
        with (self.scratch / f"{name}.out").open("wb") as out, (self.scratch / f"{name}.log").open("wb") as log:
            command = self.command(name, options)
            run = subprocess.Popen(command, env=child_environment(), stdout=out, stderr=log, start_new_session=True)
        self.runs.append(run)
        return run

    def end(self, run: subprocess.Popen[bytes], name: str) -> Record:
        """Wait for a run; return its exit code, what is in the index, and what the log says of devices and losses."""
        code = run.wait(300)
        log = (self.scratch / f"{name}.log").read_text(errors="replace")
        lines = (self.scratch / f"{name}.out").read_text().splitlines()
        summary = json.loads(lines[-1]) if lines else {}
        words = (
            r"(?i)loading openclip.*|.*not using.*|.*lost a child.*|.*at once from.*|.*computes no more.*|.*imgidx: .*"
        )
        if code not in {0, 8, 130, -signal.SIGKILL}:
            sys.exit(f"a run ended with exit code {code}: {log}")
        said = [line[:200] for line in re.findall(words, log)]
        kept = {key: summary.get(key) for key in ("embedded", "failed", "seconds", "pictures_per_second")}
        return {"exit": code, **kept, "stored": self.stored(name), "log": list(dict.fromkeys(said))[:8]}

    def stored(self, name: str) -> int:
        """Return how many pictures the index `name` holds now."""
        try:
            with Index.open(self.scratch / name) as index:
                return len(index)
        except ImgidxError:  # not there yet
            return 0

    def wait_for(self, name: str, least: int, run: subprocess.Popen[bytes]) -> None:
        """Wait until the index holds at least so many pictures, or the run has ended."""
        while run.poll() is None and self.stored(name) < least:
            time.sleep(0.05)

    def vectors(self, name: str) -> dict[bytes, np.ndarray]:
        """Return the vectors of the index `name` by path."""
        with Index.open(self.scratch / name) as index:
            images, vectors = index.vectors()
        return {image.path: vector for image, vector in zip(images, vectors, strict=True)}


def children_of(run: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes of a run's group beside itself."""
    found = subprocess.run(["ps", "-eo", "pid,pgid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in found.splitlines()[1:]]
    own = [int(row[0]) for row in rows if row[1] == str(run.pid) and "spawn_main" in row[2]]
    return [pid for pid in own if pid != run.pid]


def gpu_processes() -> list[int]:
    """Return the processes that hold memory of a GPU, as the driver lists them."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
    return [int(pid) for pid in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()]


def agreement(bench: Bench) -> Iterator[Record]:
    """Train on the device and on the CPU: the vectors agree, and a second run finds nothing to do."""
    bench.train("warm", "--device", bench.device)  # the first start reads torch from the disk
    reference = bench.train("cpu", "--device", "cpu", "--precision", "fp32")
    expected = bench.vectors("cpu")
    for precision in ("auto", "fp32"):
        name = f"device-{precision}"
        done = bench.train(name, "--device", bench.device, "--precision", precision)
        found = bench.vectors(name)
        cosines = np.array([found[path] @ vector for path, vector in expected.items()])
        is_right = done["exit"] == 0 and len(found) == bench.count and cosines.mean() >= LEAST_MEAN_COSINE[precision]
        figures = {"cosine_mean": round(float(cosines.mean()), 5), "cosine_least": round(float(cosines.min()), 5)}
        yield {"check": f"agrees with the CPU, {precision}", "ok": bool(is_right), **figures, **done}
    again = bench.train("device-auto", "--device", bench.device)
    is_right = again["exit"] == 0 and again["embedded"] == 0
    yield {"check": "a second run embeds nothing", "ok": is_right, "cpu_seconds": reference["seconds"], **again}


def kills(bench: Bench) -> Iterator[Record]:
    """Kill a child, the whole run, and interrupt one: nothing stored is lost, nothing embedded twice, no orphan."""
    run = bench.begin("child", "--device", bench.device)
    killed = 0
    for share in (0.1, 0.4):
        bench.wait_for("child", int(share * bench.count), run)
        for pid in children_of(run)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    done = bench.end(run, "child")
    is_right = done["exit"] == 0 and done["stored"] == bench.count and killed > 0
    yield {"check": "children killed", "ok": is_right, "killed": killed, **done}
    for check, number, expected in (("run killed", signal.SIGKILL, -9), ("run interrupted", signal.SIGINT, 130)):
        name = check.replace(" ", "-")
        run = bench.begin(name, "--device", bench.device)
        bench.wait_for(name, bench.count // 5, run)
        run.send_signal(number)
        first = bench.end(run, name)
        time.sleep(2)
        left, on_gpu = children_of(run), gpu_processes()
        second = bench.train(name, "--device", bench.device)
        is_whole = second["exit"] == 0 and second["stored"] == bench.count
        is_right = first["exit"] == expected and not left and is_whole
        is_right = is_right and second["embedded"] == bench.count - first["stored"]
        yield {"check": check, "ok": is_right, "orphans": left, "on_gpu": on_gpu, "first": first, "second": second}


def short_of_memory(bench: Bench) -> Iterator[Record]:
    """Train while another program holds nearly all memory of the GPU: slower, or an error, and no picture blamed."""
    if not bench.device.startswith("cuda"):
        return
    for left_mb in SMALLEST_MB:
        holder = subprocess.Popen(python("-c", HOLD_MEMORY, str(left_mb)), stdout=subprocess.PIPE)
        try:
            assert holder.stdout
            holder.stdout.readline()
            name = f"short-{left_mb}"
            done = bench.train(name, "--device", bench.device, "--time-limit", "60s", "--batch-size", "512")
        finally:
            holder.kill()
            holder.wait()
        is_right = done["exit"] in {0, 8} and not done["failed"]
        yield {"check": f"{left_mb} MB of memory left", "ok": is_right, **done}


def searches(bench: Bench) -> Iterator[Record]:
    """Search by a smaller copy of a picture, on the device: the picture comes first."""
    picture, first = bench.scratch / "query.jpg", next(bench.photos.iterdir())
    Image.open(first).convert("RGB").reduce(2).save(picture, quality=95)
    asked = imgidx("search", "--image", str(picture), "--json", "-n", "1", "--device", bench.device)
    asked += ["--index", str(bench.scratch / "device-auto")]
    start = time.monotonic()
    done = subprocess.run(asked, env=child_environment(), capture_output=True, text=True, check=False)
    hit = json.loads(done.stdout.splitlines()[0]) if done.stdout else {}
    seconds = round(time.monotonic() - start, 2)
    is_right = done.returncode == 0 and hit.get("score", 0) > LEAST_COPY
    yield {"check": "search by a picture", "ok": is_right, "seconds": seconds, "score": hit.get("score")}


def main() -> None:
    """Run the checks."""
    parser = argparse.ArgumentParser(description="the promises of imgidx on an accelerator")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of photos, taken over and over")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, mps or cpu (default: cuda)")
    parser.add_argument("--count", type=int, default=4000, help="pictures (default: 4000)")
    arguments = parser.parse_args()
    has_failed = False
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        with links(pictures_in(arguments.photos), arguments.count) as photos:
            bench = Bench(arguments.device, photos, scratch, arguments.count)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
            try:
                for record in chain(agreement(bench), searches(bench), kills(bench), short_of_memory(bench)):
                    print(json.dumps(record), flush=True)
                    has_failed |= not record["ok"]
            finally:
                for run in bench.runs:
                    run.terminate()
    sys.exit(int(has_failed))


if __name__ == "__main__":
    main()
