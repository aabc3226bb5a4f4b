"""What the parent knows of a child: how much it may hold, when it is overdue, and how it died."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from unittest.mock import MagicMock

import pytest

from image_index.records import Batch
from image_index.workers.channel import open_pair
from image_index.workers.child import MOST_HELD, Child, Deadlines, State, cause_of_death
from image_index.workers.child_main import DEVICE_FAILED, OUT_OF_MEMORY
from image_index.workers.devices import Slot
from image_index.workers.messages import ChildSetup, EncodeTexts, ExportTowers, Job
from tests.support import fake_models
from tests.support.records import image_file

BATCH = Batch(tuple(image_file(b"/%d" % number) for number in range(20)))
DEADLINES = Deadlines(load_s=100, file_s=10)


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the parent see a clock that the test moves."""
    clock = Clock()
    monkeypatch.setattr("image_index.workers.child.monotonic", clock)
    return clock


def make_child(decode_threads: int = 0, state: State = State.READY) -> Iterator[Child]:
    """Give a child without a process, whose pipe nobody reads."""
    ours, theirs = open_pair()
    setup = ChildSetup(fake_models.SPEC, "0" * 64)
    yield Child(setup, Slot("cpu", 1, decode_threads), MagicMock(), ours, DEADLINES, state=state)
    ours.close()
    theirs.close()


@pytest.fixture
def child(clock: Clock) -> Iterator[Child]:
    """Give a child that is ready, and decodes without threads."""
    yield from make_child()


@pytest.fixture
def threaded() -> Iterator[Child]:
    """Give a child that is ready, and decodes in threads."""
    yield from make_child(decode_threads=2)


@pytest.mark.parametrize(("state", "room"), [(State.LOADING, 0), (State.TRIED, 1), (State.READY, MOST_HELD - 1)])
def test_a_child_is_given_as_much_as_its_state_allows(child: Child, state: State, room: int) -> None:
    """Nothing while it loads, one job at which it may try again, and enough to keep it busy once it is ready."""
    child.state = state
    assert child.room == room


def test_threads_that_decode_have_a_batch_of_their_own(threaded: Child) -> None:
    """One at the model, one with the threads, one in the pipe."""
    assert threaded.room == MOST_HELD
    threaded.give(BATCH)
    assert threaded.overlaps


@pytest.mark.parametrize(
    "job", [Batch(BATCH.files[:1], alone=True), EncodeTexts(("a dog",)), ExportTowers("/nowhere")], ids=repr
)
def test_a_job_that_is_alone_leaves_no_room(threaded: Child, job: Job) -> None:
    """So that a death over it is the fault of nothing else."""
    threaded.give(job)
    assert threaded.room == 0
    assert not threaded.overlaps


def test_jobs_are_answered_in_the_order_in_which_they_were_given(child: Child) -> None:
    """A child does one after the other."""
    jobs = [BATCH, Batch(BATCH.files[:2])]
    for job in jobs:
        child.give(job)
    assert child.is_busy
    assert [child.answered(), child.answered()] == jobs
    assert not child.is_busy


def test_a_child_that_is_gone_holds_its_job_all_the_same(child: Child) -> None:
    """Until its loss is noticed; then the job is given to another."""
    child.channel.close()
    child.give(BATCH)
    assert list(child.held) == [BATCH]


def test_each_sign_of_life_moves_the_deadline(child: Child, clock: Clock) -> None:
    """One limit for a file, whatever the size of its batch."""
    child.give(BATCH)
    for position in range(3):
        clock.now += DEADLINES.file_s
        assert not child.is_overdue
        child.expect(position)
    clock.now += DEADLINES.file_s + 0.1
    assert child.is_overdue


def test_the_forward_pass_has_more_time_the_more_pictures_it_takes(child: Child, clock: Clock) -> None:
    """Past the last file the child is at all of them: 20 pictures may take three times as long as one file."""
    child.give(BATCH)
    child.expect(len(BATCH.files))
    clock.now += 3 * DEADLINES.file_s
    assert not child.is_overdue
    clock.now += 0.1
    assert child.is_overdue


@pytest.mark.parametrize("state", [State.LOADING, State.TRIED])
def test_loading_has_a_deadline_of_its_own(child: Child, clock: Clock, state: State) -> None:
    """At the first try, and at the second, which begins with the first job."""
    child.state = state
    child.give(BATCH)
    clock.now += DEADLINES.load_s
    assert not child.is_overdue
    clock.now += 0.1
    assert child.is_overdue


def test_a_child_that_owes_nothing_is_never_overdue(child: Child, clock: Clock) -> None:
    """A pool may lie idle between two queries for days."""
    child.give(EncodeTexts(("a dog",)))
    child.answered()
    clock.now += 1e6
    assert not child.is_overdue


@pytest.mark.parametrize(
    ("exit_code", "said"),
    [
        (OUT_OF_MEMORY, "the child ran out of memory"),
        (DEVICE_FAILED, "the device of the child computed no more"),
        (3, "the child left with exit code 3"),
        (None, "the child left with exit code None"),
        (-signal.SIGSEGV, "the child was killed by SIGSEGV"),
        (-signal.SIGKILL, "the child was killed by SIGKILL (out of memory?)"),
    ],
)
def test_the_cause_of_a_death_is_said_in_words(exit_code: int | None, said: str) -> None:
    """It is what a person reads of a file that failed."""
    assert cause_of_death(exit_code) == said


@pytest.mark.timeout(60)
def test_starting_a_child_leaves_no_trace_in_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is what it was; a successor knows how often its slot has failed to start."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    environment = dict(os.environ)
    setup = ChildSetup(fake_models.SPEC, "0" * 64, loader=fake_models.load_and_hang)
    first = Child.start(setup, Slot("cpu", 1), DEADLINES)
    first.failed_starts = 2
    second = first.successor()
    try:
        assert dict(os.environ) == environment
        assert (second.slot, second.failed_starts, second.state) == (first.slot, 2, State.LOADING)
        assert second.process.pid != first.process.pid
    finally:
        for child in (first, second):
            child.kill()
    assert not first.is_alive
