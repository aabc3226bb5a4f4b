"""Which encoder a run takes: torch with the whole model, or ONNX Runtime with the exported image tower.

Decided here alone, from the device, the number formats of the processor and how much there is to do
(docs/decisions/0019).
"""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from image_index.machine import core_count, has_native_bf16
from image_index.models.tower_files import Manifest, state
from image_index.records import ModelFacts
from image_index.workers.devices import EncoderKind, Precision, visible_gpus

SMALL_JOB_S = 2.5
"""A job that takes ONNX Runtime less is done before torch would have loaded and caught up.

torch has 2.3 s more to load and then embeds, in bfloat16, two to four times as fast: it catches up after 3.0 s on an
Intel processor with AMX (59 to 14 pictures a second and core), later on one without.
"""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """The exported image tower of a model, and the seconds of one core that it took for a picture at the export."""

    directory: str
    facts: ModelFacts
    picture_s: float

    @classmethod
    def of(cls, directory: Path, facts: ModelFacts, manifest: Manifest | None) -> ExportedModel | None:
        """Return the image tower in `directory` where its manifest has one; None where it has none, or is None."""
        return cls(str(directory), facts, manifest.image.picture_s) if manifest and manifest.image else None


def find_exported(directory: Path, facts: ModelFacts) -> ExportedModel | None:
    """Return the image tower in `directory` of the model of an index; None where there is none that is whole."""
    return ExportedModel.of(directory, facts, state(directory, facts.fingerprint, thorough=False)[1])


def most_files(kind: EncoderKind, device: str, precision: Precision, exported: ExportedModel | None) -> float:
    """Return for how many files at most children run the exported tower: 0 for none, infinity for any number."""
    if exported is None or kind is EncoderKind.TORCH:
        return 0
    if kind is EncoderKind.ONNX:
        return math.inf
    if not _is_cpu(device) or precision in {Precision.BF16, Precision.FP16}:
        return 0
    in_fp32 = precision is Precision.FP32 or not has_native_bf16()
    return math.inf if in_fp32 and _is_measured() else SMALL_JOB_S * core_count() / exported.picture_s


def _is_cpu(device: str) -> bool:
    """Tell whether children will run on the CPU."""
    has_metal = sys.platform == "darwin" and platform.machine() == "arm64"
    return device == "cpu" or (device == "auto" and not has_metal and not visible_gpus())


def _is_measured() -> bool:
    """Tell whether ONNX Runtime's float32 is known not to be slower than torch's; on Arm nobody has measured it."""
    return platform.machine() in {"x86_64", "AMD64"}
