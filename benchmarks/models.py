"""What models cost beside the default one, each with random weights, which take as long as trained ones.

    python benchmarks/models.py --photos DIRECTORY [--models ViT-B-32-SigLIP2-256 ...] [--count 32] [--repeat 3]

For each architecture of open_clip: pictures a second of forward passes alone, on all cores, in turns with the default
model; the memory of a first training, all processes together; the seconds of a search by a new text
as a whole command; the size of the weights and of a picture's vector. Prints a table on stderr and JSON on stdout.

A tokenizer of SigLIP's kind is no part of it: these models get CLIP's, whose words their larger vocabulary has room
for, so that nothing has to be fetched.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import open_clip
import torch
from measure import REPOSITORY, imgidx, machine, python
from peer import run
from photos import copies
from safetensors.torch import save_file

from image_index import __version__
from image_index.models.names import CONFIG

Result = dict[str, Any]

REFERENCE = "ViT-B-32"
TINY: Result = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
TOKENIZER_KEYS = ("hf_tokenizer_name", "tokenizer_kwargs")


class Candidate:
    """A model with random weights, an index of it, and what it was seen to cost."""

    def __init__(self, architecture: str, scratch: Path, photos: Path) -> None:
        """Write the model, and train an index of `photos`, which also exports the towers."""
        self._directory, self._index, self._photos = scratch / architecture, scratch / f"{architecture}-index", photos
        self._numbers = count()
        self.rates: list[float] = []
        self.search_seconds: list[float] = []
        config = make_model(architecture, self._directory)
        weights = (self._directory / "open_clip_model.safetensors").stat().st_size
        self.facts: Result = {"weights_mb": round(weights / 1e6), "vector_bytes": config["embed_dim"] * 2}
        options = ["--model", self._model, "--index", str(self._index), "--quiet"]
        cost, _ = run(imgidx("train", str(photos), *options), self._directory)
        self.facts["training_mb"] = cost.peak_bytes and round(cost.peak_bytes / 1e6)
        self._search()  # reads the files of the towers from the disk

    def measure(self, seconds: float) -> None:
        """Measure what is measured in turns with the others."""
        script = [str(REPOSITORY / "benchmarks" / "run_limit.py"), str(self._photos), self._model]
        _, lines = run(python(*script, "--seconds", str(seconds)), self._directory)
        self.rates.append(json.loads(lines[-1])["forward_per_second"])
        self.search_seconds.append(self._search())

    @property
    def _model(self) -> str:
        return f"local-dir:{self._directory}"

    def _search(self) -> float:
        """Search by a text that is new; return the seconds."""
        text = f"a photo of number {next(self._numbers)}"
        cost, _ = run(imgidx("search", text, "--index", str(self._index), "--paths"), self._directory)
        return cost.seconds


def make_model(architecture: str, directory: Path) -> Result:
    """Write a model with random weights and CLIP's tokenizer into a new directory; return its configuration."""
    shape: Result = TINY if architecture == "tiny" else open_clip.get_model_config(architecture)
    text = {key: value for key, value in shape["text_cfg"].items() if key not in TOKENIZER_KEYS}
    config = {**shape, "text_cfg": text}
    towers = {key: value for key, value in config.items() if key != "custom_text"}
    torch.manual_seed(0)
    model = (open_clip.CustomTextCLIP if "custom_text" in config else open_clip.CLIP)(**towers)
    directory.mkdir(parents=True)
    save_file(model.state_dict(), directory / "open_clip_model.safetensors")
    preprocess = open_clip.get_model_preprocess_cfg(model)
    (directory / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}), encoding="utf-8")
    return config


def compare(arguments: argparse.Namespace) -> Result:
    """Measure the reference and every candidate, in turns; return what each cost and its rate beside the reference."""
    names = list(dict.fromkeys([arguments.reference, *arguments.models]))
    with copies(arguments.photos, arguments.count) as photos, tempfile.TemporaryDirectory() as scratch:
        candidates = {name: Candidate(name, Path(scratch), photos) for name in names}
        for _ in range(arguments.repeat):
            for candidate in candidates.values():
                candidate.measure(arguments.seconds)
    reference = median(candidates[names[0]].rates)
    return {name: _record(candidate, reference) for name, candidate in candidates.items()}


def _record(candidate: Candidate, reference: float) -> Result:
    rate = median(candidate.rates)
    return {
        **candidate.facts,
        "pictures_per_second": round(rate, 1),
        "ratio": round(rate / reference, 3),
        "search_seconds": round(median(candidate.search_seconds), 2),
    }


def table(record: Result) -> str:
    """Return the record for people."""
    lines = [f"{record['machine']}, median of {record['repeat']}"]
    lines.append(f"{'':24}{'pict/s':>8}{'ratio':>7}{'search':>8}{'MB':>7}{'memory':>8}{'vector':>8}")
    for name, cost in record["models"].items():
        rates = f"{cost['pictures_per_second']:8.1f}{cost['ratio']:7.2f}{cost['search_seconds']:8.2f}"
        sizes = f"{cost['weights_mb']:7}{cost['training_mb'] or '':8}{cost['vector_bytes']:8}"
        lines.append(f"{name:24}{rates}{sizes}")
    return "\n".join(lines)


def main() -> None:
    """Compare, and print what came of it."""
    parser = argparse.ArgumentParser(description="what models cost beside the default one")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--models", nargs="+", default=["ViT-B-32-SigLIP2-256", "ViT-B-16-SigLIP2"], metavar="NAME")
    parser.add_argument("--reference", default=REFERENCE, help=f"what to compare with (default: {REFERENCE})")
    parser.add_argument("--count", type=int, default=32, help="pictures of the index (default: 32)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of forward passes, each time (default: 4)")
    parser.add_argument("--repeat", type=int, default=3, help="turns (default: 3)")
    arguments = parser.parse_args()
    record = {
        "version": __version__,
        "machine": machine(),
        "repeat": arguments.repeat,
        "models": compare(arguments),
    }
    print(table(record), file=sys.stderr)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
