"""A node in this process, whose local pool runs a fake model."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from image_index.cluster.messages import VERSION, NodeAnswer, NodeSetup
from image_index.cluster.node import Node, examine
from image_index.cluster.paths import PathMap, parse_map
from image_index.errors import ModelUnavailable, WorkersFailed
from image_index.models.names import parse_model
from image_index.records import EmbeddedBatch, Stage
from image_index.workers.child import Deadlines
from image_index.workers.devices import visible_gpus
from image_index.workers.engine import Engine, make_batches
from image_index.workers.messages import Loader
from image_index.workers.pool import PoolLimits
from tests.support import fake_models
from tests.support.small_pictures import Pictures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PATIENCE_S = 60


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Return a directory for pictures."""
    return Pictures(tmp_path)


def setup_of(loader: Loader = fake_models.load, path_map: PathMap | None = None) -> NodeSetup:
    """Return the setup of a node with one child."""
    limits = PoolLimits(Deadlines(load_s=60, file_s=1.5))
    engine = Engine("cpu", workers=1, batch_size=4, limits=limits, loader=loader)
    return NodeSetup(engine, parse_model("starter"), (), path_map or PathMap(), logging.WARNING)


def answers(node: Node) -> Iterator[NodeAnswer]:
    """Yield what a node says until it has finished."""
    give_up = monotonic() + PATIENCE_S
    while monotonic() < give_up:
        answer = node.take(1)
        yield answer
        if answer.finished:
            return
    raise AssertionError("the node has not finished")


def results(node: Node, files: int) -> list[EmbeddedBatch]:
    """Return what a node makes of so many files, and let it finish then."""
    found: list[EmbeddedBatch] = []
    for answer in answers(node):
        assert answer.error is None
        assert answer.facts or not answer.results
        found.extend(answer.results)
        files -= sum(len(one.images) + len(one.failures) + len(one.vanished) for one in answer.results)
        if not files:
            node.finish()
    return found


def test_a_node_embeds_what_it_is_given_now_and_later(pictures: Pictures) -> None:
    """One file aborts its child, one hangs it: both are blamed by the pool of the node, and nothing else."""
    names = [f"p{number:02d}.png" for number in range(20)]
    files = [pictures.make(name) for name in [*names, "dies-SIGABRT.png", "hangs.png"]]
    node = Node(VERSION, pickle.dumps(setup_of()))
    assert node.take(PATIENCE_S).room == 6 * 4
    first, *others = make_batches(files, 2)
    node.give((first,))
    assert node.take(PATIENCE_S).results
    node.give(tuple(others))
    found = results(node, len(files) - 2)
    embedded = [image.file for result in found for image in result.images]
    assert sorted(embedded) == sorted(files[2:20])
    assert max(len(result.images) for result in found) == 4
    assert {os.path.basename(failure.file.path): failure.stage for result in found for failure in result.failures} == {
        b"dies-SIGABRT.png": Stage.CRASH,
        b"hangs.png": Stage.TIMEOUT,
    }


def test_a_node_knows_files_by_the_names_of_its_driver(pictures: Pictures) -> None:
    """What lies elsewhere here is read there, and told as the driver has it."""
    path_map = PathMap((parse_map(f"/mnt/photos={pictures.directory}"),))
    here = [pictures.make("a.png"), pictures.make("unreadable.png")]
    gone = here[0]._replace(path=os.fsencode(pictures.directory / "gone.png"))
    files = [file._replace(path=b"/mnt/photos/" + os.path.basename(file.path)) for file in [*here, gone]]
    node = Node(VERSION, pickle.dumps(replace(setup_of(path_map=path_map), sample=tuple(files[:2]))))
    node.give(tuple(make_batches(files, 4)))
    (result,) = results(node, 3)
    assert [image.file.path for image in result.images] == [files[0].path]
    assert [failure.file.path for failure in result.failures] == [files[1].path]
    assert [file.path for file in result.vanished] == [files[2].path]


def error_of(node: Node) -> Exception | None:
    """Return the last word of a node."""
    *_, last = answers(node)
    return last.error


def test_a_node_of_another_version_does_not_even_read_its_setup() -> None:
    """It might not be able to."""
    error = error_of(Node("0.0.1", b"no pickle of this version"))
    assert isinstance(error, WorkersFailed)
    assert str(error) == f"it has imgidx {VERSION}, not 0.0.1; install the same version there"


def test_a_node_that_does_not_see_the_files_says_so(pictures: Pictures) -> None:
    """No mount, no work."""
    missing = pictures.make("a.png")._replace(path=b"/mnt/nothing/a.png")
    error = error_of(Node(VERSION, pickle.dumps(replace(setup_of(), sample=(missing,)))))
    assert isinstance(error, WorkersFailed)
    assert error.problem == "it does not see /mnt/nothing/a.png: No such file or directory"


def test_a_node_whose_model_does_not_load_says_so(pictures: Pictures) -> None:
    """As a local pool does."""
    node = Node(VERSION, pickle.dumps(setup_of(fake_models.load_never)))
    node.give(tuple(make_batches([pictures.make("a.png")], 4)))
    assert isinstance(error_of(node), ModelUnavailable)


def test_a_node_that_cannot_read_its_setup_says_something() -> None:
    """A driver must never wait for a node that is no more."""
    assert isinstance(error_of(Node(VERSION, b"no pickle")), WorkersFailed)


def test_a_node_finishes_what_is_in_work_and_no_more(pictures: Pictures) -> None:
    """The rest it has not begun, and does not say anything of."""
    files = [pictures.make(f"slow-{number:02d}.png") for number in range(40)]
    node = Node(VERSION, pickle.dumps(setup_of()))
    node.give(tuple(make_batches(files, 4)))
    done = 0
    for answer in answers(node):
        done += sum(len(result.images) for result in answer.results)
        if done:
            node.finish()
    assert 0 < done < len(files)


def test_a_machine_says_what_it_is(tmp_path: Path) -> None:
    """For `imgidx doctor --cluster`."""
    report = examine((os.fsencode(tmp_path), b"/mnt/x", b"/mnt/y"), PathMap(((b"/mnt/x", os.fsencode(tmp_path)),)))
    assert report.imgidx == VERSION
    assert report.gpus == visible_gpus()
    assert report.sees == {str(tmp_path): True, "/mnt/x": True, "/mnt/y": False}
