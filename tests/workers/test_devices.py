"""Which children on which devices, on machines that are described instead of owned."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_index.formats import LEAST_MAX_PIXELS
from image_index.workers import devices
from image_index.workers.devices import (
    Slot,
    default_batch_size,
    default_max_pixels,
    free_gpu_bytes,
    plan_slots,
    visible_gpus,
)

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
GIB = 1 << 30


class Machine:
    """Says what the machine has."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.has()

    def has(
        self,
        cores: int = 8,
        gpus: int = 0,
        memory: int = 64 * GIB,
        system: str = "linux x86_64",
        gpu_memory: int = 80 * GIB,
    ) -> None:
        """Change it."""
        self._patch.setattr(devices, "free_gpu_bytes", lambda: gpu_memory if gpus else 0)
        name, architecture = system.split()
        self._patch.setattr(devices, "core_count", lambda: cores)
        self._patch.setattr(devices, "visible_gpus", lambda: gpus)
        self._patch.setattr(devices, "memory_bytes", lambda: memory)
        self._patch.setattr(sys, "platform", name)
        self._patch.setattr(platform, "machine", lambda: architecture)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Give a machine without GPU."""
    return Machine(monkeypatch)


@SHARED
@given(
    st.integers(1, 300),
    st.none() | st.integers(1, 40),
    st.integers(GIB // 2, 512 * GIB),
    st.sampled_from(["auto", "cpu"]),
)
def test_children_and_threads_fill_the_cores(
    machine: Machine, cores: int, workers: int | None, memory: int, device: str
) -> None:
    """On CPUs children x threads never exceeds the cores unless more children are asked for, and leaves few idle."""
    machine.has(cores=cores, memory=memory)
    slots = plan_slots(device, workers)
    assert {slot.device for slot in slots} == {device}
    (threads,) = {slot.threads for slot in slots}
    assert threads >= 1
    if workers is not None:
        assert len(slots) == workers
    if len(slots) <= cores:
        assert cores - len(slots) < len(slots) * threads <= cores
    else:
        assert (len(slots), threads) == (workers, 1)


@SHARED
@given(st.integers(1, 300), st.integers(GIB // 2, 512 * GIB), st.integers(0, 8 * GIB))
def test_default_children_fit_into_memory(machine: Machine, cores: int, memory: int, weights: int) -> None:
    """One is always tried; beyond that each has room for itself and its model."""
    machine.has(cores=cores, memory=memory)
    count = len(plan_slots("cpu", weights_bytes=weights))
    each = devices.MEMORY_PER_CHILD_BYTES + devices.MEMORY_PER_WEIGHT * weights
    assert count == 1 or count * each <= memory
    assert count == min(cores, 16) or (count + 1) * each > memory


@SHARED
@given(st.integers(2, 8), st.none() | st.integers(1, 20), st.sampled_from(["auto", "cuda"]))
def test_children_are_spread_over_the_gpus(machine: Machine, gpus: int, workers: int | None, device: str) -> None:
    """As many as its share of the cores feeds, unless told otherwise; no GPU has two more than another."""
    machine.has(gpus=gpus, cores=32)
    slots = plan_slots(device, workers)
    assert len(slots) == (workers or gpus * min(8, 16 // gpus))
    load = Counter(slot.device for slot in slots)
    assert load.keys() <= {f"cuda:{number}" for number in range(gpus)}
    assert max(load.values()) - min(load.get(f"cuda:{number}", 0) for number in range(gpus)) <= 1


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
@pytest.mark.parametrize(
    ("has", "children"),
    [
        ({"cores": 64}, 8),
        ({"cores": 12}, 6),
        ({"cores": 1}, 1),
        ({"gpu_memory": 0}, 1),  # nvidia-smi said nothing
        ({"gpu_memory": 8 * GIB}, 3),
        ({"memory": 6 * GIB}, 3),
    ],
)
def test_children_of_a_gpu_have_cores_and_memory(
    machine: Machine, has: dict[str, int], children: int, device: str
) -> None:
    """What its children decode bounds a GPU: two cores each; both memories hold them with their weights."""
    machine.has(**{"cores": 16, "gpus": 1, **has})  # type: ignore[arg-type]
    assert len(plan_slots(device, weights_bytes=600 << 20)) == children


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 81000; echo 40000", 40000 << 20),
        ("echo '[N/A]'", 0),
        ("echo 500; exit 9", 0),
        ('[ "$3" = --id=1,2 ] && echo 7', 7 << 20),
        (None, 0),
    ],
)
def test_free_memory_is_that_of_the_fullest_visible_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, told: int
) -> None:
    """nvidia-smi is asked; where it is not there, or knows nothing, nobody has to guess."""
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert free_gpu_bytes() == told


def test_lone_gpu_may_turn_out_to_be_unusable(machine: Machine) -> None:
    """With `auto` the child decides; a named device is taken at its word."""
    machine.has(gpus=1, cores=2)
    assert [slot.device for slot in plan_slots("auto")] == ["auto"]
    assert [slot.device for slot in plan_slots("cuda")] == ["cuda:0"]
    assert [slot.device for slot in plan_slots("cuda:3", 2)] == ["cuda:3"] * 2


def test_cuda_without_a_visible_gpu_is_still_tried(machine: Machine) -> None:
    """The child gives the reason why it does not work."""
    assert [slot.device for slot in plan_slots("cuda")] == ["cuda"]


def test_cpu_is_the_cpu_whatever_else_there_is(machine: Machine) -> None:
    """`--device cpu` on a machine with GPUs uses none."""
    machine.has(cores=4, gpus=2)
    assert plan_slots("cpu", 2) == (Slot("cpu", 2, 2), Slot("cpu", 2, 2))
    machine.has(cores=4, system="darwin arm64")
    assert plan_slots("cpu", 2) == (Slot("cpu", 2, 2), Slot("cpu", 2, 2))


def test_metal_gets_one_child(machine: Machine) -> None:
    """On Apple silicon by itself, elsewhere when named; an Intel Mac works on its cores."""
    machine.has(cores=10, system="darwin arm64")
    assert plan_slots("auto") == (Slot("auto", 10, 10),)
    assert plan_slots("mps") == (Slot("mps", 10, 10),)
    machine.has(cores=4, system="darwin x86_64")
    assert plan_slots("auto") == (Slot("auto", 1),) * 4
    assert [slot.device for slot in plan_slots("mps")] == ["mps"]


def test_pictures_are_decoded_beside_the_model_wherever_threads_are_spare(machine: Machine) -> None:
    """A GPU never waits for its own child to decode; a CPU child with one thread has none to spare."""
    machine.has(cores=16, gpus=1)
    assert plan_slots("auto", 1) == (Slot("auto", 16, 16),)
    assert plan_slots("auto") == (Slot("auto", 2, 2),) * 8
    machine.has(cores=1, gpus=1)
    assert plan_slots("cuda") == (Slot("cuda:0", 1, 1),)
    machine.has(cores=8)
    assert {slot.decode_threads for slot in plan_slots("cpu")} == {0}
    machine.has(cores=64, memory=256 * GIB)
    assert {slot.decode_threads for slot in plan_slots("cpu")} == {4}


@SHARED
@given(st.integers(1, 128), st.integers(2 * GIB, 512 * GIB), st.integers(0, 4))
def test_threads_never_take_the_room_of_a_large_picture(machine: Machine, cores: int, memory: int, gpus: int) -> None:
    """Where memory is short there are fewer threads rather than a limit that a camera exceeds."""
    machine.has(cores=cores, gpus=gpus, memory=memory)
    slots = plan_slots("auto")
    if any(slot.decode_threads > 1 for slot in slots):
        assert default_max_pixels(slots) >= LEAST_MAX_PIXELS


def test_batches_are_larger_on_gpus(machine: Machine) -> None:
    """`auto` counts as a GPU where there is one."""
    on_cpu = default_batch_size("cpu")
    assert default_batch_size("auto") == on_cpu
    assert min(map(default_batch_size, ("cuda", "cuda:1", "mps"))) > on_cpu
    machine.has(gpus=1)
    assert default_batch_size("auto") > on_cpu


@SHARED
@given(st.integers(1, 64), st.integers(0, 8), st.integers(GIB, 512 * GIB))
def test_largest_pictures_decoded_at_once_fit_into_half_of_the_memory(
    machine: Machine, children: int, threads: int, memory: int
) -> None:
    """And the limit is not lower than it need be."""
    machine.has(memory=memory)
    at_once = children * max(1, threads)
    one = default_max_pixels([Slot("cpu", 1, threads)] * children) * devices.BYTES_PER_PIXEL
    assert one * at_once <= memory // 2 < (one + devices.BYTES_PER_PIXEL) * at_once + at_once


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,1", 2), ("GPU-1f, GPU-2e,", 2), ("3", 1)]
)
def test_environment_says_which_gpus_are_visible(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    """CUDA_VISIBLE_DEVICES is obeyed before anything is loaded."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == count


def test_gpus_are_counted_by_their_device_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's control files are no GPUs."""
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "Path", lambda _: tmp_path)
    assert visible_gpus() == 3


def test_child_environment_limits_threads_and_the_network() -> None:
    """It must stand before torch is imported: every numeric library's name for it is set."""
    environment = Slot("cpu", 3).environment()
    libraries = ("OMP", "MKL", "OPENBLAS")
    assert {environment[f"{library}_NUM_THREADS"] for library in libraries} == {"3"}
    assert environment["VECLIB_MAXIMUM_THREADS"] == "3"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert all(isinstance(value, str) for value in environment.values())


def test_metal_watermarks_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who set them knows why; otherwise memory is capped, the low mark below the high one."""
    for which in ("HIGH", "LOW"):
        monkeypatch.delenv(f"PYTORCH_MPS_{which}_WATERMARK_RATIO", raising=False)
    capped = Slot("mps", 1).environment()
    low, high = (float(capped[f"PYTORCH_MPS_{which}_WATERMARK_RATIO"]) for which in ("LOW", "HIGH"))
    assert 0 < low < high <= 1
    monkeypatch.setenv("PYTORCH_MPS_HIGH_WATERMARK_RATIO", "1.3")
    assert Slot("mps", 1).environment()["PYTORCH_MPS_HIGH_WATERMARK_RATIO"] == "1.3"
