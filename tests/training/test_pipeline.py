"""`update_index` over trees that change, with spawned children that run a fake model."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.runs import Runs
from image_index.errors import IndexLocked, IndexMismatch, IndexNotFound, ModelUnavailable
from image_index.models.names import ModelSpec
from image_index.paths import resolve
from image_index.records import Batch, Counts, ModelFacts, Progress
from image_index.search.duplicates import find_duplicates
from image_index.settings import IndexHome
from image_index.stop import StopRequest
from image_index.training import freshness, pipeline
from image_index.training.pipeline import Tally, preview_update, update_index
from image_index.training.request import make_update
from image_index.upkeep.health import examine_index
from image_index.upkeep.known import PictureState, known_picture
from image_index.upkeep.status import read_status
from image_index.upkeep.verify import verify
from image_index.vectors.vector_file import open_vectors
from image_index.workers.engine import Engine
from image_index.workers.pool import ChildPool
from tests.support import fake_models
from tests.support.cloud import send_to_cloud
from tests.support.library import Library, contents, counts, found, random_batch
from tests.support.vector_files import stamp_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return a library of five pictures, not indexed yet."""
    made = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    made.add("a.png", "b.png", "c.png", "sub/d.png", "sub/e.png")
    return made


def test_a_pool_elsewhere_embeds_and_a_child_here_exports_the_towers(library: Library) -> None:
    """A cluster's machines cannot write into the index home of this one."""
    given: list[object] = []

    class Elsewhere(ChildPool):
        is_local = False

        def embed(self, jobs: Iterable[Any], files: float = 0) -> Iterator[Any]:
            return super().embed((given.append(job) or job for job in jobs), files)  # type: ignore[func-returns-value]

    def make_pool(engine: Engine, spec: ModelSpec, known: ModelFacts | None, stop: StopRequest) -> Elsewhere:
        assert known is None
        return Elsewhere(lambda files: engine.plan(spec, None, files, quiet=True), engine.limits, stop)

    summary = library.train(make_pool=make_pool)
    assert counts(summary) == {"embedded": 5}
    assert summary.exported
    assert {type(job) for job in given} == {Batch}


def test_a_second_run_embeds_nothing_and_starts_no_child(library: Library, refuse_children: Callable[[], None]) -> None:
    """An index that is up to date costs a walk."""
    assert counts(library.train()) == {"embedded": 5}
    refuse_children()
    assert counts(library.train()) == {"unchanged": 5}


@pytest.mark.parametrize("seconds", [-11_644_473_600, -(1 << 34), 13_569_465_600, (1 << 33) + 10**9])
def test_a_time_that_does_not_fit_64_bits_stops_nothing(library: Library, seconds: int) -> None:
    """1601 is an unset time of NTFS or SMB; a good picture, a broken one and the rest of the batch come in, once."""
    (library.photos / "broken.png").write_bytes(b"no picture")
    for name in ("a.png", "broken.png"):
        os.utime(library.photos / name, (seconds, seconds))
    assert counts(library.train()) == {"embedded": 5, "failed": 1}
    assert counts(library.train()) == {"unchanged": 5, "failed_before": 1}
    with Catalog(library.home.catalog) as catalog:
        known = known_picture(catalog, resolve(library.photos / "a.png"))
    assert known is not None
    assert known.state is PictureState.UNCHANGED


def test_a_picture_without_a_direction_is_indexed_once_and_found_by_nothing(library: Library) -> None:
    """Its facts are known, files of equal content are known for copies, and what is derived holds the others."""
    library.add_grey("grey.png", "another.bmp")
    assert counts(library.train()) == {"embedded": 7}
    library.add_grey("copy.png")
    assert counts(library.train()) == {"embedded": 1, "unchanged": 7}
    assert counts(library.train()) == {"unchanged": 8}
    with Catalog(library.home.catalog) as catalog:
        assert catalog.counts() == Counts(8, 0, 0, without_vector=3)
        groups = [{member.image.file.name for member in group} for group in find_duplicates(catalog, Filters())]
        assert [group for group in groups if group & {"grey.png", "copy.png", "another.bmp"}] == [
            {"grey.png", "copy.png"}
        ]
        known = known_picture(catalog, resolve(library.photos / "grey.png"))
    assert known is not None
    assert (known.state, known.has_vector) == (PictureState.UNCHANGED, False)
    assert len(found(library.home, np.array([0.6, 0.6, 0.52], np.float32), 100)) == 5
    assert list(verify(library.home)) == []
    assert {problem.subject for problem in examine_index(library.home).problems()} <= {"towers"}


def test_an_index_of_nothing_but_grey_is_whole(library: Library) -> None:
    """There is nothing to derive, and that is no fault; the first picture that has a vector is found."""
    shutil.rmtree(library.photos)
    library.photos.mkdir()
    library.add_grey("a.png")
    assert counts(library.train()) == {"embedded": 1}
    assert found(library.home, np.array([1, 0, 0], np.float32)) == []
    assert list(verify(library.home)) == []
    assert {problem.subject for problem in examine_index(library.home).problems()} <= {"towers"}
    library.add("b.png")
    assert counts(library.train()) == {"embedded": 1, "unchanged": 1}
    assert found(library.home, np.array([1, 0, 0], np.float32)) == [resolve(library.photos / "b.png")]


def test_exactly_what_changed_is_embedded(library: Library) -> None:
    """Touched, changed, renamed, deleted and added pictures are told apart; the counts prove it."""
    library.train()
    before = library.rows()
    library.age(library.photos / "a.png")  # touched: another time, the same content
    library.add("b.png")  # changed
    (library.photos / "c.png").rename(library.photos / "sub/c2.png")
    (library.photos / "sub/d.png").unlink()
    library.add("f.png")
    assert counts(library.train()) == {"embedded": 2, "unchanged": 2, "moved": 1, "missing": 1}
    after = library.rows()
    assert set(after) == {"photos/" + name for name in ("a.png", "b.png", "f.png", "sub/c2.png", "sub/e.png")}
    assert after["photos/sub/c2.png"] == before["photos/c.png"]
    assert after["photos/a.png"] == before["photos/a.png"]
    assert min(after["photos/b.png"], after["photos/f.png"]) > max(before.values())


def test_a_run_that_ends_by_an_error_of_ours_is_recorded_as_failed(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not as running, as a killed one is: the reason can be read afterwards."""

    def refuse(_: ChildPool) -> ChildPool:
        raise ModelUnavailable("the model cannot be loaded; fetch it")

    monkeypatch.setattr(ChildPool, "__enter__", refuse)
    with pytest.raises(ModelUnavailable):
        library.train()
    with Catalog(library.home.catalog) as catalog:
        last = Runs(catalog).last()
    assert last is not None
    assert (last.outcome, last.error) == ("failed", "the model cannot be loaded; fetch it")


def test_a_time_limit_that_passes_while_the_index_is_built_stops_nothing(library: Library) -> None:
    """All was embedded, and the index is built whole: the run is done."""
    stop = StopRequest()

    def at_the_index(progress: Progress) -> None:
        if progress.stage == "index":
            stop.deadline = 0.0

    assert counts(update_index(library.request(), at_the_index, stop)) == {"embedded": 5}
    assert stop()
    with Catalog(library.home.catalog) as catalog:
        last = Runs(catalog).last()
    assert last is not None
    assert last.outcome == "done"


def test_a_picture_that_vanished_comes_back_for_free(library: Library, refuse_children: Callable[[], None]) -> None:
    """A missing row keeps its vector."""
    library.train()
    before = library.rows()
    kept = library.photos / "a.png"
    shutil.move(kept, library.home.path / "elsewhere")
    assert counts(library.train()) == {"unchanged": 4, "missing": 1}
    assert "photos/a.png" not in library.rows()
    refuse_children()
    shutil.move(library.home.path / "elsewhere", kept)
    assert counts(library.train()) == {"unchanged": 5}
    assert library.rows() == before


def test_a_root_that_moved_keeps_every_vector(library: Library, refuse_children: Callable[[], None]) -> None:
    """A library copied to a new disk, the old one gone, is not embedded again."""
    library.train()
    moved = library.photos.parent / "new-disk"
    library.photos.rename(moved)
    refuse_children()
    assert counts(library.train(moved)) == {"moved": 5}
    assert {path for path in library.rows() if path.startswith("new-disk/")} == {
        "new-disk/" + name for name in ("a.png", "b.png", "c.png", "sub/d.png", "sub/e.png")
    }


@pytest.mark.parametrize("loss", ["emptied", "gone"])
def test_a_root_that_is_suddenly_empty_or_gone_costs_no_row(library: Library, loss: str) -> None:
    """An unmounted disk is reported, and everything known there is kept."""
    library.train()
    before = library.rows()
    shutil.rmtree(library.photos)
    if loss == "emptied":
        library.photos.mkdir()
    summary = library.train()
    assert counts(summary) == {"kept": 5}
    assert [problem.path for problem in summary.problems] == [resolve(library.photos)]
    assert library.rows() == before


def test_what_is_left_out_by_default_is_said_and_remembered(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    """With --verbose in the log, and in the summary that `status` reads."""
    library.add("@eaDir/f.png", "sub/@eaDir/g.png", "#recycle/h.png")
    with caplog.at_level(logging.INFO, "image_index.training"):
        summary = library.train()
    assert (summary.embedded, summary.excluded) == (5, {"thumbnails": 2, "trash": 1})
    said = "3 directories left out by default (thumbnails 2, trash 1); --no-default-excludes takes them"
    assert said in caplog.messages
    run = read_status(library.home).last_run
    assert run is not None
    assert run.summary is not None
    assert run.summary.excluded == summary.excluded


def test_pictures_in_a_cloud_are_counted_and_kept(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is known is found as before, one that is new waits; neither is missing or a failure."""
    library.train()
    rows = library.rows()
    library.add("new.png", "sub/other.png")
    with monkeypatch.context() as patch:
        send_to_cloud(patch, resolved(library.photos / "a.png"), resolved(library.photos / "sub"))
        send_to_cloud(patch, resolved(library.photos / "new.png"))
        summary = library.train()
    assert (counts(summary), summary.not_on_disk) == ({"unchanged": 2, "kept": 2}, 3)
    assert library.rows() == rows
    assert counts(library.train()) == {"embedded": 2, "unchanged": 5}


def resolved(path: Path) -> Path:
    """Return a path as the catalog knows it."""
    return Path(os.fsdecode(resolve(path)))


def test_a_root_inside_a_root_is_indexed_once(library: Library) -> None:
    """Each file belongs to one root."""
    assert counts(library.train(library.photos, library.photos / "sub")) == {"embedded": 5}
    assert counts(library.train(library.photos)) == {"unchanged": 5}
    assert counts(library.train(library.photos / "sub")) == {"unchanged": 2}


def test_a_hidden_root_inside_a_root_survives_a_run_of_the_outer_one(library: Library) -> None:
    """What was asked for by name is not dropped by a walk that would not have found it."""
    library.add(".private/x.png")
    assert counts(library.train(library.photos, library.photos / ".private")) == {"embedded": 6}
    assert counts(library.train(library.photos)) == {"unchanged": 6}


def test_a_failure_of_an_inner_root_is_remembered_by_runs_of_the_outer_one(library: Library) -> None:
    """The walk of the outer root does not see the file, and must not take it for gone."""
    (library.photos / "sub/broken.png").write_bytes(b"no picture")
    roots = (library.photos, library.photos / "sub")
    assert counts(library.train(*roots)) == {"embedded": 5, "failed": 1}
    for _ in range(2):
        assert counts(library.train(*roots)) == {"unchanged": 5, "failed_before": 1}


def test_a_single_file_is_a_root(library: Library) -> None:
    """A root may be one picture."""
    assert counts(library.train(library.photos / "a.png")) == {"embedded": 1}
    assert set(library.rows()) == {"photos/a.png"}


def test_a_broken_picture_fails_once_and_is_not_tried_again_until_it_changes(
    library: Library, refuse_children: Callable[[], None]
) -> None:
    """A failure is remembered by size and time; it counts as new only once."""
    broken = library.photos / "broken.png"
    broken.write_bytes((library.photos / "a.png").read_bytes()[:50])
    assert counts(library.train()) == {"embedded": 5, "failed": 1}
    library.add("broken.png")
    assert counts(library.train()) == {"embedded": 1, "unchanged": 5}
    broken.write_bytes(b"no picture")
    assert counts(library.train()) == {"failed": 1, "unchanged": 5}
    assert "photos/broken.png" not in library.rows()
    refuse_children()
    assert counts(library.train()) == {"failed_before": 1, "unchanged": 5}
    broken.unlink()
    assert counts(library.train()) == {"unchanged": 5}
    with Catalog(library.home.catalog) as catalog:
        assert list(catalog.failures()) == []


def test_a_picture_rewritten_within_a_tick_of_its_read_is_noticed(library: Library) -> None:
    """Same size, same time, other content: what was read too soon after its last change is read again."""
    path = library.photos / "a.png"
    os.utime(path, None)
    status = path.stat()
    library.train()
    path.write_bytes(bytes(reversed(path.read_bytes()))[: status.st_size])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert counts(library.train()) == {"failed": 1, "unchanged": 4}


def test_a_dry_run_tells_and_touches_nothing(library: Library) -> None:
    """A preview makes no index, and changes none."""
    plan = preview_update(library.request())
    assert (plan.embed_count, library.home.path.exists()) == (5, False)
    library.train()
    library.add("f.png")
    before = library.home.catalog.read_bytes()
    assert preview_update(library.request()).embed_count == 1
    assert library.home.catalog.read_bytes() == before


def test_the_file_of_vectors_always_ends_up_with_those_of_the_catalog(library: Library) -> None:
    """After every run it holds what the catalog holds."""
    for added in ([], ["g.png"], ["a.png"]):
        library.add(*added)
        library.train()
        with Catalog(library.home.catalog) as catalog:
            stamp = catalog.stamp()
            index = open_vectors(library.home, stamp.catalog_id)
            ids, vectors = next(catalog.vectors_after(0))
        assert index is not None
        assert index.stamp == stamp
        for vector in vectors:
            scores, found, _ = index.search(vector, len(ids), ids)
            assert sorted(found) == sorted(ids)
            np.testing.assert_allclose(scores, np.sort(vectors @ vector)[::-1], atol=1e-6)


def test_moments_of_a_large_index_are_not_measured_anew_for_a_few_pictures(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the small size that waits until enough has changed."""
    library.train()
    monkeypatch.setattr(freshness, "SMALL_INDEX", 0)
    monkeypatch.setattr(freshness, "STALE_FRACTION", 0.4)
    before = library.home.moments.read_bytes()
    library.add("f.png")
    library.train()
    assert library.home.moments.read_bytes() == before
    library.add("g.png", "h.png", "i.png", "j.png")
    library.train()
    assert library.home.moments.read_bytes() != before


def test_another_model_is_refused_before_anything_happens(library: Library, tmp_path: Path) -> None:
    """Vectors of two models are never mixed."""
    library.train()
    shutil.copytree(Path(fake_models.__file__).parents[2] / "image_index/models/starter", tmp_path / "other")
    weights = tmp_path / "other/open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(IndexMismatch, match=r"made with the model starter.*--index"):
        library.train(model=f"local-dir:{tmp_path / 'other'}")


def test_a_second_index_takes_the_roots_of_another_and_leaves_it_as_it_is(library: Library, tmp_path: Path) -> None:
    """To change the model: the old index answers until the new one does."""
    elsewhere = tmp_path / "elsewhere"
    Library(elsewhere, library.home, count=100).add("f.png")
    library.train(library.photos, elsewhere)
    before = contents(library.home)
    shutil.copytree(Path(fake_models.__file__).parents[2] / "image_index/models/starter", tmp_path / "other")
    engine, model = library.request().engine, f"local-dir:{tmp_path / 'other'}"
    request = make_update(index=tmp_path / "second", model=model, roots_of=library.home.path, engine=engine)
    assert counts(update_index(request)) == {"embedded": 6}
    assert contents(request.home).keys() == before.keys()
    assert read_status(request.home).roots[0].path == resolve(elsewhere)
    assert contents(library.home) == before
    with pytest.raises(IndexNotFound, match="third"):
        make_update(index=tmp_path / "second", roots_of=tmp_path / "third")


def test_a_model_that_moved_is_accepted_by_its_digest(library: Library, tmp_path: Path) -> None:
    """The same weights under another name are the same model."""
    library.train()
    shutil.copytree(Path(fake_models.__file__).parents[2] / "image_index/models/starter", tmp_path / "same")
    library.add("f.png")
    assert counts(library.train(model=f"local-dir:{tmp_path / 'same'}")) == {"embedded": 1, "unchanged": 5}


def test_a_second_writer_is_turned_away_at_once(library: Library) -> None:
    """One run writes at a time."""
    library.home.create()
    with exclusive_lock(library.home.lock), pytest.raises(IndexLocked, match=str(os.getpid())):
        library.train()


def test_a_stop_between_batches_stores_what_is_done_and_the_next_run_goes_on(library: Library) -> None:
    """A stopped run says how much is left; its FAISS file is consistent."""
    library.add(*(f"slow-{i:02d}.png" for i in range(25)))
    stop = StopRequest()

    def report(progress: Progress) -> None:
        if progress.stage == "embed" and progress.done:
            stop.signal_number = signal.SIGINT

    summary = update_index(library.request(), report, stop)
    assert summary.stopped_by == signal.SIGINT
    assert 0 < summary.embedded < 30
    assert summary.remaining == 30 - summary.embedded
    with Catalog(library.home.catalog) as catalog:
        assert stamp_of(library.home) == catalog.stamp()
    assert counts(library.train()) == {"embedded": 30 - summary.embedded, "unchanged": summary.embedded}


def test_progress_counts_up_to_the_total(library: Library) -> None:
    """The reports let a bar be drawn."""
    seen: list[Progress] = []
    update_index(library.request(), seen.append)
    stages = [progress for progress in seen if progress.stage == "embed"]
    assert [progress.done for progress in stages] == sorted(progress.done for progress in stages)
    assert replace(stages[-1], pictures_per_second=None, stages=None) == Progress("embed", 5, 5, 0)


def test_the_first_batch_is_no_measure_of_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures per second are counted from the first batch on: that one came with the loading of the model."""
    now = [1000.0]
    monkeypatch.setattr(pipeline.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    tally, images = Tally(), random_batch(100)
    pool = Engine("cpu").pool(fake_models.SPEC, StopRequest(), quiet=True)
    now[0] += 60
    tally.count(images, pool)
    assert tally.progress().pictures_per_second is None
    now[0] += 10
    tally.count(images, pool)
    assert (tally.progress().done, tally.progress().pictures_per_second) == (200, 10.0)


TRAIN = """
import sys
from pathlib import Path
from image_index.settings import IndexHome
from tests.support.library import Library
print(Library(Path(sys.argv[1]), IndexHome(Path(sys.argv[2]))).train().embedded)
"""


def test_a_run_killed_with_all_its_children_loses_nothing_committed(library: Library) -> None:
    """After SIGKILL of the whole group, what was committed is there, and is not embedded again."""
    library.add(*(f"slow-{i:02d}.png" for i in range(25)))
    command = [sys.executable, "-c", TRAIN, str(library.photos), str(library.home.path)]
    with subprocess.Popen(command, start_new_session=True) as run:
        wait_for_rows(library, at_least=8)
        os.killpg(run.pid, signal.SIGKILL)
    committed = library.rows()
    assert 8 <= len(committed) < 30
    assert library.train().embedded == 30 - len(committed)
    after = library.rows()
    assert len(after) == 30
    assert {path: after[path] for path in committed} == committed


def wait_for_rows(library: Library, *, at_least: int) -> None:
    """Wait until another process has committed some pictures; the test's own deadline bounds it."""
    while not (library.home.catalog.exists() and len(library.rows()) >= at_least):
        time.sleep(0.02)
