"""How many children on which devices: decided from what the machine shows, without importing torch."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from image_index.formats import LEAST_MAX_PIXELS
from image_index.machine import core_count, memory_bytes

MEMORY_PER_CHILD_BYTES = 3 << 28
"""Memory of a child on a CPU besides its weights: torch, open_clip, and a batch on its way."""

MEMORY_PER_WEIGHT = 0.75
"""Bytes of memory for each byte of weights in float32: the image tower, mapped in float32 or converted to half of it.

Measured, at most, in bfloat16 and float32: ViT-B-32 (0.6 GB of weights) 0.65 and 0.92 GB, ViT-B-16 (0.6 GB) 0.75 and
1.03 GB, ViT-L-14 (1.7 GB) 1.29 and 1.91 GB; the constants say 1.26, 1.25 and 2.09 GB. A child that exports takes 1.1,
1.1 and 2.7 GB; in a short run it is then alone.
"""

MOST_DECODE_THREADS = 16
"""More threads in one process would wait for Python's global lock, not for pictures."""

MOST_CHILDREN_PER_GPU = 8
"""Threads of one process decode one after the other where they need Python's global lock; processes do not.

Measured on an H100 with 16 cores, ViT-B-32 in bfloat16 (children x decode threads: JPEGs a second): 1 x 16: 688,
2 x 8: 1351, 4 x 4: 1710, 8 x 2: 2127; 16 cores that do nothing else decode 2628.
"""

CORES_PER_GPU_CHILD = 2

GPU_MEMORY_PER_CHILD_BYTES = 3 << 29
"""Memory of the GPU for each child besides its weights: what CUDA itself takes, and a batch on its way."""

GPU_CHILD_BYTES = 1 << 30
"""Memory of the machine for a child of a GPU besides its weights; not measured since children on CPUs take less."""

GPU_MEMORY_PER_WEIGHT = 1.5
"""Bytes of either memory for each byte of weights of such a child: in float32 on their way, and converted."""

GPU_PATIENCE_S = 20

BYTES_PER_PIXEL = 8
"""Room for a decoded picture and one converted copy of it."""


class Precision(StrEnum):
    """The number format of a forward pass; `AUTO` is the one that the device computes fastest."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class EncoderKind(StrEnum):
    """What runs the model: torch, or ONNX Runtime with the exported image tower; `AUTO` is the quicker one."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one child: its device, how many threads it may use, and how many of them decode pictures.

    A child with one thread has none that decodes: it decodes and embeds in turns, which keeps its core just as busy.
    """

    device: str
    threads: int
    decode_threads: int = 0

    @property
    def pictures_at_once(self) -> int:
        """How many pictures it may hold in memory at full size."""
        return max(1, self.decode_threads)

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the child; numeric libraries read them once, when they are loaded."""
        threads = str(self.threads)
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        return {
            **dict.fromkeys(names, threads),
            "HF_HUB_OFFLINE": "1",  # the parent has fetched the model; no child talks to a network
            "TOKENIZERS_PARALLELISM": "false",
            # glibc would give the memory of every activation back and fault it in again (measured: half the time of
            # the bundled model's forward pass); other C libraries ignore these
            "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
            "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
            # Metal may take what it recommends and no more (PyTorch's own limit is 1.7 times that)
            "PYTORCH_MPS_HIGH_WATERMARK_RATIO": os.environ.get("PYTORCH_MPS_HIGH_WATERMARK_RATIO", "1.0"),
            "PYTORCH_MPS_LOW_WATERMARK_RATIO": os.environ.get("PYTORCH_MPS_LOW_WATERMARK_RATIO", "0.8"),
            "PYTORCH_ENABLE_MPS_FALLBACK": "1",
        }


def visible_gpus() -> int:
    """Return how many CUDA devices this process may see, from the driver's device files and the environment."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def free_gpu_bytes() -> int:
    """Return the free memory of the visible GPU that has least of it, as nvidia-smi says; 0 where it does not."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    which = [f"--id={visible}"] if visible else []
    ask = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits", *which]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=GPU_PATIENCE_S, check=True).stdout
        return min(int(mebibytes) for mebibytes in told.split()) << 20
    except (OSError, subprocess.SubprocessError, ValueError):  # no such program; no such GPU; memory "[N/A]"
        return 0


def plan_slots(device: str = "auto", workers: int | None = None, weights_bytes: int = 0) -> tuple[Slot, ...]:
    """Return a slot for each child; `workers` None means what suits the machine.

    On CPUs children x threads = cores: separate processes scale better than threads in one. Each GPU gets as many as
    decode fast enough for it and fit into its memory; Metal allows one. A named device is taken at its word: the child
    checks it.
    """
    if gpus := _gpu_names(device):
        fitting = int(memory_bytes() / (GPU_CHILD_BYTES + GPU_MEMORY_PER_WEIGHT * weights_bytes))
        count = workers or max(len(gpus), min(len(gpus) * _children_per_gpu(len(gpus), weights_bytes), fitting))
        return tuple(_slot(gpus[number % len(gpus)], count) for number in range(count))
    if device == "mps" or (device == "auto" and sys.platform == "darwin" and platform.machine() == "arm64"):
        return (_slot(device, workers or 1),) * (workers or 1)
    fitting = max(1, int(memory_bytes() / (MEMORY_PER_CHILD_BYTES + MEMORY_PER_WEIGHT * weights_bytes)))
    count = workers or min(core_count(), fitting, 16)
    return (_slot(device, count, on_cpu=True),) * count


def _gpu_names(device: str) -> list[str]:
    """Return the CUDA devices that `device` stands for; `auto` lets a lone one that torch cannot use be the CPU."""
    if device not in {"auto", "cuda"}:
        return [device] if device.startswith("cuda") else []
    gpus = visible_gpus()
    if device == "auto" and gpus == 1:
        return ["auto"]
    return [f"cuda:{number}" for number in range(gpus)] or ["cuda"] * (device == "cuda")


def _children_per_gpu(gpus: int, weights_bytes: int) -> int:
    """Return how many children share each of so many GPUs, at least one."""
    each = GPU_MEMORY_PER_CHILD_BYTES + GPU_MEMORY_PER_WEIGHT * weights_bytes
    most = min(MOST_CHILDREN_PER_GPU, core_count() // gpus // CORES_PER_GPU_CHILD)
    return max(1, min(most, int(free_gpu_bytes() / each))) if most > 1 else 1


def _slot(device: str, children: int, *, on_cpu: bool = False) -> Slot:
    """Return the slot of one of so many children; on a CPU it decodes beside the model only where threads are spare."""
    threads = max(1, core_count() // children)
    fitting = max(1, memory_bytes() // 2 // children // (LEAST_MAX_PIXELS * BYTES_PER_PIXEL))
    return Slot(device, threads, 0 if on_cpu and threads == 1 else min(threads, fitting, MOST_DECODE_THREADS))


def default_batch_size(device: str) -> int:
    """Return how many pictures travel together: more where a GPU hides the round trip.

    On a CPU 8 to 32 are equally fast, and the fewer there are, the less one child has to do when the others are done.
    """
    return 64 if device.startswith(("cuda", "mps")) or (device == "auto" and visible_gpus()) else 16


def default_max_pixels(slots: Sequence[Slot]) -> int:
    """Return the largest picture, in pixels, of which all that are decoded at once fit into half of the memory."""
    return memory_bytes() // 2 // sum(slot.pictures_at_once for slot in slots) // BYTES_PER_PIXEL
