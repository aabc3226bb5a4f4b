"""What runs in a child: batches that hold bad files, and the life of a real child process."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

import pytest

from image_index.errors import ModelUnavailable, UsageError
from image_index.models.names import ModelSpec, parse_model
from image_index.records import Batch
from image_index.workers.channel import open_pair
from image_index.workers.child import start_process
from image_index.workers.devices import Precision, Slot
from image_index.workers.messages import (
    ChildSetup,
    Embedded,
    Encoded,
    EncodeTexts,
    JobFailed,
    Loader,
    LogLine,
    NotReady,
    Ready,
    Working,
)
from image_index.workers.pool import ChildPool, PoolPlan
from tests.support import fake_models
from tests.support.small_pictures import Pictures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SETUP = ChildSetup(fake_models.SPEC, "0" * 64, device="cpu", batch_size=4, loader=fake_models.load)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Return a directory for pictures."""
    return Pictures(tmp_path)


# Real child processes


def wrong_device(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision) -> fake_models.FakeEncoder:
    """Find no such device."""
    raise UsageError(f"no device {device} on this machine")


def unavailable(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision) -> fake_models.FakeEncoder:
    """Find no model."""
    raise ModelUnavailable("cannot load the model")


Message = TypeVar("Message")


class Talk:
    """A real child and the parent's end of its channel."""

    def __init__(self, setup: ChildSetup) -> None:
        self.channel, theirs = open_pair()
        self.channel.send(setup)
        self.process = start_process("image_index.workers.child_main", theirs, Slot("cpu", 1).environment())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:  # closes its stdin, and waits
            self.process.kill()
        self.channel.close()

    def hear(self, kind: type[Message]) -> Message:
        """Return the next message of one kind; log lines and signs of life in between are passed over."""
        while not isinstance(message := self.channel.receive(), kind):
            assert isinstance(message, LogLine | Working), message
        return message

    def exit_code(self) -> int:
        """Return what the child leaves with."""
        return self.process.wait(30)


def test_a_child_leaves_when_its_channel_closes() -> None:
    """A parent that is gone is no reason to stay."""
    with Talk(SETUP) as child:
        child.hear(Ready)
        child.channel.close()
        assert child.exit_code() == 0


def test_a_child_leaves_when_told_to_after_the_work_it_holds(pictures: Pictures) -> None:
    """What was handed over before the word to stop is still answered."""
    with Talk(SETUP) as child:
        child.channel.send(Batch((pictures.make("a.png"),)))
        child.channel.send(None)
        child.hear(Ready)
        assert len(child.hear(Embedded).result.images) == 1
        assert child.exit_code() == 0


@pytest.mark.parametrize(
    ("loader", "reason", "usage"),
    [
        (fake_models.load_never, "Unpicklable: cannot be pickled", False),
        (unavailable, "cannot load the model", False),
        (wrong_device, "no device cpu on this machine", True),
    ],
)
def test_a_model_that_does_not_load_is_a_typed_answer_and_the_second_one_is_final(
    loader: Loader, reason: str, usage: bool
) -> None:
    """Nothing is raised across the border: the child says why, tries again at its first job, and gives up."""
    with Talk(replace(SETUP, loader=loader)) as child:
        assert child.hear(NotReady) == NotReady(reason, final=False, usage=usage)
        child.channel.send(EncodeTexts(("a",)))
        assert child.hear(NotReady) == NotReady(reason, final=True, usage=usage)
        assert child.process.poll() is None
        child.channel.close()
        assert child.exit_code() == 0


def test_an_answer_that_cannot_be_given_leaves_the_child_alive() -> None:
    """An exception in a job, picklable or not, is an answer, and the next job is done."""
    with Talk(SETUP) as child:
        child.hear(Ready)
        child.channel.send(EncodeTexts(("unpicklable",)))
        assert child.hear(JobFailed).reason == "Unpicklable: cannot be pickled"
        child.channel.send(EncodeTexts(("four",)))
        assert child.hear(Encoded).vectors.tolist() == [[4, 0, 0]]


FOUR_LINES = [
    "Preloading embedding model in worker process",
    "Loading OpenCLIP model starter on cpu",
    "Model loaded. Embedding dim: 512",
    "Embedding model preloaded successfully in worker process",
]
"""DESIGN.md, section 1."""


def test_the_four_lines_of_a_preloading_child_reach_the_parents_log(
    pictures: Pictures, caplog: pytest.LogCaptureFixture
) -> None:
    """A real child with the real model says exactly these, in this order, before its first result."""
    caplog.set_level(logging.INFO, "image_index.worker")
    setup = ChildSetup(parse_model("starter"), "0" * 64, device="cpu", log_level=logging.INFO)
    with ChildPool(lambda _: PoolPlan(setup, [Slot("cpu", 1)])) as pool:
        (result,) = pool.embed([Batch((pictures.make("a.png"),))])
        assert pool.facts
        assert pool.facts.dim == result.vectors.shape[1] == 512
    lines = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert lines == [("image_index.worker", logging.INFO, line) for line in FOUR_LINES]


def test_a_child_told_to_be_silent_sends_no_lines() -> None:
    """Lines that nobody wants do not cross the border."""
    heard: list[object] = []
    with Talk(replace(SETUP, log_level=logging.WARNING)) as child:
        while not isinstance(message := child.channel.receive(), Ready):
            heard.append(message)
    assert not [message for message in heard if isinstance(message, LogLine)]
