"""What one process gets out of a device: forward passes alone, by precision and batch size; prints it as JSON.

Makes the model first: random weights, which take as long as trained ones, in a `local-dir:` that children can load. The
pictures are uint8 in memory, so the way to the device and back counts, and reading and decoding do not. Run by
`gpu.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

# No plain CLIP needs it; where our tests have it, open_clip would import it for 0.9 s.
sys.modules["transformers"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402
import open_clip  # noqa: E402
import torch  # noqa: E402
from open_clip.model import CLIP  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from image_index.errors import ImgidxError  # noqa: E402
from image_index.models.names import CONFIG, parse_model  # noqa: E402
from image_index.records import Pixels  # noqa: E402
from image_index.workers.devices import Precision  # noqa: E402
from image_index.workers.encoder import Encoder, choose_dtype, load_encoder  # noqa: E402

PRECISIONS = (Precision.FP32, Precision.FP16, Precision.BF16)
TINY = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}}
SMALL_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
PREPROCESS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}

SLOW_PASS_S = 5.0
"""So slow a batch is not repeated (measured: 25 s in fp16 on a CPU)."""

LONGEST_PASS_S = 1.5
"""A batch that takes longer is the last: twice as many pictures would not come out faster."""


def make_model(architecture: str, directory: Path) -> None:
    """Write a model with random weights into a new directory; no picture meets the text tower, so that one is small."""
    torch.manual_seed(0)
    shape = TINY if architecture == "tiny" else open_clip.get_model_config(architecture)
    config = {"embed_dim": shape["embed_dim"], "vision_cfg": shape["vision_cfg"], "text_cfg": SMALL_TEXT}
    directory.mkdir(parents=True)
    save_file(CLIP(**config).state_dict(), directory / "open_clip_model.safetensors")
    (directory / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESS}), encoding="utf-8")


def random_pixels(encoder: Encoder, count: int) -> Pixels:
    """Return pictures (count, H, W, 3) uint8 of the size that the model takes."""
    shape = (count, *encoder.facts.preprocess.size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def rate(encoder: Encoder, size: int, seconds: float) -> tuple[float, float]:
    """Return pictures a second in batches of `size`, over `seconds` at least, and the seconds of one batch."""
    pixels = random_pixels(encoder, size)
    for _ in range(2):  # the first choose their kernels and get their memory
        start = time.perf_counter()
        encoder.encode_images(pixels)
        if (per_batch := time.perf_counter() - start) > SLOW_PASS_S:
            return size / per_batch, per_batch
    start, batches = time.perf_counter(), 0
    while not batches or time.perf_counter() - start < seconds:
        encoder.encode_images(pixels)
        batches += 1
    per_batch = (time.perf_counter() - start) / batches
    return size / per_batch, per_batch


def ceilings(encoder: Encoder, sizes: list[int], seconds: float) -> dict[str, float]:
    """Return pictures a second by batch size, up to the first batch that takes too long or too much memory."""
    rates: dict[str, float] = {}
    for size in sizes:
        try:
            pictures, per_batch = rate(encoder, size, seconds)
        except RuntimeError as error:  # out of memory, or a number format that this device does not compute
            print(f"batches of {size}: {str(error).splitlines()[0]}", file=sys.stderr)
            break
        rates[str(size)] = round(pictures, 1)
        if per_batch > LONGEST_PASS_S:
            break
    return rates


def compare(encoder: Encoder, sizes: list[int], seconds: float) -> dict[str, Any]:
    """Return the rates of each precision, and how near its vectors come to those in fp32 on the same device."""
    pixels = random_pixels(encoder, 16)
    exact = encoder.encode_images(pixels)
    results: dict[str, Any] = {}
    for precision in PRECISIONS:
        converted = deepcopy(encoder)
        converted.convert(encoder.device, choose_dtype(precision, encoder.device))
        rates = ceilings(converted, sizes, seconds)
        if rates:
            cosine = float((converted.encode_images(pixels) * exact).sum(axis=1).mean())
            results[precision] = {"pictures_per_second": rates, "cosine_to_fp32": round(cosine, 5)}
    return results


def device_name(device: torch.device) -> str:
    """Return the name of a device: of the GPU, where it is one."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type


def load(architecture: str, directory: Path, device: str) -> Encoder:
    """Make a model and load it in fp32; leave where the device is not there or computes something else."""
    logging.basicConfig(format="%(message)s")
    make_model(architecture, directory)
    try:
        encoder = load_encoder(parse_model(f"local-dir:{directory}"), "0" * 64, device, Precision.FP32)
    except ImgidxError as error:
        sys.exit(str(error))
    if encoder.device.type != torch.device(device).type:
        sys.exit(f"{device} fails the self-test in fp32: nothing to measure")
    return encoder


def main() -> None:
    """Make the model, measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architecture", help="ViT-B-32, ViT-L-14, ...: any plain CLIP of open_clip's; or tiny")
    parser.add_argument("directory", type=Path, help="where the model is written to; must not be there yet")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, mps or cpu (default: cuda)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--seconds", type=float, default=0.7, help="for each figure (default: 0.7)")
    arguments = parser.parse_args()
    encoder = load(arguments.architecture, arguments.directory, arguments.device)
    auto = str(choose_dtype(Precision.AUTO, encoder.device))
    kinds = {"torch.float32": Precision.FP32, "torch.float16": Precision.FP16, "torch.bfloat16": Precision.BF16}
    record = {
        "device": device_name(encoder.device),
        "torch": torch.__version__,
        "auto_precision": kinds[auto],
        "precisions": compare(encoder, arguments.batch_sizes, arguments.seconds),
    }
    json.dump(record, sys.stdout)


if __name__ == "__main__":
    main()
