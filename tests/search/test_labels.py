"""Labels and their probabilities, against arithmetic by hand and against open_clip's own zero-shot classifier."""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.errors import IndexNotFound, UsageError
from image_index.index import Index
from image_index.models.tower_files import read_manifest
from image_index.records import Vectors
from image_index.search.encode import QueryEncoder
from image_index.search.labels import (
    CELLS,
    PROMPTS,
    TagOptions,
    average,
    best_labels,
    probabilities,
    read_labels,
)
from image_index.search.prompts import sentences
from image_index.search.selection import make_filters
from image_index.settings import IndexHome
from image_index.workers.devices import Precision
from image_index.workers.engine import Engine
from tests.support import fake_models
from tests.support.library import Library
from tests.support.photos import real_photos

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LABELS = ("dog", "red car", "cup of coffee", "astronaut", "something else")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, sample_photos: Path) -> Library:
    """Return an index of a dozen real photos by the bundled model."""
    directory = tmp_path_factory.mktemp("tag")
    made = Library(directory / "photos", IndexHome(directory / "index"))
    made.photos.mkdir()
    for number, path in enumerate(real_photos(sample_photos, 12)):
        (made.photos / f"{number:02}{path.suffix}").write_bytes(path.read_bytes())
    made.train(engine=Engine("cpu", workers=1, precision=Precision.FP32))
    return made


@pytest.fixture
def index(library: Library) -> Iterator[Index]:
    """Give the index, open."""
    with Index.open(library.home.path) as opened:
        yield opened


def by_open_clip(vectors: Vectors, labels: tuple[str, ...], prompts: tuple[str, ...]) -> Vectors:
    """Return the probabilities (n, L) that open_clip's own zero-shot classifier and its model's own scale give."""
    name = "local-dir:image_index/models/starter"
    model, tokens = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
    sentences = [lambda label, prompt=prompt: prompt.replace("{}", label) for prompt in prompts]
    classifier = open_clip.build_zero_shot_classifier(model, tokens, labels, sentences, num_classes_per_batch=None)
    with torch.no_grad():
        found: Vectors = (model.logit_scale.exp() * torch.from_numpy(vectors) @ classifier).softmax(dim=1).numpy()
    return found


@pytest.mark.parametrize("prompts", [PROMPTS, ("a drawing of a {}",)], ids=["built in", "one"])
def test_probabilities_are_those_of_open_clip(index: Index, prompts: tuple[str, ...]) -> None:
    """The same pictures, sentences and scale: every label of every picture."""
    images, vectors = index.vectors()
    expected = by_open_clip(vectors, LABELS, prompts)
    tagged = list(index.tag(LABELS, TagOptions(top=len(LABELS), prompts=prompts)))
    assert [each.image for each in tagged] == images
    assert len(tagged) == 12
    for each, row in zip(tagged, expected, strict=True):
        found = dict(each.labels)
        np.testing.assert_allclose([found[label] for label in LABELS], row, atol=2e-3)
        assert [label.probability for label in each.labels] == sorted(found.values(), reverse=True)
    assert expected.std() > 0.1  # else anything would do


def test_the_export_keeps_the_scale_of_the_model(library: Library) -> None:
    """The one that open_clip's model has."""
    manifest = read_manifest(library.home.towers)
    assert manifest is not None
    assert manifest.text is not None
    scale = open_clip.create_model("local-dir:image_index/models/starter").logit_scale.exp().item()
    assert manifest.text.logit_scale == pytest.approx(scale)
    assert abs(scale - 100) > 1  # else the usual one would do


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1000))
def test_a_softmax_by_hand_gives_the_same(seed: int, scale: float) -> None:
    """In double precision, term by term; large scales overflow nothing."""
    random = np.random.default_rng(seed)
    pictures, labels = (random.normal(size=(count, 8)).astype(np.float32) for count in (5, 4))
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    found = probabilities(pictures, labels, scale)
    for picture, row in zip(pictures.tolist(), found.tolist(), strict=True):
        logits = [scale * math.fsum(a * b for a, b in zip(picture, label, strict=True)) for label in labels.tolist()]
        total = math.fsum(math.exp(logit - max(logits)) for logit in logits)
        assert row == pytest.approx([math.exp(logit - max(logits)) / total for logit in logits], abs=1e-3)


def test_the_sentences_of_a_label_are_averaged() -> None:
    """Side by side, and brought to unit length."""
    assert sentences(["a", "b {}"], ["{}!", "{} and {}"]) == ["a!", "a and a", "b {}!", "b {} and b {}"]
    vectors = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    np.testing.assert_allclose(average(vectors, 2), [[0.5**0.5, 0.5**0.5], [0, 1]])


def test_the_best_come_first_and_equal_ones_in_their_order() -> None:
    """At most so many, at least so probable; a picture may be left with none."""
    labels = np.eye(3, dtype=np.float32)
    pictures = np.array([[0, 1, 0], [1, 0, 1]], np.float32)
    found = list(best_labels(pictures, labels, 1.0, "abc", TagOptions(top=2, min_prob=0.3)))
    assert [[label.label for label in each] for each in found] == [["b"], ["a", "c"]]
    assert found[0][0].probability == pytest.approx(math.e / (math.e + 2))
    assert list(best_labels(pictures, labels, 1.0, "abc", TagOptions(min_prob=0.99))) == [(), ()]


def test_many_labels_are_compared_with_a_few_pictures_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are cut, the labels stay the same."""
    random = np.random.default_rng(1)
    pictures, labels = (random.normal(size=(count, 8)).astype(np.float32) for count in (7, 3))
    whole = list(best_labels(pictures, labels, 1.0, "abc", TagOptions(top=3)))
    assert CELLS > 21
    monkeypatch.setattr("image_index.search.labels.CELLS", 7)
    cut = list(best_labels(pictures, labels, 1.0, "abc", TagOptions(top=3)))
    assert len(cut) == len(whole) == 7
    for found, expected in zip(cut, whole, strict=True):
        assert [label.label for label in found] == [label.label for label in expected]
        assert [label.probability for label in found] == pytest.approx([label.probability for label in expected])


# Labels as they are given


def test_labels_are_a_comma_list_a_file_or_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may have a byte order mark, Windows line ends, blank lines and commas."""
    monkeypatch.chdir(tmp_path)
    content = "\ufeffdog\r\n\r\n  cat, small \nfrüh\n".encode()
    Path("labels.txt").write_bytes(content)
    nothing = BytesIO()
    assert read_labels("dog, red car", nothing) == ("dog", "red car")
    assert read_labels("labels.txt", nothing) == read_labels("-", BytesIO(content)) == ("dog", "cat, small", "früh")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("dog", "two labels or more, .* there is no file dog"),
        ("a,,b", "empty"),
        ("", "empty"),
        ("a,b,", "empty"),
        ("a,b,a", "'a' is there 2 times"),
        ("one.txt", "two labels are needed at least, not 1"),
        ("none.txt", "two labels are needed at least, not 0"),
        ("latin.txt", "latin.txt: they are not UTF-8"),
    ],
)
def test_labels_that_compare_nothing_are_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, complaint: str
) -> None:
    """Each says what is wrong with it."""
    monkeypatch.chdir(tmp_path)
    for name, content in (("one.txt", b"dog\n"), ("none.txt", b"\n"), ("latin.txt", b"fr\xfch\nlate\n")):
        Path(name).write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        read_labels(words, BytesIO())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"top": 0}, "at least 1 label"),
        ({"min_prob": 1.1}, "between 0 and 1"),
        ({"min_prob": math.nan}, "between 0 and 1"),
        ({"prompts": ("a photo",)}, "a drawing of a {}"),
    ],
)
def test_options_that_make_no_sense_are_wrong_use(options: dict[str, Any], complaint: str) -> None:
    """As soon as they are made."""
    with pytest.raises(UsageError, match=complaint):
        TagOptions(**options)


def test_labels_that_make_no_sense_are_wrong_use(index: Index) -> None:
    """At once, not with the first picture."""
    with pytest.raises(UsageError, match="empty"):
        index.tag(("a", " "))


# In an index


def test_pictures_that_are_gone_have_no_labels_but_on_request(tmp_path: Path) -> None:
    """Nor have those that the filters leave out; a model without an exported tower has the usual scale."""
    library = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    library.add("a/1.png", "a/2.png", "b/3.png")
    library.train()
    (library.photos / "a/1.png").unlink()
    engine = Engine("cpu", loader=fake_models.load)
    many = [f"label {number}" for number in range(40)]  # 320 sentences: more than a child encodes at a time
    with Index(library.home, engine) as index:
        names = [each.image.file.name for each in index.tag(many, filters=make_filters(under=library.photos / "a"))]
        assert names == ["2.png"]
        tagged = list(index.tag(many, filters=Filters(missing=True)))
        assert [each.image.file.name for each in tagged] == ["1.png", "2.png", "3.png"]
        for each in tagged:  # this model tells texts apart by their length alone: unit vectors of one direction
            assert [label.label for label in each.labels] == ["label 0"]
            assert each.labels[0].probability == pytest.approx(1 / 40)
    with CatalogReader(library.home.catalog) as catalog, QueryEncoder(catalog, library.home, engine) as encoder:
        assert encoder.logit_scale == 100


def test_an_empty_index_needs_no_model(tmp_path: Path) -> None:
    """Nothing is encoded for nothing."""
    library = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    library.photos.mkdir()
    library.train()
    with Index(library.home) as index:
        assert list(index.tag(("a", "b"))) == []
    with pytest.raises(IndexNotFound):
        Index.open(tmp_path / "none")


def test_a_label_that_is_longer_than_the_model_reads_is_told(index: Index, caplog: pytest.LogCaptureFixture) -> None:
    """Which of its words are cut off."""
    list(index.tag(("dog", "word " * 40 + "last")))
    assert "last" in caplog.text
    assert "reads 32 tokens" in caplog.text
