"""imgidx beside rclip: the same jobs as whole commands, in turns, with the memory of all processes of each.

    python benchmarks/peer.py --photos DIRECTORY --weights DIRECTORY [--rclip COMMAND] [--count 1000] [--repeat 3]

rclip has to be installed and to have run once: `--weights` is its data directory, `~/.local/share/rclip` on Linux. Each
repetition gets a new one with links to the weights; the index that is there is not touched. The default of `--model` is
the network of rclip 3 and 4, and has to be there too. rclip cannot index without searching, so where pictures are new,
our side is a training and a search behind it. Each job is done by one side, then by the other, and the next time the
other way round; the medians count. Prints a table on stderr and JSON on stdout; a ratio above 1 is in favour of imgidx.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from measure import child_environment, family, imgidx, machine, pss_bytes
from photos import copies

from image_index import __version__

MODEL = "ViT-B-32-256/datacomp_s34b_b86k"
NEW = 10
TOP = 5
SAMPLE_S = 0.1
"""Between two looks at the memory. A look takes a millisecond for each process, of both sides alike."""

SIDES = ("imgidx", "rclip")


@dataclass(slots=True)
class Cost:
    """What commands took: wall seconds, and the most memory that a command and its children had at once, in bytes.

    The memory is the sum of the proportional set sizes, in which a page that several processes share counts once; None
    where the system does not tell it.
    """

    seconds: float
    peak_bytes: int | None

    def __add__(self, other: Cost) -> Cost:
        """Return what both took, one after the other."""
        peaks = [cost.peak_bytes for cost in (self, other) if cost.peak_bytes is not None]
        return Cost(self.seconds + other.seconds, max(peaks, default=None))


def run(command: list[str], directory: Path, **environment: str) -> tuple[Cost, list[str]]:
    """Run a command in a directory; return what it cost, and the lines that it printed.

    Raises `RuntimeError`, with what it wrote on stderr, if it fails.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        start, peak = time.perf_counter(), None
        process = subprocess.Popen(
            command, cwd=directory, env={**child_environment(), **environment}, stdout=output, stderr=complaints
        )
        while process.poll() is None:
            peak = max(filter(None, (peak, _memory(process.pid))), default=None)
            try:
                process.wait(SAMPLE_S)
            except subprocess.TimeoutExpired:
                continue
        seconds = time.perf_counter() - start
        for file in (output, complaints):
            file.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} ended with exit code {process.returncode}: {complaints.read()[-2000:]!r}")
        return Cost(seconds, peak), output.read().decode(errors="surrogateescape").splitlines()


def _memory(pid: int) -> int | None:
    """Return the memory of a process and its descendants in bytes, None where the system does not tell it."""
    return sum(pss_bytes(member) for member in family(pid)) or None


@dataclass(slots=True)
class Round:
    """One repetition: a library of pictures, and what each side makes of it in `scratch`."""

    arguments: argparse.Namespace
    library: Path
    scratch: Path
    spare: list[Path]
    costs: dict[str, dict[str, Cost]] = field(default_factory=lambda: defaultdict(dict))

    def play(self, number: int) -> None:
        """Do every job with both sides; which one begins depends on `number`."""
        self._link_weights()
        self._hide_transformers()
        text = f"a photo of number {number}, which nobody has asked for"
        for job, new_pictures, query in (
            ("first training, and a text", 0, text),
            ("ten new pictures, and a text", NEW, f"{text} yet"),
            ("a new text", None, f"{text} ever"),
            ("a picture that is not in the index", None, str(self.spare[-1])),
        ):
            for place in range(new_pictures or 0):
                self.spare[place].rename(self.library / f"new-{place}{self.spare[place].suffix}")
            for side in SIDES if number % 2 == 0 else reversed(SIDES):
                work = self._imgidx if side == "imgidx" else self._rclip
                self.costs[job][side] = work(query, is_new=new_pictures is not None)

    def _imgidx(self, query: str, *, is_new: bool) -> Cost:
        """Do a job with imgidx."""
        index = ["--index", str(self.scratch / "index")]
        cost = Cost(0.0, None)
        if is_new:
            model = ["--model", self.arguments.model]
            cost, _ = run(imgidx("train", str(self.library), "--quiet", *model, *index), self.scratch)
        wanted = ["--image", query] if Path(query).is_file() else [query]
        searched, hits = run(imgidx("search", *wanted, "--paths", "--top", str(TOP), *index), self.scratch)
        return cost + self._checked(searched, hits)

    def _rclip(self, query: str, *, is_new: bool) -> Cost:
        """Do a job with rclip, which searches in the directory where it is started."""
        options = ["--filepath-only", "--top", str(TOP), *([] if is_new else ["--no-indexing"])]
        environment = {"RCLIP_DATADIR": str(self.scratch / "rclip"), "PYTHONPATH": str(self.scratch / "hidden")}
        return self._checked(*run([self.arguments.rclip, *options, query], self.library, **environment))

    def _hide_transformers(self) -> None:
        """Make a package of that name that cannot be imported, which rclip finds first.

        It needs none, and installs none; where our tests have it, open_clip would import it for 0.9 s.
        """
        hidden = self.scratch / "hidden"
        hidden.mkdir()
        (hidden / "transformers.py").write_text("raise ImportError\n")

    def _link_weights(self) -> None:
        """Make a data directory of rclip with the weights and without an index."""
        directory = self.scratch / "rclip"
        directory.mkdir()
        for path in self.arguments.weights.resolve().iterdir():
            if not path.name.startswith("db.sqlite3"):
                (directory / path.name).symlink_to(path)

    @staticmethod
    def _checked(cost: Cost, hits: list[str]) -> Cost:
        """Return the cost of a search that found as many pictures as it was asked for."""
        if len(hits) != TOP:
            raise RuntimeError(f"{len(hits)} hits instead of {TOP}: {hits}")
        return cost


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, list[Cost]]]:
    """Return the costs of each job and side, one for each repetition."""
    costs: dict[str, dict[str, list[Cost]]] = defaultdict(lambda: defaultdict(list))
    for number in range(arguments.repeat):
        with (
            copies(arguments.photos, arguments.count + NEW + 1, mosaics=arguments.mosaics) as photos,
            tempfile.TemporaryDirectory() as scratch,
        ):
            spare = Path(scratch) / "spare"
            spare.mkdir()
            for place, path in enumerate(sorted(photos.iterdir())):
                with path.open("ab") as file:  # rclip embeds equal files once; no decoder reads past the end
                    file.write(b"%d" % place)
                if place >= arguments.count:
                    path.rename(spare / path.name)
            one = Round(arguments, photos, Path(scratch), sorted(spare.iterdir()))
            one.play(number)
        for job, sides in one.costs.items():
            for side, cost in sides.items():
                costs[job][side].append(cost)
    return costs


def summary(costs: dict[str, list[Cost]]) -> dict[str, Any]:
    """Return the medians of a job's two sides, and rclip's over ours."""
    seconds = {side: median(cost.seconds for cost in costs[side]) for side in SIDES}
    peaks = {side: [cost.peak_bytes for cost in costs[side] if cost.peak_bytes] for side in SIDES}
    peak = {side: median(each) if each else None for side, each in peaks.items()}
    return {
        "seconds": {side: round(value, 3) for side, value in seconds.items()},
        "ratio": round(seconds["rclip"] / seconds["imgidx"], 3),
        "peak_mb": {side: round(value / 1e6) if value else None for side, value in peak.items()},
        "memory_ratio": round(peak["rclip"] / peak["imgidx"], 3) if peak["rclip"] and peak["imgidx"] else None,
    }


def table(record: dict[str, Any]) -> str:
    """Return the record for people."""
    lines = [
        f"{record['model']} against rclip {record['rclip']}, {record['pictures']} pictures, {record['machine']}",
        f"{'':36}{'imgidx':>10}{'rclip':>10}{'ratio':>8}{'MB':>8}{'MB':>8}",
    ]
    for job, figures in record["jobs"].items():
        ours, theirs = (figures["seconds"][side] for side in SIDES)
        peaks = "".join(f"{figures['peak_mb'][side] or '-':>8}" for side in SIDES)
        lines.append(f"{job:36}{ours:8.2f} s{theirs:8.2f} s{figures['ratio']:8.2f}{peaks}")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="the same jobs with imgidx and with rclip, in turns")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--weights", type=Path, required=True, help="rclip's data directory, with its weights")
    parser.add_argument("--rclip", default="rclip", help="the command (default: rclip, on PATH)")
    parser.add_argument("--model", default=MODEL, help=f"as for imgidx train (default: {MODEL}, as rclip has it)")
    parser.add_argument("--count", type=int, default=1000, help="pictures of the first training (default: 1000)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--mosaics", action="store_true", help="pictures of twelve megapixels")
    arguments = parser.parse_args()
    _, version = run([arguments.rclip, "--version"], Path.cwd())
    record = {
        "version": __version__,
        "rclip": version[-1].split()[-1],
        "machine": machine(),
        "model": arguments.model,
        "pictures": arguments.count,
        "jobs": {job: summary(costs) for job, costs in measure(arguments).items()},
    }
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
