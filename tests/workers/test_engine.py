"""Batches, and the pool that an engine's settings make."""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.errors import ModelUnavailable, UsageError, WorkersFailed
from image_index.formats import Decoding
from image_index.models.names import digest_weights, locate_weights, parse_model
from image_index.records import ImageFile
from image_index.stop import StopRequest
from image_index.workers.channel import open_pair
from image_index.workers.child import Deadlines
from image_index.workers.devices import EncoderKind, default_batch_size, default_max_pixels, plan_slots
from image_index.workers.engine import MAX_BATCH_BYTES, Engine, make_batches
from image_index.workers.exported import ExportedModel
from image_index.workers.pool import PoolLimits
from tests.support import fake_models

STARTER = parse_model("starter")


def files(*sizes_of_path: int) -> list[ImageFile]:
    """Return files with paths of so many bytes."""
    return [ImageFile(b"/".ljust(size, b"x"), 1_000_000, 1_700_000_000_000_000_000) for size in sizes_of_path]


@given(st.lists(st.integers(1, 40_000), max_size=40), st.integers(1, 12))
def test_batches_hold_every_file_once_in_order_within_the_limits(sizes: list[int], size: int) -> None:
    """Joined together the batches are the files; none is empty, too long, or too large unless one file alone is."""
    asked = files(*sizes)
    batches = list(make_batches(asked, size))
    assert [file for batch in batches for file in batch.files] == asked
    for batch in batches:
        assert 1 <= len(batch.files) <= size
        assert len(batch.files) == 1 or sum(len(file.path) for file in batch.files) <= MAX_BATCH_BYTES


def test_batches_are_as_full_as_they_may_be() -> None:
    """Only the last batch of ordinary files is short."""
    assert [len(batch.files) for batch in make_batches(files(*[60] * 10), 4)] == [4, 4, 2]


def test_no_files_make_no_batch() -> None:
    """Nothing to do is no batch, not an empty one."""
    assert list(make_batches([], 4)) == []


def test_batches_are_made_one_at_a_time() -> None:
    """A million files are not held in memory to make the first batch."""
    taken = 0

    def source() -> Iterator[ImageFile]:
        nonlocal taken
        for file in files(*[10] * 100):
            taken += 1
            yield file

    next(make_batches(source(), 4))
    assert taken <= 5


def test_a_batch_of_no_pictures_is_wrong_use() -> None:
    """A batch size below one cannot be meant."""
    with pytest.raises(UsageError, match="--batch-size"):
        next(make_batches(files(10), 0))


@pytest.mark.parametrize("path_bytes", [6, 20, 100, 1000, 4096])
def test_two_of_the_largest_batches_fit_into_a_pipe_that_nobody_reads(path_bytes: int) -> None:
    """A parent never waits for a busy child, however many pictures a batch may hold."""
    batches = list(islice(make_batches(iter(files(*[path_bytes] * 30_000)), 1_000_000), 2))
    assert max(len(pickle.dumps(batch)) for batch in batches) <= 1.1 * MAX_BATCH_BYTES
    ours, theirs = open_pair()
    for batch in batches:
        ours.send(batch, timeout_s=1)
    ours.close()
    theirs.close()


def test_children_are_told_what_the_engine_was_set_to() -> None:
    """Device, batch size, pixel limit and loader reach the children; workers are their number."""
    engine = Engine(
        "cpu",
        workers=3,
        batch_size=7,
        max_pixels=1234,
        fetch_cloud=True,
        loader=fake_models.load,
        decoding=Decoding.EXACT,
    )
    setup, slots = engine.plan(STARTER, quiet=True)
    assert (setup.spec, setup.batch_size, setup.max_pixels, setup.loader) == (STARTER, 7, 1234, fake_models.load)
    assert (setup.fetch_cloud, setup.decoding) == (True, Decoding.EXACT)
    assert [slot.device for slot in slots] == ["cpu"] * 3


def test_children_know_the_digest_of_the_weights_they_load() -> None:
    """The digest comes from the parent, which has read the file once for all children."""
    weights = locate_weights(STARTER)
    assert weights
    assert Engine("cpu").plan(STARTER, quiet=True).setup.weights_sha256 == digest_weights(weights)


def test_settings_left_out_are_those_that_suit_the_machine() -> None:
    """None means the default of the machine, for batch size, children and pixels."""
    setup, slots = Engine("cpu").plan(STARTER, quiet=True)
    assert setup.batch_size == default_batch_size("cpu")
    assert setup.max_pixels == default_max_pixels(slots)
    assert len(slots) >= 1


def test_no_pixel_limit_is_told_from_the_default_one() -> None:
    """`--max-megapixels none` is no limit at all."""
    assert Engine("cpu", max_pixels=math.inf).plan(STARTER, quiet=True).setup.max_pixels == math.inf


@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO, logging.DEBUG])
def test_children_log_as_much_as_their_parent(level: int, caplog: pytest.LogCaptureFixture) -> None:
    """A line that the parent would drop is not sent."""
    caplog.set_level(level, "image_index")
    assert Engine("cpu").plan(STARTER, quiet=True).setup.log_level == level


def test_a_tower_that_is_asked_for_and_not_there_is_missed_aloud(caplog: pytest.LogCaptureFixture) -> None:
    """The first run of an index has none; whoever asks for nothing is told nothing."""
    assert Engine("cpu").plan(STARTER, quiet=True).setup.exported is None
    assert not caplog.records
    assert Engine("cpu", encoder=EncoderKind.ONNX).plan(STARTER, quiet=True).setup.exported is None
    assert "torch runs the model" in caplog.text


def test_few_pictures_are_left_to_one_child_with_all_cores() -> None:
    """It has no weights to digest: a small job is not worth reading them."""
    exported = ExportedModel("/towers", fake_models.FACTS, picture_s=0.1)
    setup, slots = Engine("cpu", encoder=EncoderKind.ONNX).plan(STARTER, exported, 3, quiet=True)
    assert len(slots) == 1
    assert setup.weights_sha256 == ""
    assert setup.exported is not None
    assert setup.exported.facts.name == "starter"
    many = Engine("cpu", encoder=EncoderKind.ONNX).plan(STARTER, exported, quiet=True)
    assert many.setup.exported is not None
    assert many.slots == plan_slots("cpu")


def test_the_limits_of_an_engine_are_those_of_its_pool() -> None:
    """A deadline that the owner of the engine sets ends a child that does not load in time."""
    limits = PoolLimits(Deadlines(load_s=0.01))
    engine = Engine("cpu", workers=1, limits=limits, loader=fake_models.load_and_hang)
    with engine.pool(STARTER, StopRequest(), quiet=True) as pool, pytest.raises(WorkersFailed, match="no sign of life"):
        pool.encode_texts(["a dog"])


def test_a_stop_reaches_the_pool() -> None:
    """After a stop not even a child is started."""
    batches = make_batches(files(10), 4)
    with Engine("cpu").pool(STARTER, StopRequest(signal_number=2), quiet=True) as pool:
        assert list(pool.embed(batches)) == []
        assert pool.pids == []


def test_a_pool_starts_its_children_once_and_only_when_told_to() -> None:
    """Making and entering a pool costs no process, nor does work that turns out to be none."""
    engine = Engine("cpu", workers=2, loader=fake_models.load)
    with engine.pool(STARTER, StopRequest(), quiet=True) as pool:
        assert list(pool.embed(())) == []
        assert pool.pids == []
        pool.start()
        pids = pool.pids
        assert len(pids) == 2
        pool.start()
        assert pool.pids == pids
    assert pool.pids == []


def test_a_model_that_is_not_there_is_known_before_any_child_starts(tmp_path: Path) -> None:
    """The parent looks for the model's files itself."""
    with pytest.raises(ModelUnavailable, match="/none: No such file"):
        Engine("cpu").plan(parse_model(f"local-dir:{tmp_path / 'none'}"), quiet=True)
