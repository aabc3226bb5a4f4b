"""Isolating the file that kills, against a simulated child that dies of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil, log2

from hypothesis import given
from hypothesis import strategies as st

from image_index.records import Batch, Failure, ImageFile, Stage
from image_index.workers.work_queue import DEATHS_ALONE, WorkQueue
from tests.support.records import image_file


@dataclass
class Simulation:
    """One child after another works a queue off; reading a poison file kills it."""

    queue: WorkQueue
    poison: frozenset[bytes]
    position_is_known: bool
    stage: Stage = Stage.CRASH
    embedded: list[ImageFile] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    deaths: int = 0

    def run(self) -> None:
        """Take batches until there is none."""
        while (batch := take(self.queue)) is not None:
            dead_at = next((i for i, file in enumerate(batch.files) if file.path in self.poison), None)
            if dead_at is None:
                self.embedded += batch.files
                continue
            self.deaths += 1
            position = dead_at if self.position_is_known else None
            failure = self.queue.isolate(batch, position, self.stage, "it died")
            if failure is not None:
                self.failures.append(failure)


def take(queue: WorkQueue) -> Batch | None:
    """Take the next job of a queue of batches."""
    job = queue.take()
    assert job is None or isinstance(job, Batch)
    return job


def files(count: int) -> list[ImageFile]:
    """Return files."""
    return [image_file(b"/%d" % number) for number in range(count)]


def batches(all_files: list[ImageFile], size: int) -> list[Batch]:
    """Return batches of `size`."""
    starts = range(0, len(all_files), size)
    return [Batch(tuple(all_files[start : start + size])) for start in starts]


@given(
    st.integers(0, 70),
    st.integers(1, 33),
    st.sets(st.integers(0, 69), max_size=6) | st.just(set(range(70))),
    st.booleans(),
    st.sampled_from([Stage.CRASH, Stage.TIMEOUT, Stage.EMBED]),
)
def test_every_innocent_file_is_embedded_once_and_every_poison_file_fails_once(
    count: int, size: int, poison: set[int], position_is_known: bool, stage: Stage
) -> None:
    """Whatever is poisoned, deaths stay within the bound that `pool` promises."""
    all_files = files(count)
    bad = [file for number, file in enumerate(all_files) if number in poison]
    queue = WorkQueue(batches(all_files, size))
    simulation = Simulation(queue, frozenset(file.path for file in bad), position_is_known, stage)
    simulation.run()
    assert Counter(simulation.embedded) == Counter(file for file in all_files if file not in bad)
    assert Counter(failure.file for failure in simulation.failures) == Counter(bad)
    assert {failure.stage for failure in simulation.failures} <= {stage}
    per_file = 1 + DEATHS_ALONE + (0 if position_is_known else ceil(log2(size)))
    assert simulation.deaths <= len(bad) * per_file


@given(st.integers(2, 40), st.integers(0, 39))
def test_good_files_do_not_wait_for_a_suspect(count: int, poisoned: int) -> None:
    """Once it is known which file was read, all others come before it."""
    all_files = files(count)
    bad = all_files[poisoned % count]
    queue = WorkQueue(batches(all_files, 8))
    order = []
    while (batch := take(queue)) is not None:
        order.append(batch.files)
        if bad in batch.files:
            queue.isolate(batch, batch.files.index(bad), Stage.CRASH, "it died")
    assert order[-DEATHS_ALONE:] == [(bad,)] * DEATHS_ALONE
    assert sum(bad in batch_files for batch_files in order) <= 1 + DEATHS_ALONE


def test_chance_death_costs_no_file() -> None:
    """A child killed once, by the out-of-memory killer or a person, takes no file with it."""
    all_files = files(8)
    queue = WorkQueue(batches(all_files, 4))
    first = take(queue)
    assert first is not None
    assert queue.isolate(first, 2, Stage.CRASH, "somebody killed it") is None
    simulation = Simulation(queue, frozenset(), position_is_known=True)
    simulation.run()
    assert Counter(simulation.embedded) == Counter(all_files)
    assert simulation.failures == []


def test_lone_file_may_die_once_but_not_hang_twice() -> None:
    """A crash may be chance and gets a second try; a deadline is long enough to be certain."""
    (alone,) = batches(files(1), 1)
    queue = WorkQueue([])
    assert queue.isolate(alone, 0, Stage.CRASH, "first") is None
    assert queue.take() == replace(alone, alone=True)
    assert queue.isolate(alone, 0, Stage.CRASH, "second") == Failure(alone.files[0], Stage.CRASH, "second")
    assert queue.take() is None
    for stage in (Stage.TIMEOUT, Stage.EMBED):
        assert WorkQueue([]).isolate(alone, None, stage, "why") == Failure(alone.files[0], stage, "why")


def test_death_in_the_forward_pass_halves_the_batch() -> None:
    """The position after the last file is none: any of them may be at fault."""
    (batch,) = batches(files(5), 5)
    queue = WorkQueue([])
    queue.isolate(batch, 5, Stage.CRASH, "it died")
    halves = [take(queue), take(queue)]
    assert [half.files for half in halves if half] == [batch.files[:2], batch.files[2:]]


def test_batches_nobody_began_come_back_first_and_in_order() -> None:
    """What a dead child still held is not put behind the rest of the library."""
    first, second, third = batches(files(3), 1)
    queue = WorkQueue([first, second, third])
    assert [queue.take(), queue.take()] == [first, second]
    queue.put_back([first, second])
    assert [queue.take() for _ in range(4)] == [first, second, third, None]


def test_source_is_read_only_as_far_as_it_is_needed() -> None:
    """A million files are not held in memory."""
    read = []

    def lazily() -> Iterator[Batch]:
        for batch in batches(files(3), 1):
            read.append(batch)
            yield batch

    queue = WorkQueue(lazily())
    assert read == []
    queue.take()
    assert len(read) == 1
