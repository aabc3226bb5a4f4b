"""What runs in a child: batches that hold bad files, and the life of a real child process."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import pytest
from PIL import Image

from image_index import decode
from image_index.channel import open_pair
from image_index.devices import Slot
from image_index.errors import ModelUnavailable, UsageError
from image_index.messages import (
    BatchFailed,
    ChildSetup,
    Embedded,
    Encoded,
    EncodeTexts,
    Loader,
    LogLine,
    NotReady,
    Ready,
    Working,
)
from image_index.models import ModelSpec, parse_model
from image_index.pool import ChildPool
from image_index.records import Batch, ImageFile, Pixels, Stage, Vectors
from image_index.worker import embed_batch, run_child
from tests import fake_models

pytestmark = pytest.mark.timeout(120)

SETUP = ChildSetup(fake_models.SPEC, "0" * 64, device="cpu", batch_size=4, loader=fake_models.load)


@pytest.fixture
def encoder() -> fake_models.FakeEncoder:
    """Return a model that gives the mean colour."""
    return fake_models.FakeEncoder(fake_models.SPEC, "0" * 64)


@dataclass
class Pictures:
    """A directory of small pictures."""

    directory: Path

    def make(self, name: str, colour: tuple[int, int, int] = (10, 20, 30)) -> ImageFile:
        """Write one picture, wider than high."""
        path = self.directory / name
        Image.new("RGB", (12, 8), colour).save(path, "PNG")
        return self.file(path)

    def file(self, path: Path) -> ImageFile:
        """Return a file as the scan does."""
        status = path.stat()
        return ImageFile(os.fsencode(path), status.st_size, status.st_mtime_ns)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Return a directory for pictures."""
    return Pictures(tmp_path)


def ignore(_: int) -> None:
    """Report to nobody."""


def unit(colour: tuple[int, int, int]) -> Vectors:
    """Return the direction of a colour."""
    vector = np.array(colour, np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def test_each_vector_belongs_to_the_picture_in_its_place(pictures: Pictures, encoder: fake_models.FakeEncoder) -> None:
    """Images keep the order of their files, and vectors the order of the images."""
    colours = [(200, 10, 10), (10, 200, 10), (10, 10, 200), (90, 90, 10)]
    files = [pictures.make(f"{i}.png", colour) for i, colour in enumerate(colours)]
    result = embed_batch(Batch(1, tuple(files)), encoder, SETUP, ignore)
    assert [image.file for image in result.images] == files
    for vector, colour in zip(result.vectors, colours, strict=True):
        np.testing.assert_allclose(vector, unit(colour), atol=1e-4)


def test_facts_of_an_image_are_those_of_its_content(pictures: Pictures, encoder: fake_models.FakeEncoder) -> None:
    """Hash, size, shape and format are taken from the very bytes that were embedded, and so is the time."""
    file = pictures.make("a.jpg")
    stale = replace(file, size=1, mtime_ns=1)
    before = time.time_ns()
    (image,) = embed_batch(Batch(1, (stale,)), encoder, SETUP, ignore).images
    assert image.file == file
    assert image.sha256 == hashlib.sha256(Path(os.fsdecode(file.path)).read_bytes()).digest()
    assert (image.width, image.height, image.format) == (12, 8, "png")
    assert before <= image.read_at_ns <= time.time_ns()


def test_bad_files_cost_nothing_but_themselves(
    pictures: Pictures, encoder: fake_models.FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among good files a broken, an unreadable, a vanished and one that trips the decoder each get their own entry."""
    good = [pictures.make(f"good-{i}.png", (i, 100, 50)) for i in range(3)]
    broken, unreadable, vanished, buggy = (pictures.make(f"{name}.png") for name in ("bad", "locked", "gone", "bug"))
    Path(os.fsdecode(broken.path)).write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    Path(os.fsdecode(vanished.path)).unlink()
    read_file = decode.read_file

    def read(path: bytes) -> decode.FileContent:
        if path == unreadable.path:
            raise PermissionError(13, "Permission denied")
        if path == buggy.path:
            raise ZeroDivisionError("a bug\nin two lines")
        return read_file(path)

    monkeypatch.setattr(decode, "read_file", read)
    files = (broken, good[0], vanished, good[1], unreadable, buggy, good[2])
    result = embed_batch(Batch(1, files), encoder, SETUP, ignore)
    assert [image.file for image in result.images] == good
    assert result.vanished == (vanished,)
    failed = {failure.file.path: (failure.stage, failure.reason) for failure in result.failures}
    assert failed[unreadable.path] == (Stage.READ, "Permission denied")
    assert failed[buggy.path] == (Stage.DECODE, "ZeroDivisionError: a bug in two lines")
    assert failed[broken.path][0] is Stage.DECODE
    assert len(failed) == 3
    for vector, i in zip(result.vectors, range(3), strict=True):
        np.testing.assert_allclose(vector, unit((i, 100, 50)), atol=1e-4)


def test_a_batch_of_nothing_but_bad_files_asks_nothing_of_the_model(pictures: Pictures) -> None:
    """No picture, no forward pass; the empty result still has the model's dimension."""
    bad = pictures.directory / "bad.png"
    bad.write_bytes(b"bad")
    encoder = fake_models.FakeEncoder(fake_models.SPEC, "0" * 64)
    result = embed_batch(Batch(1, (pictures.file(bad),)), encoder, SETUP, ignore)
    assert (result.images, result.vectors.shape, len(result.failures)) == ((), (0, 3), 1)
    assert encoder.batches == 0


def test_a_picture_over_the_pixel_limit_is_a_failure(pictures: Pictures, encoder: fake_models.FakeEncoder) -> None:
    """The limit that the child was told is the limit it keeps."""
    file = pictures.make("large.png")
    limited = embed_batch(Batch(1, (file,)), encoder, replace(SETUP, max_pixels=12 * 8 - 1), ignore)
    assert [failure.stage for failure in limited.failures] == [Stage.DECODE]
    allowed = embed_batch(Batch(1, (file,)), encoder, replace(SETUP, max_pixels=12 * 8), ignore)
    assert len(allowed.images) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_a_failure_and_is_never_stored(pictures: Pictures, bad: float) -> None:
    """One such vector costs its own picture alone."""

    class Overflowing(fake_models.FakeEncoder):
        def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
            vectors = super().encode_images(pixels, pad_to)
            vectors[1, 2] = bad
            return vectors

    colours = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]
    files = [pictures.make(f"{i}.png", colour) for i, colour in enumerate(colours)]
    result = embed_batch(Batch(1, tuple(files)), Overflowing(fake_models.SPEC, "0" * 64), SETUP, ignore)
    assert [image.file for image in result.images] == [files[0], files[2]]
    np.testing.assert_allclose(result.vectors, [unit(colours[0]), unit(colours[2])], atol=1e-4)
    (failure,) = result.failures
    assert (failure.file, failure.stage, failure.reason) == (files[1], Stage.EMBED, "the model gave no finite vector")


def test_every_file_is_announced_before_it_is_opened_and_the_forward_pass_before_it_begins(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent always knows which file a child is at, whether or not that file is any good."""
    happened: list[object] = []
    read_file = decode.read_file

    def read(path: bytes) -> decode.FileContent:
        happened.append(path)
        return read_file(path)

    class Telling(fake_models.FakeEncoder):
        def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
            happened.append(("forward", len(pixels), pad_to))
            return super().encode_images(pixels, pad_to)

    monkeypatch.setattr(decode, "read_file", read)
    files = [pictures.make(f"{i}.png") for i in range(3)]
    Path(os.fsdecode(files[1].path)).write_bytes(b"bad")
    embed_batch(Batch(1, tuple(files)), Telling(fake_models.SPEC, "0" * 64), SETUP, happened.append)
    assert happened == [0, files[0].path, 1, files[1].path, 2, files[2].path, 3, ("forward", 2, 4)]


def test_seconds_are_counted_by_stage(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow shows in the stage that is slow, and in no other."""

    class Slow(fake_models.FakeEncoder):
        def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
            clock["now"] += 7
            return super().encode_images(pixels, pad_to)

    clock = {"now": 0.0}
    read_file, decode_content = decode.read_file, decode.decode

    def read(path: bytes) -> decode.FileContent:
        clock["now"] += 1
        return read_file(path)

    def slowly(*arguments: object) -> decode.Picture:
        clock["now"] += 3
        return decode_content(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "read_file", read)
    monkeypatch.setattr(decode, "decode", slowly)
    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])
    files = tuple(pictures.make(f"{i}.png") for i in range(2))
    seconds = embed_batch(Batch(1, files), Slow(fake_models.SPEC, "0" * 64), SETUP, ignore).seconds
    assert (seconds.read, seconds.decode, seconds.forward) == (2, 6, 7)


# Real child processes


def wrong_device(spec: ModelSpec, weights_sha256: str, device: str) -> fake_models.FakeEncoder:
    """Find no such device."""
    raise UsageError(f"no device {device} on this machine")


def unavailable(spec: ModelSpec, weights_sha256: str, device: str) -> fake_models.FakeEncoder:
    """Find no model."""
    raise ModelUnavailable("cannot load the model")


Message = TypeVar("Message")


class Talk:
    """A real child and the parent's end of its channel."""

    def __init__(self, setup: ChildSetup) -> None:
        self.channel, theirs = open_pair()
        self.process = get_context("spawn").Process(target=run_child, args=(theirs, setup))
        self.process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self.channel.close()

    def hear(self, kind: type[Message]) -> Message:
        """Return the next message of one kind; log lines and signs of life in between are passed over."""
        while not isinstance(message := self.channel.receive(), kind):
            assert isinstance(message, LogLine | Working), message
        return message

    def exit_code(self) -> int | None:
        """Return what the child leaves with."""
        self.process.join(30)
        return self.process.exitcode


def test_a_child_leaves_when_its_channel_closes() -> None:
    """A parent that is gone is no reason to stay."""
    with Talk(SETUP) as child:
        child.hear(Ready)
        child.channel.close()
        assert child.exit_code() == 0


def test_a_child_leaves_when_told_to_after_the_work_it_holds(pictures: Pictures) -> None:
    """What was handed over before the word to stop is still answered."""
    with Talk(SETUP) as child:
        child.channel.send(Batch(1, (pictures.make("a.png"),)))
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
        assert child.process.is_alive()
        child.channel.close()
        assert child.exit_code() == 0


def test_an_answer_that_cannot_be_given_leaves_the_child_alive() -> None:
    """An exception in a job, picklable or not, is an answer, and the next job is done."""
    with Talk(SETUP) as child:
        child.hear(Ready)
        child.channel.send(EncodeTexts(("unpicklable",)))
        assert child.hear(BatchFailed).reason == "Unpicklable: cannot be pickled"
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
    with ChildPool(setup, [Slot("cpu", 1)]) as pool:
        (result,) = pool.embed([Batch(1, (pictures.make("a.png"),))])
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
