"""Batches become vectors: what is told of each file, what a bad one costs, and what threads change."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_index.files import read
from image_index.formats import Decoding
from image_index.pictures import decode
from image_index.records import Batch, EmbeddedBatch, Pixels, Stage, Vectors
from image_index.workers.embed import Embedder
from image_index.workers.messages import ChildSetup, LoadedEncoder
from tests.support import fake_models
from tests.support.cloud import send_to_cloud
from tests.support.small_pictures import Pictures

pytestmark = pytest.mark.timeout(60)

SETUP = ChildSetup(fake_models.SPEC, "0" * 64, device="cpu", batch_size=4)
IN_THREADS = replace(SETUP, decode_threads=3)


def embed_batch(
    batch: Batch, encoder: LoadedEncoder, setup: ChildSetup, report: Callable[[int], None]
) -> EmbeddedBatch:
    """Embed one batch."""
    embedder = Embedder(encoder, setup, report)
    return embedder.embed(embedder.begin(batch))


@pytest.fixture
def encoder() -> fake_models.FakeEncoder:
    """Return a model that gives the mean colour."""
    return fake_models.FakeEncoder(fake_models.SPEC, "0" * 64)


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
    result = embed_batch(Batch(tuple(files)), encoder, SETUP, ignore)
    assert [image.file for image in result.images] == files
    for vector, colour in zip(result.vectors, colours, strict=True):
        np.testing.assert_allclose(vector, unit(colour), atol=1e-4)


def test_facts_of_an_image_are_those_of_its_content(pictures: Pictures, encoder: fake_models.FakeEncoder) -> None:
    """Hash, size, shape and format are taken from the very bytes that were embedded, and so is the time."""
    file = pictures.make("a.jpg")
    stale = file._replace(size=1, mtime_ns=1)
    before = time.time_ns()
    (image,) = embed_batch(Batch((stale,)), encoder, SETUP, ignore).images
    assert image.file == file
    assert image.sha256 == hashlib.sha256(Path(os.fsdecode(file.path)).read_bytes()).digest()
    assert (image.picture.width, image.picture.height, image.picture.format) == (12, 8, "png")
    assert before <= image.read_at_ns <= time.time_ns()


def test_bad_files_cost_nothing_but_themselves(
    pictures: Pictures, encoder: fake_models.FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among good files a broken, an unreadable, a vanished and one that trips the decoder each get their own entry."""
    good = [pictures.make(f"good-{i}.png", (i, 100, 50)) for i in range(3)]
    broken, unreadable, vanished, buggy = (pictures.make(f"{name}.png") for name in ("bad", "locked", "gone", "bug"))
    Path(os.fsdecode(broken.path)).write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    Path(os.fsdecode(vanished.path)).unlink()
    read_file = read.read_file

    def reads(path: bytes, **_: bool) -> read.FileContent:
        if path == unreadable.path:
            raise PermissionError(13, "Permission denied")
        if path == buggy.path:
            raise ZeroDivisionError("a bug\nin two lines")
        return read_file(path)

    monkeypatch.setattr(read, "read_file", reads)
    files = (broken, good[0], vanished, good[1], unreadable, buggy, good[2])
    result = embed_batch(Batch(files), encoder, SETUP, ignore)
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
    result = embed_batch(Batch((pictures.file(bad),)), encoder, SETUP, ignore)
    assert (result.images, result.vectors.shape, len(result.failures)) == ((), (0, 3), 1)
    assert encoder.batches == 0


def test_a_picture_over_the_pixel_limit_is_a_failure(pictures: Pictures, encoder: fake_models.FakeEncoder) -> None:
    """The limit that the child was told is the limit it keeps."""
    file = pictures.make("large.png")
    limited = embed_batch(Batch((file,)), encoder, replace(SETUP, max_pixels=12 * 8 - 1), ignore)
    assert [failure.stage for failure in limited.failures] == [Stage.DECODE]
    allowed = embed_batch(Batch((file,)), encoder, replace(SETUP, max_pixels=12 * 8), ignore)
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
    result = embed_batch(Batch(tuple(files)), Overflowing(fake_models.SPEC, "0" * 64), SETUP, ignore)
    assert [image.file for image in result.images] == [files[0], files[2]]
    np.testing.assert_allclose(result.vectors, [unit(colours[0]), unit(colours[2])], atol=1e-4)
    (failure,) = result.failures
    assert (failure.file, failure.stage, failure.reason) == (files[1], Stage.EMBED, "the model gave no finite vector")


def test_a_picture_without_a_direction_is_an_image_with_a_vector_of_zeros(pictures: Pictures) -> None:
    """Nothing is wrong with it or with the device; what is left of a vector after rounding is not taken for one."""

    class Rounding(fake_models.FakeEncoder):
        def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
            vectors = super().encode_images(pixels, pad_to)
            vectors[2] *= 0.9
            return vectors

    colours = [(200, 10, 10), fake_models.GREY, (10, 10, 200)]
    files = [pictures.make(f"{i}.png", colour) for i, colour in enumerate(colours)]
    result = embed_batch(Batch(tuple(files)), Rounding(fake_models.SPEC, "0" * 64), SETUP, ignore)
    assert [image.file for image in result.images] == files
    assert result.failures == ()
    np.testing.assert_allclose(result.vectors, np.array([unit(colours[0]), [0, 0, 0], [0, 0, 0]]), atol=1e-4)


def test_every_file_is_announced_before_it_is_opened_and_the_forward_pass_before_it_begins(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent always knows which file a child is at, whether or not that file is any good."""
    happened: list[object] = []
    read_file = read.read_file

    def reads(path: bytes, **_: bool) -> read.FileContent:
        happened.append(path)
        return read_file(path)

    class Telling(fake_models.FakeEncoder):
        def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
            happened.append(("forward", len(pixels), pad_to))
            return super().encode_images(pixels, pad_to)

    monkeypatch.setattr(read, "read_file", reads)
    files = [pictures.make(f"{i}.png") for i in range(3)]
    Path(os.fsdecode(files[1].path)).write_bytes(b"bad")
    embed_batch(Batch(tuple(files)), Telling(fake_models.SPEC, "0" * 64), SETUP, happened.append)
    assert happened == [0, files[0].path, 1, files[1].path, 2, files[2].path, 3, ("forward", 2, 4)]


def test_a_file_that_went_into_a_cloud_since_the_scan_is_read_on_request_alone(
    pictures: Pictures, encoder: fake_models.FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as vanished: as a failure it would be remembered, although nothing is wrong with it."""
    files = pictures.make("a.png"), pictures.make("b.png")
    with monkeypatch.context() as patch:
        send_to_cloud(patch, Path(os.fsdecode(files[0].path)))
        result = embed_batch(Batch(files), encoder, SETUP, ignore)
    assert (result.vanished, result.failures, [image.file for image in result.images]) == (files[:1], (), [files[1]])
    told: list[bool] = []
    read_file = read.read_file

    def reads(path: bytes, *, fetch_cloud: bool) -> read.FileContent:
        told.append(fetch_cloud)
        return read_file(path)

    monkeypatch.setattr(read, "read_file", reads)
    embed_batch(Batch(files), encoder, replace(SETUP, fetch_cloud=True), ignore)
    assert told == [True, True]


@pytest.mark.parametrize("decoding", Decoding)
def test_pictures_are_decoded_as_the_child_is_told(
    pictures: Pictures, encoder: fake_models.FakeEncoder, monkeypatch: pytest.MonkeyPatch, decoding: Decoding
) -> None:
    """What `--decode` says reaches the decoder."""
    shown = []
    file = pictures.make("a.jpg")
    decode_content = decode.decode

    def noting(*arguments: Any) -> decode.Picture:
        shown.append(arguments[3])
        return decode_content(*arguments)

    monkeypatch.setattr(decode, "decode", noting)
    embed_batch(Batch((file,)), encoder, replace(SETUP, decoding=decoding), ignore)
    assert shown == [decoding]


def test_seconds_are_counted_by_stage(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow shows in the stage that is slow, and in no other."""

    class Slow(fake_models.FakeEncoder):
        def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
            clock["now"] += 7
            return super().encode_images(pixels, pad_to)

    clock = {"now": 0.0}
    read_file, decode_content = read.read_file, decode.decode

    def reads(path: bytes, **_: bool) -> read.FileContent:
        clock["now"] += 1
        return read_file(path)

    def slowly(*arguments: Any, **options: Any) -> decode.Picture:
        clock["now"] += 3
        return decode_content(*arguments, **options)

    monkeypatch.setattr(read, "read_file", reads)
    monkeypatch.setattr(decode, "decode", slowly)
    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])
    files = tuple(pictures.make(f"{i}.png") for i in range(2))
    seconds = embed_batch(Batch(files), Slow(fake_models.SPEC, "0" * 64), SETUP, ignore).seconds
    assert (seconds.read, seconds.decode, seconds.forward) == (2, 6, 7)


def test_threads_change_nothing_but_the_time(
    pictures: Pictures, encoder: fake_models.FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever order the threads finish in, a batch becomes what it becomes without them."""
    files = [pictures.make(f"{i}.png", (9 * i, 100, 50)) for i in range(12)]
    Path(os.fsdecode(files[3].path)).write_bytes(b"no picture")
    Path(os.fsdecode(files[5].path)).unlink()
    expected = embed_batch(Batch(tuple(files)), encoder, SETUP, ignore)
    read_file = read.read_file

    def reads(path: bytes, **_: bool) -> read.FileContent:
        time.sleep(0.05 if path == files[0].path else 0)  # the first comes last
        return replace(read_file(path), read_at_ns=0)

    monkeypatch.setattr(read, "read_file", reads)
    result = embed_batch(Batch(tuple(files)), encoder, IN_THREADS, ignore)
    assert result.images == tuple(replace(image, read_at_ns=0) for image in expected.images)
    np.testing.assert_array_equal(result.vectors, expected.vectors)
    assert (result.failures, result.vanished) == (expected.failures, expected.vanished)


def test_threads_decode_the_next_batch_while_the_model_is_at_this_one(pictures: Pictures) -> None:
    """The forward pass of a batch can wait for the pictures of the one after it."""
    files = [pictures.make(f"{i}.png") for i in range(4)]
    first, second = Batch(tuple(files[:2])), Batch(tuple(files[2:]))

    class Waiting(fake_models.FakeEncoder):
        def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
            after_this[0].results[-1]()  # comes back once the last picture of that batch is decoded
            return super().encode_images(pixels, pad_to)

    embedder = Embedder(Waiting(fake_models.SPEC, "0" * 64), IN_THREADS, ignore)
    begun = embedder.begin(first)
    after_this = [embedder.begin(second)]
    assert len(embedder.embed(begun).images) == 2
    assert len(embedder.embed(after_this[0]).images) == 2


def test_a_batch_that_is_to_be_alone_is_opened_file_by_file(
    pictures: Pictures, encoder: fake_models.FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so does the parent know which file it was that killed."""
    happened: list[object] = []
    read_file = read.read_file

    def reads(path: bytes, **_: bool) -> read.FileContent:
        happened.append((path, threading.current_thread() is threading.main_thread()))
        return read_file(path)

    monkeypatch.setattr(read, "read_file", reads)
    files = [pictures.make(f"{i}.png") for i in range(2)]
    embed_batch(Batch(tuple(files), alone=True), encoder, IN_THREADS, happened.append)
    assert happened == [0, (files[0].path, True), 1, (files[1].path, True), 2]


def test_time_that_the_model_waits_for_threads_is_idle(
    pictures: Pictures, encoder: fake_models.FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three threads that read for half a second each keep the model waiting for about half a second."""
    read_file = read.read_file

    def reads(path: bytes, **_: bool) -> read.FileContent:
        time.sleep(0.5)
        return read_file(path)

    monkeypatch.setattr(read, "read_file", reads)
    files = tuple(pictures.make(f"{i}.png") for i in range(3))
    seconds = embed_batch(Batch(files), encoder, IN_THREADS, ignore).seconds
    assert seconds.read > 1.4
    assert 0.4 < seconds.idle < seconds.read
    assert embed_batch(Batch(files[:1]), encoder, SETUP, ignore).seconds.idle == 0
