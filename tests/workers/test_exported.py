"""Which encoder a run takes, and from how many files on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from image_index.models.tower_files import IMAGE_GRAPH, own_weights
from image_index.workers.devices import EncoderKind, Precision
from image_index.workers.exported import SMALL_JOB_S, ExportedModel, find_exported, most_files
from tests.support.records import facts
from tests.support.text_models import export, make_model

EXPORTED = ExportedModel("/towers", facts(), picture_s=0.1)
AUTO, FP32 = Precision.AUTO, Precision.FP32


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a machine of four Intel cores that multiply bfloat16, without a GPU."""
    be(monkeypatch)


def be(monkeypatch: pytest.MonkeyPatch, *, bf16: bool = True, gpus: int = 0, kind: str = "x86_64") -> None:
    """Be another machine."""
    module = "image_index.workers.exported"
    monkeypatch.setattr(f"{module}.has_native_bf16", lambda: bf16)
    monkeypatch.setattr(f"{module}.visible_gpus", lambda: gpus)
    monkeypatch.setattr(f"{module}.core_count", lambda: 4)
    monkeypatch.setattr("platform.machine", lambda: kind)
    monkeypatch.setattr("sys.platform", "linux")


def test_a_small_job_on_a_cpu_needs_no_torch() -> None:
    """As many pictures as all cores embed while torch would be loading."""
    assert most_files(EncoderKind.AUTO, "auto", AUTO, EXPORTED) == pytest.approx(SMALL_JOB_S * 4 / 0.1)
    assert most_files(EncoderKind.AUTO, "cpu", AUTO, EXPORTED) == pytest.approx(SMALL_JOB_S * 4 / 0.1)


def test_in_float32_no_job_needs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the user's choice, or because the processor has no better format; on Arm that has not been measured."""
    assert most_files(EncoderKind.AUTO, "cpu", FP32, EXPORTED) == math.inf
    be(monkeypatch, bf16=False)
    assert most_files(EncoderKind.AUTO, "auto", AUTO, EXPORTED) == math.inf
    be(monkeypatch, bf16=False, kind="aarch64")
    assert most_files(EncoderKind.AUTO, "auto", AUTO, EXPORTED) == pytest.approx(SMALL_JOB_S * 4 / 0.1)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_asked_for_is_used(device: str) -> None:
    """ONNX Runtime runs on the CPU alone."""
    assert most_files(EncoderKind.AUTO, device, AUTO, EXPORTED) == 0


def test_a_gpu_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the CPU is asked for."""
    be(monkeypatch, gpus=1)
    assert most_files(EncoderKind.AUTO, "auto", AUTO, EXPORTED) == 0
    assert most_files(EncoderKind.AUTO, "cpu", AUTO, EXPORTED) > 0


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_a_number_format_that_is_asked_for_is_torchs(precision: Precision) -> None:
    """The exported tower computes in float32."""
    assert most_files(EncoderKind.AUTO, "cpu", precision, EXPORTED) == 0


def test_the_user_has_the_last_word() -> None:
    """But no tower that is not there can be run."""
    assert most_files(EncoderKind.TORCH, "cpu", FP32, EXPORTED) == 0
    assert most_files(EncoderKind.ONNX, "cuda", Precision.BF16, EXPORTED) == math.inf
    assert most_files(EncoderKind.ONNX, "cpu", AUTO, None) == 0


@pytest.mark.slow
def test_only_a_whole_tower_of_that_model_is_found(tmp_path: Path) -> None:
    """Not one that is damaged, of another model, or not there."""
    model_facts = export(make_model("CLIP"), tmp_path / "towers")
    found = find_exported(tmp_path / "towers", model_facts)
    assert found is not None
    assert found.facts == model_facts
    assert 0 < found.picture_s < 5
    assert find_exported(tmp_path / "nothing", model_facts) is None
    assert find_exported(tmp_path / "towers", facts(16)) is None
    (tmp_path / "towers" / own_weights(IMAGE_GRAPH)).unlink()
    assert find_exported(tmp_path / "towers", model_facts) is None
