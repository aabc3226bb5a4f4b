"""The encoder without torch: what it computes, and what makes it step aside for the whole model."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from image_index.models import graph, tower_files
from image_index.models.names import parse_model
from image_index.models.tower_files import IMAGE_GRAPH, read_manifest, write_manifest
from image_index.records import Batch, ImageFile, Vectors
from image_index.workers.devices import Slot
from image_index.workers.exported import ExportedModel, find_exported
from image_index.workers.messages import ChildSetup
from image_index.workers.onnx_encoder import OnnxEncoder, load_model
from image_index.workers.pool import ChildPool, PoolPlan
from image_index.workers.self_test import self_test_pictures
from tests.support import fake_models
from tests.support.text_models import export, make_model

pytestmark = pytest.mark.slow


@pytest.fixture
def exported(tmp_path: Path) -> ExportedModel:
    """Export a small model."""
    found = find_exported(tmp_path / "towers", export(make_model("CLIP"), tmp_path / "towers"))
    assert found is not None
    return found


def setup_of(exported: ExportedModel) -> ChildSetup:
    """Return what a child is told; the whole model is a fake one."""
    return ChildSetup(parse_model("starter"), "", exported=exported, loader=fake_models.load)


def change_image_part(exported: ExportedModel, **changes: Any) -> None:
    """Write another manifest."""
    manifest = read_manifest(Path(exported.directory))
    assert manifest is not None
    assert manifest.image is not None
    write_manifest(Path(exported.directory), replace(manifest, image=replace(manifest.image, **changes)))


def test_it_gives_the_vectors_of_the_model(exported: ExportedModel) -> None:
    """With the facts of the model: an index cannot tell who made a vector."""
    encoder = load_model(setup_of(exported))
    manifest = read_manifest(Path(exported.directory))
    assert isinstance(encoder, OnnxEncoder)
    assert manifest is not None
    assert manifest.image is not None
    assert encoder.facts == exported.facts
    vectors = encoder.encode_images(self_test_pictures(32, 32))
    np.testing.assert_allclose(vectors, np.array(manifest.image.self_test), atol=1e-5)
    assert vectors.dtype == np.float32
    assert encoder.memory_bytes() > 10 << 20


def test_what_it_cannot_do_it_loads_the_model_for(exported: ExportedModel, tmp_path: Path) -> None:
    """Texts, and another export."""
    encoder = load_model(setup_of(exported))
    np.testing.assert_array_equal(encoder.encode_texts(["four"]), [[4, 0, 0]])
    with pytest.raises(RuntimeError, match="a fake model has no text tower"):
        encoder.export_towers(str(tmp_path / "again"))


def test_elsewhere_the_self_test_is_made_again(
    exported: ExportedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another processor or ONNX Runtime may compute something else; then the whole model is loaded."""
    wrong = tuple(tuple(-value for value in vector) for vector in np.eye(3, 16).tolist())
    change_image_part(exported, self_test=wrong)
    assert isinstance(load_model(setup_of(exported)), OnnxEncoder)  # where it was exported, it was tested
    monkeypatch.setattr("image_index.machine.CPU_FACTS", Path(exported.directory) / "none")
    assert isinstance(load_model(setup_of(exported)), fake_models.FakeEncoder)
    assert "self-test" in caplog.text


def test_a_true_tower_passes_the_self_test_elsewhere(exported: ExportedModel) -> None:
    """As in a home that was copied to another machine."""
    change_image_part(exported, tested_on="onnxruntime 1.0, Z80")
    assert isinstance(load_model(setup_of(exported)), OnnxEncoder)


@pytest.mark.parametrize("damage", ["gone", "no graph"])
def test_a_tower_that_does_not_load_is_left_with_a_warning(
    exported: ExportedModel, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its weights are then digested by the child: whoever started it has not."""
    file = Path(exported.directory) / IMAGE_GRAPH
    if damage == "gone":
        file.unlink()
    else:  # of the right checksum, as if this ONNX Runtime did not understand it
        file.write_bytes(b"\xff" * 100)
        manifest = read_manifest(Path(exported.directory))
        assert manifest is not None
        files = tower_files.describe_files(Path(exported.directory))
        write_manifest(Path(exported.directory), replace(manifest, files=files))
    encoder = load_model(setup_of(exported))
    assert isinstance(encoder, fake_models.FakeEncoder)
    assert len(encoder.facts.weights_sha256) == 64
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "\n" not in record.getMessage()


def test_where_memory_is_short_the_larger_model_is_not_tried(
    exported: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child dies, and another one tries."""

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(graph.Graph, "load", fail)
    with pytest.raises(MemoryError):
        load_model(setup_of(exported))


def test_a_child_that_dies_of_the_tower_is_followed_by_one_with_the_whole_model(
    exported: ExportedModel, tmp_path: Path, sample_photos: Path
) -> None:
    """As an illegal instruction would end it: nothing is lost but the time."""
    picture = sample_photos / "coffee.png"
    file = ImageFile.of(bytes(picture), picture.stat())
    deadly = tmp_path / "sitecustomize.py"
    deadly.write_text(
        "import os, sys\nclass F:\n    def find_spec(self, name, *_):\n"
        "        if name == 'onnxruntime':\n            os.abort()\nsys.meta_path.insert(0, F())\n"
    )
    setup = setup_of(exported)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
        with ChildPool(lambda _: PoolPlan(setup, [Slot("cpu", 1)])) as pool:
            (result,) = pool.embed([Batch((file,))], 1)
    assert result.vectors.shape == (1, 3)


def test_a_child_that_is_killed_later_is_followed_by_one_with_the_tower(
    exported: ExportedModel, sample_photos: Path
) -> None:
    """Once loaded, the tower is not to blame; every picture gets the vector that the tower gives."""
    files = [ImageFile.of(bytes(path), path.stat()) for path in (sample_photos / "coffee.png",) * 4]
    vectors: list[Vectors] = []
    with ChildPool(lambda _: PoolPlan(setup_of(exported), [Slot("cpu", 1)])) as pool:
        for result in pool.embed([Batch((file,)) for file in files], len(files)):
            if not vectors:
                os.kill(pool.pids[0], signal.SIGKILL)
            assert not result.failures
            vectors.append(result.vectors)
    assert [each.shape for each in vectors] == [(1, 16)] * len(files)
    np.testing.assert_array_equal(np.concatenate(vectors), np.repeat(vectors[0], len(files), axis=0))
