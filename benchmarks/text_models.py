"""A cold search by a new text with a model of SigLIP2's size, beside one with a ViT-B-32; whole processes in turns.

    python benchmarks/text_models.py --photos DIRECTORY [--words 256000] [--repeat 7] [--tiny]

Weights are random, and the vocabulary is made: SigLIP2's layout, as many words as it has. Prints a table on stderr and
JSON on stdout. What the library `tokenizers` takes to load that vocabulary stands beside it. `--tiny` is for a test.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import open_clip
import torch
from measure import Result, Run, imgidx, in_scratch, machine, python, run
from photos import copies
from safetensors.torch import save_file

from image_index import __version__

SIDES = ("CLIP", "SigLIP2")

SUBJECTS = ("a red kite", "two old boats", "my grandmother", "a street market", "snow on a roof", "a sleeping fox")

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
BLOCKS = ((0x21, 0x7F), (0xA1, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xA00), (0x4E00, 0x9FA0))
"""The characters of the made vocabulary: of many scripts, as SigLIP2's."""

LOAD = "import sys; from tokenizers import Tokenizer; sys.argv[1:] and Tokenizer.from_file(sys.argv[1])"


def made_tokenizer(count: int) -> dict[str, Any]:
    """Return the JSON of a byte-pair tokenizer with so many words and all merges that lead to them."""
    random, space = Random(1), "\u2581"
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, space])}
    for begin, end in BLOCKS:
        vocabulary |= {chr(code): len(vocabulary) + code - begin for code in range(begin, end)}
    letters = [*"abcdefghijklmnopqrstuvwxyz", space]
    words, merges = list(letters), []
    while len(vocabulary) < count:
        word = random.choice(words) + random.choice(random.choice((words, letters)))
        if len(word) <= 16 and word not in vocabulary:
            vocabulary[word] = len(vocabulary)
            words.append(word)
            cuts = ((word[:place], word[place:]) for place in range(1, len(word)))
            merges += [cut for cut in cuts if cut[0] in vocabulary and cut[1] in vocabulary]
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": number, "content": word, **added} for number, word in enumerate(SPECIAL[:4])],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": space},
        "pre_tokenizer": split,
        "model": model | {"vocab": vocabulary, "merges": merges},
    }


def make_siglip(folder: Path, words: int, *, tiny: bool) -> None:
    """Write a model of SigLIP2's kind with random weights and a made tokenizer into the new `folder`."""
    config = open_clip.get_model_config("ViT-B-32-SigLIP2-256")
    config["text_cfg"]["vocab_size"] = words
    make_model(open_clip.CustomTextCLIP, config, folder, tiny=tiny)
    (folder / "tokenizer.json").write_text(json.dumps(made_tokenizer(words)))
    settings = {"add_bos_token": False, "add_eos_token": True, "eos_token": "<eos>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "right"}))


def make_model(kind: type[torch.nn.Module], config: dict[str, Any], folder: Path, *, tiny: bool) -> None:
    """Write a model with random weights into the new `folder`; a `tiny` one has one small layer in each tower."""
    if tiny:
        config["text_cfg"] |= {"layers": 1, "width": 64, "heads": 2}
        config["vision_cfg"] = {"layers": 1, "width": 64, "image_size": 64, "patch_size": 32, "head_width": 32}
        config["embed_dim"] = 64
    shape = {key: value for key, value in config.items() if key != "custom_text"}
    folder.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_file(kind(**shape).state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"size": config["vision_cfg"].get("image_size", 256), "mean": [0.5] * 3, "std": [0.5] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))


def searches(scratch: Path, repeat: int) -> dict[str, list[Run]]:
    """Return the runs of each side, each with a text that no side has seen; the sides take turns."""
    runs: dict[str, list[Run]] = {side: [] for side in SIDES}
    for number in range(-1, repeat):
        for side in SIDES:
            text = f"{SUBJECTS[number % len(SUBJECTS)]} in the year {1900 + number}"
            done = run(imgidx("search", text, "--index", str(scratch / f"{side} index"), "--paths"))
            if number >= 0:  # the first one reads the files from the disk
                runs[side].append(done)
    return runs


def measure(arguments: argparse.Namespace, scratch: Path) -> Result:
    """Make both models and indexes, run everything and return the whole record."""
    make_model(open_clip.CLIP, open_clip.get_model_config("ViT-B-32"), scratch / "CLIP", tiny=arguments.tiny)
    make_siglip(scratch / "SigLIP2", arguments.words, tiny=arguments.tiny)
    with copies(arguments.photos, arguments.count) as photos:
        for side in SIDES:
            model, index = f"local-dir:{scratch / side}", scratch / f"{side} index"
            run(imgidx("train", str(photos), "--index", str(index), "--quiet", "--model", model))
            if not (index / "towers/text.onnx").exists():
                raise RuntimeError(f"the text tower of {side} was not exported")
        runs = searches(scratch, arguments.repeat)
    seconds = {side: median(one.seconds for one in runs[side]) for side in SIDES}
    file = str(scratch / "SigLIP2/tokenizer.json")
    loads = [run(python("-c", LOAD, file)).seconds - run(python("-c", LOAD)).seconds for _ in range(arguments.repeat)]
    return {
        "version": __version__,
        "machine": machine(),
        "words": arguments.words,
        "repeat": arguments.repeat,
        "seconds": {side: round(each, 3) for side, each in seconds.items()},
        "beyond_clip_s": round(seconds["SigLIP2"] - seconds["CLIP"], 3),
        "peak_mb": {side: round(median(one.peak_bytes for one in runs[side]) / 1e6) for side in SIDES},
        "weights_mb": {side: round(weights_of(scratch / side).stat().st_size / 1e6) for side in SIDES},
        "vocabulary_by_tokenizers_s": round(median(loads), 3),
    }


def weights_of(folder: Path) -> Path:
    """Return the file with the weights of a model that was made here."""
    return next(folder.glob("*.safetensors"))


def table(record: Result) -> str:
    """Return the record for people."""
    lines = [f"cold search by a new text, {record['machine']}, median of {record['repeat']}"]
    for side, seconds in record["seconds"].items():
        lines.append(f"{side:40}{seconds:8.3f} s {record['peak_mb'][side]:6} MB of {record['weights_mb'][side]} MB")
    lines.append(f"{'SigLIP2 beyond CLIP':40}{record['beyond_clip_s']:8.3f} s")
    words = f"{record['words']} words, by tokenizers alone"
    return "\n".join([*lines, f"{words:40}{record['vocabulary_by_tokenizers_s']:8.3f} s"])


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description="a cold search by a new text, by kinds of models")
    parser.add_argument("--photos", type=Path, required=True, help="a directory of pictures")
    parser.add_argument("--count", type=int, default=32, help="pictures of the indexes (default: 32)")
    parser.add_argument("--words", type=int, default=256_000, help="size of the vocabulary (default: 256000)")
    parser.add_argument("--repeat", type=int, default=7, help="searches of each side (default: 7)")
    parser.add_argument("--tiny", action="store_true", help="towers that say nothing of the time")
    in_scratch(measure, table, parser.parse_args())


if __name__ == "__main__":
    main()
