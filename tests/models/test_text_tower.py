"""The exported text tower in use: one text or many, and what makes it step aside for a child."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from image_index.models import text_tower as tower_module
from image_index.models.text_tower import TextTower, open_text_tower
from image_index.records import Vectors
from tests.support.text_models import export, make_model

TEXTS = ("a dog", "", "two children in red coats feed the pigeons on a snowy square", "a dog")


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> TextTower:
    """Export a small tower, and open it."""
    directory = tmp_path_factory.mktemp("tower") / "text"
    opened = open_text_tower(directory, export(make_model("CLIP"), directory).fingerprint)
    assert opened is not None
    return opened


def test_many_texts_at_once_are_encoded_as_each_alone(tower: TextTower) -> None:
    """In their order, of whatever length, at length one."""
    vectors = tower.encode_all(TEXTS)
    assert vectors is not None
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_array_equal(vector, tower.encode(text))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def fail(*_: object) -> Vectors:
    """Raise what ONNX Runtime may raise: it has no one kind of error."""
    raise SystemError("the graph is of another version\nwith a long tail")


def shrink(*texts: object) -> Vectors:
    """Return vectors whose length is not one, as damaged weights do."""
    return np.full((len(texts) - 1, 16), 0.1, np.float32)


@pytest.mark.parametrize(("run", "reason"), [(fail, "the graph is of another version)"), (shrink, "no unit vector")])
def test_a_tower_that_does_not_work_is_left_with_a_warning(
    tower: TextTower, run: object, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A child can encode the text all the same; the warning has one line."""
    monkeypatch.setattr(tower_module, "run_graph", run)
    assert tower.encode("a dog") is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()
    assert "\n" not in record.getMessage()


def test_damage_is_a_warning_and_absence_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has never exported a tower need not be told so by every search."""
    caplog.set_level(logging.WARNING)
    assert open_text_tower(tmp_path / "text", "0" * 64) is None
    assert not caplog.records
    (tmp_path / "text").mkdir()
    assert open_text_tower(tmp_path / "text", "0" * 64) is None
    assert "exports them again" in caplog.text
