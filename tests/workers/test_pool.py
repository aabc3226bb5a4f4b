"""The pool of children, with real processes that are killed, stopped, poisoned and orphaned."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from image_index.errors import ModelUnavailable, WorkersFailed
from image_index.records import Batch, EmbeddedBatch, Failure, ImageFile, Stage
from image_index.workers.child import Deadlines
from image_index.workers.devices import Slot
from image_index.workers.engine import make_batches
from image_index.workers.messages import ChildSetup, ExportTowers, JobFailed, Loader
from image_index.workers.pool import FAILED_STARTS, ChildPool, PoolLimits, PoolPlan
from image_index.workers.work_queue import DEATHS_ALONE
from tests.support import fake_models
from tests.support.children import counted_restarts
from tests.support.photos import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

IMPATIENT = PoolLimits(Deadlines(load_s=20, file_s=1.0))


@dataclass
class Pictures:
    """A directory of small pictures whose names say what reading them does."""

    directory: Path

    def make(self, name: str, colour: tuple[int, int, int] = (10, 20, 30), side: int = 8) -> ImageFile:
        """Write one picture."""
        path = self.directory / f"{name}.png"
        Image.new("RGB", (side, side), colour).save(path)
        return ImageFile.of(os.fsencode(path), path.stat())

    def good(self, count: int) -> list[ImageFile]:
        """Write harmless pictures."""
        return [self.make(f"good-{i:03d}") for i in range(count)]


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Return a directory for pictures."""
    return Pictures(tmp_path)


@pytest.fixture
def restarts() -> Iterator[MagicMock]:
    """Count the children that are replaced."""
    with counted_restarts() as counted:
        yield counted


def fake_pool(
    loader: Loader = fake_models.load,
    *,
    children: int = 2,
    decode_threads: int = 0,
    limits: PoolLimits = IMPATIENT,
    **changes: object,
) -> ChildPool:
    """Return a pool of children that run a fake model."""
    setup = ChildSetup(fake_models.SPEC, "0" * 64, device="cpu", batch_size=4, loader=loader)
    plan = PoolPlan(setup, [Slot("cpu", 1, decode_threads)] * children)
    return ChildPool(lambda _: plan, limits, **changes)  # type: ignore[arg-type]


def paths(files: Iterable[ImageFile]) -> list[bytes]:
    """Return the sorted paths."""
    return sorted(file.path for file in files)


def embedded(results: Sequence[EmbeddedBatch]) -> list[bytes]:
    """Return the sorted paths of what was embedded, repeats included."""
    return paths(image.file for result in results for image in result.images)


def failures(results: Sequence[EmbeddedBatch]) -> list[Failure]:
    """Return what failed."""
    return [failure for result in results for failure in result.failures]


def test_every_file_comes_back_once_with_its_own_vector(pictures: Pictures) -> None:
    """Vectors, computed in several processes, belong to the pictures they came from."""
    colours = [(i * 8, 255 - i * 8, 40) for i in range(30)]
    files = [pictures.make(f"p{i:02d}", colour) for i, colour in enumerate(colours)]
    with fake_pool() as pool:
        results = list(pool.embed(make_batches(files, 4)))
    assert embedded(results) == paths(files)
    expected = {
        file.path: np.array(colour, np.float32) / np.linalg.norm(colour)
        for file, colour in zip(files, colours, strict=True)
    }
    for result in results:
        for image, vector in zip(result.images, result.vectors, strict=True):
            np.testing.assert_allclose(vector, expected[image.file.path], atol=1e-4)


def test_the_model_is_known_before_the_first_result(pictures: Pictures) -> None:
    """Whoever stores results can first check which model made them."""
    with fake_pool() as pool:
        next(pool.embed(make_batches(pictures.good(1), 4)))
        assert pool.facts == fake_models.FACTS


@pytest.mark.parametrize("name", ["SIGKILL", "SIGABRT", "SIGSEGV"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_file_that_kills_its_child_fails_alone(
    pictures: Pictures, restarts: MagicMock, name: str, place: str
) -> None:
    """A deadly file becomes a failure after a bounded number of restarts, and costs no other file."""
    good = pictures.good(20)
    poison = pictures.make(f"dies-{name}")
    position = {"first": 0, "middle": 10, "last": 20}[place]
    with fake_pool() as pool:
        results = list(pool.embed(make_batches([*good[:position], poison, *good[position:]], 4)))
        assert restarts.call_count <= 1 + DEATHS_ALONE
    assert embedded(results) == paths(good)
    (failure,) = failures(results)
    assert (failure.file, failure.stage) == (poison, Stage.CRASH)
    assert name in failure.reason


def test_ten_deadly_files_among_many_become_exactly_ten_failures(pictures: Pictures, restarts: MagicMock) -> None:
    """Poison in every batch is found file by file."""
    good = pictures.good(60)
    poison = [pictures.make(f"dies-SIGKILL-{i}") for i in range(10)]
    mixed = [file for i in range(10) for file in (*good[i * 6 : i * 6 + 6], poison[i])]
    with fake_pool() as pool:
        results = list(pool.embed(make_batches(mixed, 8)))
        assert restarts.call_count <= 10 * (1 + DEATHS_ALONE)
    assert embedded(results) == paths(good)
    assert paths(failure.file for failure in failures(results)) == paths(poison)


@pytest.mark.parametrize("name", ["dies-SIGKILL", "red", "hangs"])
def test_what_kills_is_found_among_files_that_are_in_work_together(
    pictures: Pictures, restarts: MagicMock, name: str
) -> None:
    """With threads a child holds three batches when it dies; each is tried on its own, and one file is to blame."""
    good = pictures.good(40)
    poison = pictures.make(name, fake_models.RED if name == "red" else (1, 2, 3))
    with fake_pool(decode_threads=3) as pool:
        results = list(pool.embed(make_batches([*good[:17], poison, *good[17:]], 4)))
    assert embedded(results) == paths(good)
    (failure,) = failures(results)
    assert (failure.file, failure.stage) == (poison, Stage.TIMEOUT if name == "hangs" else Stage.CRASH)
    assert restarts.call_count <= 2 + DEATHS_ALONE + (2 if name == "red" else 0)


def test_a_file_that_kills_in_the_forward_pass_is_found_by_halving(pictures: Pictures) -> None:
    """Where no file was being read, the batch is halved until the deadly one stands alone."""
    good = pictures.good(15)
    poison = pictures.make("red", fake_models.RED)
    with fake_pool() as pool:
        results = list(pool.embed(make_batches([*good[:5], poison, *good[5:]], 8)))
    assert embedded(results) == paths(good)
    assert [failure.file for failure in failures(results)] == [poison]


def test_a_file_that_hangs_its_child_times_out_alone(pictures: Pictures) -> None:
    """A decoder that never returns costs its own file."""
    good = pictures.good(8)
    poison = pictures.make("hangs")
    with fake_pool() as pool:
        results = list(pool.embed(make_batches([*good[:3], poison, *good[3:]], 4)))
    assert embedded(results) == paths(good)
    (failure,) = failures(results)
    assert (failure.file, failure.stage) == (poison, Stage.TIMEOUT)


def test_an_exception_that_cannot_be_pickled_is_a_failure_with_its_text(
    pictures: Pictures, restarts: MagicMock
) -> None:
    """Errors cross the border as text."""
    good = pictures.good(3)
    poison = pictures.make("raises-unpicklable")
    with fake_pool(children=1) as pool:
        results = list(pool.embed(make_batches([poison, *good], 4)))
        assert restarts.call_count == 0
    assert embedded(results) == paths(good)
    assert "cannot be pickled" in failures(results)[0].reason


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGSTOP])
def test_children_struck_from_outside_cost_no_file(pictures: Pictures, number: signal.Signals) -> None:
    """A child killed or stopped at any moment is replaced, and its files are embedded by another."""
    files = [pictures.make(f"slow-{i:02d}") for i in range(24)]
    with fake_pool() as pool:
        results = []
        for count, result in enumerate(pool.embed(make_batches(files, 4))):
            results.append(result)
            if count in {0, 2}:
                os.kill(pool.pids[0], number)
    assert failures(results) == []
    assert embedded(results) == paths(files)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of another process")
def test_a_child_short_of_memory_costs_no_file(pictures: Pictures, restarts: MagicMock) -> None:
    """What a starved child fails at is no picture's fault: another child does it."""
    files = [pictures.make(f"slow-{i:02d}", side=8 if i < 16 else 3000) for i in range(24)]  # two batches are ahead
    with fake_pool() as pool:
        results = []
        for result in pool.embed(make_batches(files, 4)):
            results.append(result)
            if len(results) == 1:
                resource.prlimit(pool.pids[0], resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
    assert failures(results) == []
    assert embedded(results) == paths(files)
    assert restarts.call_count == 1


def test_a_picture_that_asks_for_too_much_memory_fails_without_a_restart(
    pictures: Pictures, restarts: MagicMock
) -> None:
    """A child that has memory again once it is done with the picture lives on."""
    files, glutton = pictures.good(12), pictures.make("eats")
    with fake_pool(children=1) as pool:
        results = list(pool.embed(make_batches([*files[:5], glutton, *files[5:]], 4)))
        assert restarts.call_count == 0
    assert embedded(results) == paths(files)
    assert [failure.file for failure in failures(results)] == [glutton]


def test_a_child_that_fails_to_preload_tries_once_more_with_its_first_batch(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that cannot be loaded just yet is not given up at once."""
    monkeypatch.setenv(fake_models.FIRST_TRY, str(tmp_path / "tried"))
    files = pictures.good(3)
    with fake_pool(fake_models.load_at_second_try, children=1) as pool:
        results = list(pool.embed(make_batches(files, 4)))
    assert embedded(results) == paths(files)
    assert "Preloading failed (not yet)" in caplog.text


def test_a_device_that_fails_costs_its_child_and_no_picture(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: MagicMock
) -> None:
    """After an error of CUDA everything else in that process would fail too: another one goes on."""
    monkeypatch.setenv(fake_models.FIRST_TRY, str(tmp_path / "tried"))
    files = pictures.good(12)
    with fake_pool(fake_models.load_on_failing_device, children=1, decode_threads=2) as pool:
        results = list(pool.embed(make_batches(files, 4)))
    assert embedded(results) == paths(files)
    assert failures(results) == []
    assert restarts.call_count == 1


def test_a_device_that_never_computes_ends_the_run_and_blames_no_picture(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that failed is not tried again by the next run; these will be."""
    monkeypatch.setattr("image_index.workers.pool.FRUITLESS_DEATHS", 4)
    results: list[EmbeddedBatch] = []
    with (
        fake_pool(fake_models.load_on_failing_device, children=1) as pool,
        pytest.raises(WorkersFailed, match="the device of the child computed no more"),
    ):
        results.extend(pool.embed(make_batches(pictures.good(2), 4)))
    assert results == []


def test_a_model_that_never_loads_ends_the_run(pictures: Pictures) -> None:
    """The second failure to load is final, and says why."""
    with fake_pool(fake_models.load_never) as pool, pytest.raises(ModelUnavailable, match="cannot be pickled"):
        list(pool.embed(make_batches(pictures.good(1), 4)))


def test_children_that_die_loading_end_the_run_after_a_few_tries(pictures: Pictures, restarts: MagicMock) -> None:
    """Children are not started for ever."""
    with fake_pool(fake_models.load_and_die) as pool:
        with pytest.raises(WorkersFailed, match="SIGABRT"):
            list(pool.embed(make_batches(pictures.good(1), 4)))
        assert restarts.call_count <= 2 * FAILED_STARTS


def test_children_that_hang_loading_end_the_run(pictures: Pictures) -> None:
    """Loading has a deadline too."""
    limits = PoolLimits(Deadlines(load_s=1.0))
    with fake_pool(fake_models.load_and_hang, limits=limits) as pool, pytest.raises(WorkersFailed, match="no sign"):
        list(pool.embed(make_batches(pictures.good(1), 4)))


def test_a_directory_of_nothing_but_deadly_files_ends_the_run(pictures: Pictures) -> None:
    """When every file kills, the machine is at fault, and the run says so."""
    poison = [pictures.make(f"dies-SIGKILL-{i:02d}") for i in range(30)]
    with fake_pool() as pool, pytest.raises(WorkersFailed, match="cannot be kept alive"):
        list(pool.embed(make_batches(poison, 4)))


def test_a_consumer_that_stops_early_leaves_no_child(pictures: Pictures) -> None:
    """Whatever ends the loop, the context takes the children along."""
    files = [pictures.make(f"slow-{i:02d}") for i in range(20)]
    with fake_pool() as pool:
        next(pool.embed(make_batches(files, 4)))
        pids = pool.pids
    assert [is_running(pid) for pid in pids] == [False, False]


def test_a_child_whose_memory_grows_is_replaced_between_batches(pictures: Pictures, restarts: MagicMock) -> None:
    """Recycling loses no file and begins afresh."""
    limits = replace(IMPATIENT, recycle_growth_bytes=2 << 20)
    files = pictures.good(40)
    with fake_pool(limits=limits) as pool:
        results = list(pool.embed(make_batches(files, 4)))
        assert restarts.call_count >= 2
    assert embedded(results) == paths(files)


def test_a_stop_finishes_what_is_in_flight_and_begins_nothing(pictures: Pictures) -> None:
    """After a stop the batches that children hold still come back."""
    files = [pictures.make(f"slow-{i:02d}") for i in range(40)]
    stop = threading.Event()
    taken: list[bytes] = []

    def source() -> Iterator[Batch]:
        for batch in make_batches(files, 4):
            taken.extend(file.path for file in batch.files)
            yield batch

    results = []
    with fake_pool(should_stop=stop.is_set) as pool:
        for result in pool.embed(source()):
            results.append(result)
            stop.set()
    assert embedded(results) == sorted(taken)
    assert len(taken) < len(files)


def test_a_stop_does_not_wait_for_a_child_that_hangs(pictures: Pictures) -> None:
    """The wait has an end; the hanging batch is left for the next run."""
    limits = PoolLimits(Deadlines(load_s=20, file_s=50), drain_s=0.5)
    good, poison = pictures.good(4), pictures.make("hangs")
    stop = threading.Event()
    results = []
    with fake_pool(limits=limits, should_stop=stop.is_set) as pool:
        for result in pool.embed(make_batches([*good, poison], 4)):
            results.append(result)
            stop.set()
    assert embedded(results) == paths(good)
    assert failures(results) == []


def test_nothing_to_embed_ends_without_waiting_for_the_model(pictures: Pictures) -> None:
    """A pool given no work is done at once."""
    with fake_pool(fake_models.load_and_hang) as pool:
        assert list(pool.embed(())) == []


def test_texts_are_encoded_by_a_child() -> None:
    """A query needs no torch in the parent."""
    with fake_pool(children=1) as pool:
        assert pool.encode_texts(["four", "seven.."]).tolist() == [[4, 0, 0], [7, 0, 0]]


def test_an_export_is_a_job_whose_answer_comes_among_the_results(
    pictures: Pictures, tmp_path: Path, restarts: MagicMock
) -> None:
    """A refusal costs no file; the child is replaced while there is work; alone, the answer is returned."""
    refused = JobFailed("RuntimeError: a fake model has no text tower")
    files = pictures.good(40)
    with fake_pool() as pool:
        results = list(pool.embed([ExportTowers(str(tmp_path / "text")), *make_batches(files, 4)]))
        assert restarts.call_count == 1
        assert pool.export_towers(str(tmp_path / "text")) == refused
    assert [result for result in results if not isinstance(result, EmbeddedBatch)] == [refused]
    assert embedded([result for result in results if isinstance(result, EmbeddedBatch)]) == paths(files)


def test_an_export_that_comes_last_has_the_memory_to_itself(pictures: Pictures, tmp_path: Path) -> None:
    """The children that have nothing more to do leave, the one that exports behind them; the next job finds others."""
    files = pictures.good(10)
    with fake_pool(fake_models.load_slow_exporter, children=3) as pool:
        assert len(list(pool.embed([*make_batches(files, 4), ExportTowers(str(tmp_path / "text"))]))) == 4
        assert pool.pids == []
        assert embedded(list(pool.embed(make_batches(files, 4)))) == paths(files)


def test_a_child_uses_the_device_of_its_slot() -> None:
    """Children are spread over several GPUs."""
    setup = ChildSetup(fake_models.SPEC, "0" * 64, loader=fake_models.load)
    with ChildPool(lambda _: PoolPlan(setup, [Slot("cuda:3", 1)])) as pool:
        assert pool.encode_texts(["device"])[0, 0] == 3


def test_a_text_that_cannot_be_encoded_is_an_error_not_a_hang() -> None:
    """The child says what went wrong."""
    with fake_pool(children=1) as pool, pytest.raises(ModelUnavailable, match="cannot be pickled"):
        pool.encode_texts(["unpicklable"])


def test_a_text_that_kills_its_child_is_given_up_soon() -> None:
    """Not one child after the other is spent on a query."""
    with fake_pool(children=1) as pool, pytest.raises(WorkersFailed, match="died of the query"):
        pool.encode_texts(["deadly"])


ORPHANS = """
import os, sys, time
from pathlib import Path
from image_index.workers.engine import make_batches
from image_index.records import ImageFile
from tests.workers.test_pool import fake_pool
files = [ImageFile(os.fsencode(p), 0, 0) for p in sorted(Path(sys.argv[1]).glob("*.png"))]
with fake_pool() as pool:
    for result in pool.embed(make_batches(files, 2)):
        print(*pool.pids, flush=True)
"""


@pytest.mark.parametrize("name", ["slow", "hangs"])
def test_children_of_a_killed_parent_leave(pictures: Pictures, name: str) -> None:
    """No orphan outlives a parent that is gone, not even one that is stuck in a decoder."""
    for i in range(20):
        pictures.make(f"{name}-{i:02d}" if i > 3 else f"good-{i}")
    command = [sys.executable, "-c", ORPHANS, str(pictures.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        children = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while alive := [pid for pid in children if is_running(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie that waits for somebody to reap it."""
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in {"", "Z"}


SCRIPT = """
from tests.workers.test_pool import fake_pool

print("at work", flush=True)
with fake_pool(children=1) as pool:
    print(pool.encode_texts(["a dog"]).shape)
"""


def test_a_script_without_a_main_guard_runs_once_and_leaves_nothing(tmp_path: Path) -> None:
    """A child does not import the script that started it, and no process of the script's session outlives it.

    `multiprocessing` would do both: its resource tracker ends a moment after the process that started it.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, script], env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True
    ) as parent:
        printed = parent.communicate()
        with pytest.raises(ProcessLookupError):
            os.killpg(parent.pid, 0)
    assert (parent.returncode, *printed) == (0, "at work\n(1, 3)\n", "")


def test_children_ignore_the_signals_that_are_the_parents_business(pictures: Pictures, restarts: MagicMock) -> None:
    """Ctrl-C and a service manager's SIGTERM reach the whole group; batches in flight are finished all the same."""
    files = [pictures.make(f"slow-{i:02d}") for i in range(12)]
    with fake_pool() as pool:
        results = []
        for result in pool.embed(make_batches(files, 4)):
            results.append(result)
            for pid in pool.pids:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    os.kill(pid, number)
        assert restarts.call_count == 0
    assert embedded(results) == paths(files)


def test_children_see_the_thread_counts_of_their_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is set before the child's interpreter starts, and the parent's own stays as it was."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with fake_pool(children=1) as pool:
        assert pool.encode_texts(["threads"]).tolist() == [[1, 1, 0]]
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_parent_blocked_by_nothing_while_a_child_is_stopped_between_bytes(
    pictures: Pictures, restarts: MagicMock
) -> None:
    """A child stopped while it sends a large result is replaced like any other."""
    files = pictures.good(12)
    with fake_pool(children=1) as pool:
        results = []
        for result in pool.embed(make_batches(files, 4)):
            results.append(result)
            if len(results) == 1:
                os.kill(pool.pids[0], signal.SIGSTOP)
        assert restarts.call_count == 1
    assert embedded(results) == paths(files)
