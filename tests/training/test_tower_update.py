"""The export in a training run, by children that run the bundled model or a stand-in for it."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.models.names import ModelSpec
from image_index.models.text_tower import open_text_tower
from image_index.models.tower_files import TEXT_GRAPH, Manifest, own_weights, read_manifest, write_refusal
from image_index.records import Batch, Vectors
from image_index.search.encode import QueryEncoder
from image_index.settings import IndexHome
from image_index.training import tower_update
from image_index.training.tower_update import TowerExport
from image_index.upkeep.maintenance import backup
from image_index.upkeep.verify import repair, verify
from image_index.workers.devices import Precision
from image_index.workers.engine import Engine
from image_index.workers.messages import LoadedEncoder
from tests.support import fake_models
from tests.support.library import Library
from tests.support.text_models import is_settled
from tests.support.vector_files import NAMES

WEIGHTS = own_weights(TEXT_GRAPH)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STARTER = Engine("cpu", workers=1, precision=Precision.FP32)


class Deadly(fake_models.FakeEncoder):
    """An encoder whose export takes the process with it."""

    def export_towers(self, directory: str) -> None:
        """Leave half a draft, and die."""
        Path(directory).mkdir()
        (Path(directory) / WEIGHTS).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGSEGV)


class Unwilling(fake_models.FakeEncoder):
    """An encoder whose export raises."""

    def export_towers(self, directory: str) -> None:
        """Refuse."""
        raise RuntimeError(f"no {Path(directory).name}")


def load_deadly(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision) -> LoadedEncoder:
    """Load the one that dies."""
    return Deadly(spec, weights_sha256, device)


def load_unwilling(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision) -> LoadedEncoder:
    """Load the one that refuses."""
    return Unwilling(spec, weights_sha256, device)


class OnFullDisk(fake_models.FakeEncoder):
    """An encoder whose export finds the disk full."""

    def export_towers(self, directory: str) -> None:
        """Leave half a draft."""
        Path(directory).mkdir()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def load_on_full_disk(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision) -> LoadedEncoder:
    """Load the one that finds the disk full."""
    return OnFullDisk(spec, weights_sha256, device)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Give three pictures and no index yet."""
    library = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    library.add("a.png", "b.png", "c.png")
    return library


def manifest_of(library: Library) -> Manifest | None:
    """Return what the index says of its towers."""
    return read_manifest(library.home.towers)


def vector_of(library: Library, text: str) -> Vectors:
    """Return the vector of a text as a search gets it."""
    with Catalog(library.home.catalog) as catalog, QueryEncoder(catalog, library.home, STARTER) as encoder:
        return encoder.text(text)


def test_a_first_run_exports_and_searches_start_no_child(library: Library, refuse_children: Callable[[], None]) -> None:
    """Damaged or missing, it is exported again by a run that has nothing else to do; meanwhile a child answers."""
    library.train(engine=STARTER)
    expected = vector_of(library, "a dog")
    (library.home.towers / WEIGHTS).write_bytes(b"")
    by_child = vector_of(library, "a cat")  # and the one before is remembered
    again = library.train(engine=STARTER)
    assert (again.unchanged, again.exported) == (3, True)
    with Catalog(library.home.catalog) as catalog:
        model = catalog.read_model()
        assert model is not None
        assert is_settled(library.home.towers, model.fingerprint)
    refuse_children()
    again = library.train(engine=STARTER)
    assert (again.unchanged, again.exported) == (3, False)
    np.testing.assert_array_equal(vector_of(library, "a dog"), expected)
    with Catalog(library.home.catalog, write=True) as catalog:
        catalog.set_model(replace(model, name="local-dir:/gone"))  # type: ignore[arg-type, type-var, unused-ignore]  # nor the model itself
    assert vector_of(library, "a cat") @ by_child >= 0.9999
    assert vector_of(library, "A  cat") @ by_child >= 0.9999  # not the remembered one: other words for the same tokens
    assert vector_of(library, "a bird") @ expected < 0.99
    assert not list(library.home.path.glob("*towers.*"))


def test_an_export_comes_last_or_after_a_minute(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short run has the memory for it at its end; during a long one searches should not wait for the end."""
    clock = iter(range(0, 1000, 25))
    monkeypatch.setattr(tower_update, "monotonic", lambda: next(clock))
    library.home.create()
    with Catalog(library.home.catalog, write=True) as catalog:
        export = TowerExport(library.home, catalog)
    batches = [Batch(()) for _ in range(5)]
    [job] = list(export.jobs)
    assert list(export.among(batches)) == [*batches[:2], job, *batches[2:]]
    assert list(export.among(batches[:2])) == [*batches[:2], job]


def test_what_a_rotten_tower_encoded_is_forgotten(library: Library) -> None:
    """Bits that rot in place are not seen before a search; the run that sees them forgets what came of them."""
    library.train(engine=STARTER)
    weights = library.home.towers / WEIGHTS
    content, status = np.fromfile(weights, "<u4"), weights.stat()
    content[: len(content) // 2] ^= np.uint32(1 << 31)  # other signs
    content.tofile(weights)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    wrong = vector_of(library, "a dog")
    np.testing.assert_array_equal(vector_of(library, "a dog"), wrong)  # remembered
    assert library.train(engine=STARTER).exported
    right = vector_of(library, "a dog")
    assert right @ wrong < 0.99
    with Catalog(library.home.catalog) as catalog:
        model = catalog.read_model()
    assert model is not None
    tower = open_text_tower(library.home.towers, model.fingerprint)
    assert tower is not None
    np.testing.assert_array_equal(tower.encode("a dog"), right)


def test_a_model_without_a_tower_is_refused_once(
    library: Library, refuse_children: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The run says so, and no later one tries again."""
    with caplog.at_level(logging.INFO):
        library.train()
    assert "a fake model has no text tower" in caplog.text
    manifest = manifest_of(library)
    assert manifest is not None
    assert manifest.text_refusal == "RuntimeError: a fake model has no text tower"
    refuse_children()
    assert library.train().unchanged == 3


def test_an_export_that_raises_costs_nothing(library: Library) -> None:
    """The reason is kept."""
    engine = Engine("cpu", workers=2, batch_size=2, loader=load_unwilling)
    assert library.train(engine=engine).embedded == 3
    manifest = manifest_of(library)
    assert manifest is not None
    assert "RuntimeError: no .towers." in (manifest.text_refusal or "")


def test_an_export_for_which_the_disk_is_too_small_is_tried_again(library: Library) -> None:
    """It says nothing of the model: the next run, with room on the disk, exports."""
    full = Engine("cpu", workers=1, loader=load_on_full_disk)
    assert library.train(engine=full).embedded == 3
    assert not library.home.towers.exists()
    assert library.train(engine=full).exported
    assert not library.home.towers.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_export_that_kills_its_child_costs_no_picture(library: Library, workers: int) -> None:
    """No file is blamed; the next run that embeds tries again, one that does not gives it up for good."""
    engine = Engine("cpu", workers=workers, batch_size=1, loader=load_deadly)
    summary = library.train(engine=engine)
    assert (summary.embedded, summary.failed) == (3, 0)
    assert {path.name for path in library.home.path.iterdir()} == {
        "catalog.sqlite3",
        *NAMES,
        "moments.f32",
        "lock",
    }
    assert library.train(engine=engine).unchanged == 3
    manifest = manifest_of(library)
    assert manifest is not None
    assert "was lost" in (manifest.text_refusal or "")


def test_the_tower_of_another_model_is_replaced(library: Library) -> None:
    """As in a home into which the towers/ of another index was copied by mistake."""
    library.train()
    write_refusal(library.home.towers, "1" * 64, "of another model")
    assert library.train().unchanged == 3
    manifest = manifest_of(library)
    assert manifest is not None
    assert manifest.text_refusal == "RuntimeError: a fake model has no text tower"


@pytest.mark.parametrize("name", ["ViT-B-32/laion2b_s34b_b79k", "local-dir:/gone"])
def test_a_model_that_is_not_here_is_not_fetched_for_its_tower(library: Library, name: str) -> None:
    """Nothing is to embed, so nothing is needed, and no child is started."""
    library.train()
    shutil.rmtree(library.home.towers)
    with Catalog(library.home.catalog, write=True) as catalog:
        model = catalog.read_model()
        assert model is not None
        catalog.set_model(replace(model, name=name))
    summary = library.train(model=None)
    assert (summary.unchanged, summary.exported) == (3, False)
    assert manifest_of(library) is None


def test_a_backup_searches_by_itself_and_damage_is_verified(
    library: Library, tmp_path: Path, refuse_children: Callable[[], None]
) -> None:
    """The copy has the tower too; one flipped bit is found, and a repair removes what is damaged."""
    library.train(engine=STARTER)
    copy = replace(library, home=backup(library.home, tmp_path / "copy"))
    assert {path.stat().st_mode & 0o777 for path in copy.home.towers.iterdir()} == {0o600}
    assert library.home.size_bytes() > (library.home.towers / WEIGHTS).stat().st_size
    refuse_children()
    np.testing.assert_array_equal(vector_of(copy, "a dog"), vector_of(library, "a dog"))
    assert list(verify(library.home)) == []
    weights = bytearray((library.home.towers / WEIGHTS).read_bytes())
    weights[len(weights) // 2] ^= 1
    (library.home.towers / WEIGHTS).write_bytes(weights)
    assert [(finding.subject, finding.derived) for finding in verify(library.home)] == [("towers", True)]
    repair(library.home)
    assert list(verify(library.home)) == []
    assert not library.home.towers.exists()
