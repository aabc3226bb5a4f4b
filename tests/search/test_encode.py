"""Queries to vectors, with a spawned child that runs a fake model where one is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_index.catalog.catalog import Catalog
from image_index.errors import DecodeError, IndexMismatch, ModelUnavailable, QueryError, UsageError
from image_index.models.names import ModelSpec, digest_weights, locate_weights, parse_model
from image_index.paths import resolve
from image_index.records import EmbeddedBatch, EmbeddedImage, ImageFile, ModelFacts, PictureFacts
from image_index.search.encode import QueryEncoder, QueryVector
from image_index.search.query import make_query
from image_index.settings import IndexHome
from image_index.workers.devices import Precision
from image_index.workers.engine import Engine
from image_index.workers.messages import LoadedEncoder, Loader
from tests.support import fake_models
from tests.support.children import started_children
from tests.support.cloud import send_to_cloud
from tests.support.records import embedded_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

ENGINE = Engine("cpu", loader=fake_models.load)


def text_vector(catalog: Catalog, home: IndexHome, text: str, engine: Engine) -> QueryVector:
    """Return the vector of a query of one text."""
    with QueryEncoder(catalog, home, engine) as encoder:
        return encoder.vector(make_query(text))


def picture_vector(catalog: Catalog, home: IndexHome, path: bytes, engine: Engine) -> QueryVector:
    """Return the vector of a query of one picture."""
    with QueryEncoder(catalog, home, engine) as encoder:
        return encoder.vector(make_query(images=[os.fsdecode(path)]))


def starter_facts() -> ModelFacts:
    """Return what the fake model says of itself when it stands for the starter."""
    weights = locate_weights(parse_model("starter"))
    assert weights
    return replace(fake_models.FACTS, name="starter", weights_sha256=digest_weights(weights))


class Index:
    """An index with one picture, whose stored vector no model would give."""

    stored = (0.0, 0.6, 0.8)

    def __init__(self, directory: Path) -> None:
        self.home = IndexHome(directory / "index")
        self.picture = directory / "red.png"
        Image.new("RGB", (8, 8), (200, 0, 0)).save(self.picture)
        self.home.create()
        self.catalog = Catalog(self.home.catalog, write=True)
        self.catalog.set_model(starter_facts())
        status = self.picture.stat()
        file = ImageFile(resolve(self.picture), status.st_size, status.st_mtime_ns)
        image = EmbeddedImage(file, bytes(32), status.st_mtime_ns, PictureFacts(8, 8, "png"))
        self.catalog.record(EmbeddedBatch((image,), np.array([self.stored], np.float32)))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Give an index of the fake model."""
    made = Index(tmp_path)
    with made.catalog:
        yield made


@pytest.mark.usefixtures("no_children")
def test_a_picture_of_the_index_costs_no_child(index: Index) -> None:
    """Its stored vector is the query."""
    vector = picture_vector(index.catalog, index.home, resolve(index.picture), ENGINE)
    np.testing.assert_allclose(vector, index.stored, atol=1e-3)


def test_a_picture_that_changed_since_it_was_indexed_is_embedded(index: Index) -> None:
    """The query is what the file shows now."""
    Image.new("RGB", (9, 9), (0, 0, 200)).save(index.picture)
    vector = picture_vector(index.catalog, index.home, resolve(index.picture), ENGINE)
    np.testing.assert_allclose(vector, (0, 0, 1), atol=1e-3)


def test_a_picture_outside_the_index_is_embedded_and_not_stored(index: Index, tmp_path: Path) -> None:
    """Searching by a picture changes no index."""
    other = tmp_path / "green.png"
    Image.new("RGB", (8, 8), (0, 200, 0)).save(other)
    vector = picture_vector(index.catalog, index.home, resolve(other), ENGINE)
    np.testing.assert_allclose(vector, (0, 1, 0), atol=1e-3)
    assert index.catalog.counts().images == 1


def test_a_picture_without_a_direction_is_no_query(index: Index, tmp_path: Path) -> None:
    """One line says so, whether a child has to look at it or the index knows it already, alone or in a sum."""
    path = tmp_path / "grey.png"
    Image.new("RGB", (8, 8), fake_models.GREY).save(path)
    for asked in (make_query(images=[str(path)]), make_query("a dog", images=[str(path)])):
        with (
            QueryEncoder(index.catalog, index.home, ENGINE) as encoder,
            pytest.raises(QueryError, match=r"the model sees nothing in .*grey\.png to search by; choose a picture"),
        ):
            encoder.vector(asked)
    image = embedded_image(ImageFile.of(resolve(path), path.stat()))
    index.catalog.record(EmbeddedBatch((image,), np.zeros((1, 3), np.float32)))
    with pytest.raises(QueryError, match="the model sees nothing"):
        picture_vector(index.catalog, index.home, resolve(path), ENGINE)


def test_a_text_is_encoded_by_a_child(index: Index) -> None:
    """The vector is the one the child's model gives for that very text."""
    with QueryEncoder(index.catalog, index.home, ENGINE) as encoder:
        assert encoder.text("  a red car ").tolist() == [len("  a red car "), 0, 0]


@pytest.mark.usefixtures("no_children")
@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u3000"])
def test_a_query_of_nothing_is_wrong_use(index: Index, text: str) -> None:
    """An empty text is not sent to a model; the message shows what a query looks like."""
    with pytest.raises(UsageError, match="for example: imgidx search"):
        text_vector(index.catalog, index.home, text, ENGINE)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut"], ids=["empty", "text", "cut JPEG"])
def test_a_file_that_is_not_a_picture_is_an_error_that_names_it(index: Index, tmp_path: Path, content: bytes) -> None:
    """The decoder's reason reaches the user."""
    path = tmp_path / "not a picture.jpg"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"cannot use .*not a picture\.jpg as a query: ."):
        picture_vector(index.catalog, index.home, resolve(path), ENGINE)


def test_a_directory_is_not_a_picture(index: Index, tmp_path: Path) -> None:
    """A directory given by mistake is said to be no file."""
    with pytest.raises(DecodeError, match="not a regular file"):
        picture_vector(index.catalog, index.home, resolve(tmp_path), ENGINE)


@pytest.mark.usefixtures("no_children")
def test_a_picture_that_is_not_there_is_wrong_use(index: Index, tmp_path: Path) -> None:
    """A file that cannot be found costs no child, and its name is shown without control characters."""
    with pytest.raises(UsageError, match=r"cannot read .*/a\\nb\.jpg: No such file"):
        picture_vector(index.catalog, index.home, os.fsencode(tmp_path / "a\nb.jpg"), ENGINE)


def test_a_picture_that_kills_its_child_is_an_error_not_a_hang(index: Index, tmp_path: Path) -> None:
    """A deadly query ends like any other that cannot be used."""
    path = tmp_path / "dies-SIGKILL.png"
    path.write_bytes(index.picture.read_bytes())
    with pytest.raises(DecodeError, match="killed by SIGKILL"):
        picture_vector(index.catalog, index.home, resolve(path), ENGINE)


@pytest.mark.parametrize("changes", [{"weights_sha256": "1" * 64}, {"config": '{"embed_dim": 4}'}], ids=str)
def test_a_model_whose_files_changed_is_refused(index: Index, tmp_path: Path, changes: dict[str, str]) -> None:
    """Vectors of a model that is no longer the index's are compared with nothing."""
    index.catalog.set_model(replace(starter_facts(), **changes))  # type: ignore[arg-type]
    with pytest.raises(IndexMismatch, match="the model starter is no longer the one this index was made with"):
        text_vector(index.catalog, index.home, "a red car", ENGINE)
    other = tmp_path / "green.png"
    Image.new("RGB", (8, 8), (0, 200, 0)).save(other)
    with pytest.raises(IndexMismatch):
        picture_vector(index.catalog, index.home, resolve(other), ENGINE)


@pytest.mark.usefixtures("no_children")
def test_a_model_that_is_gone_is_known_before_a_child_starts(index: Index, tmp_path: Path) -> None:
    """The index names its model, and where its files were."""
    index.catalog.set_model(replace(starter_facts(), name=f"local-dir:{tmp_path}/gone"))
    with pytest.raises(ModelUnavailable, match="/gone"):
        text_vector(index.catalog, index.home, "a red car", ENGINE)


# Sums of terms


def colour(directory: Path, name: str, rgb: tuple[int, int, int]) -> str:
    """Write a picture that is nowhere indexed; its vector is its colour."""
    Image.new("RGB", (8, 8), rgb).save(directory / name)
    return str(directory / name)


def test_a_query_is_the_weighted_sum_of_its_terms(index: Index, tmp_path: Path) -> None:
    """Numpy's sum of the same vectors, at unit length; one child encodes them all."""
    red, green, blue = (
        colour(tmp_path, f"{name}.png", rgb)
        for name, rgb in (("r", (255, 1, 0)), ("g", (0, 255, 0)), ("b", (0, 0, 255)))
    )
    with QueryEncoder(index.catalog, index.home, ENGINE) as encoder, started_children() as started:
        parts = [encoder.picture(resolve(path)) for path in (red, green, blue)]
        found = encoder.vector(make_query(images=[f"2:{red}", green], minus=[f"0.5:{blue}"]))
        expected = 2 * parts[0] + parts[1] - 0.5 * parts[2]
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)
    assert len(started) == 1


def test_a_term_that_comes_again_is_encoded_once(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many queries share a picture; the model sees it once."""
    journal = tmp_path / "journal"
    monkeypatch.setenv(fake_models.JOURNAL, str(journal))
    red, green = colour(tmp_path, "r.png", (255, 1, 0)), colour(tmp_path, "g.png", (0, 255, 0))
    with QueryEncoder(index.catalog, index.home, ENGINE) as encoder:
        for query in (make_query(images=[red]), make_query(images=[red, green]), make_query(images=[f"3:{green}"])):
            encoder.vector(query)
    assert journal.read_bytes() == b".."


def test_a_query_that_cancels_itself_is_wrong_use(index: Index) -> None:
    """Nothing minus itself has no direction."""
    with QueryEncoder(index.catalog, index.home, ENGINE) as encoder, pytest.raises(UsageError, match="cancel"):
        encoder.vector(make_query(images=[str(index.picture)], minus=[str(index.picture)]))


@pytest.mark.usefixtures("no_children")
def test_a_picture_alone_with_a_weight_is_as_without(index: Index) -> None:
    """A weight says how much one term counts beside another; taken away alone, it is the opposite."""
    with QueryEncoder(index.catalog, index.home, ENGINE) as encoder:
        plain, heavy = (encoder.vector(make_query(images=[f"{weight}{index.picture}"])) for weight in ("", "3:"))
        np.testing.assert_array_equal(plain, heavy)
        np.testing.assert_allclose(encoder.vector(make_query(minus=[str(index.picture)])), -plain, atol=1e-3)


@pytest.mark.usefixtures("no_children")
def test_a_query_picture_in_a_cloud_is_not_downloaded(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the index knows needs no file; for any other the search says what to do."""
    other = colour(tmp_path, "other.png", (1, 2, 3))
    send_to_cloud(monkeypatch, index.picture, Path(other))
    with QueryEncoder(index.catalog, index.home, ENGINE) as encoder:
        np.testing.assert_allclose(encoder.vector(make_query(images=[str(index.picture)])), index.stored, atol=1e-3)
        with pytest.raises(QueryError, match="in a cloud, not on this disk; open it once"):
            encoder.vector(make_query(images=[other]))


def test_own_ids_are_those_of_the_pictures_asked_by(index: Index, tmp_path: Path) -> None:
    """Whether added or taken away, by any path that leads there; texts have none."""
    other = colour(tmp_path, "other.png", (1, 2, 3))
    link = tmp_path / "link.png"
    link.symlink_to(index.picture)
    with QueryEncoder(index.catalog, index.home, ENGINE) as encoder:
        assert encoder.own_ids(make_query("a cat", images=[str(link), other])) == {1}
        assert encoder.own_ids(make_query(minus=[str(index.picture)])) == {1}
        assert encoder.own_ids(make_query("a cat", add=[other])) == frozenset()


def test_the_other_file_of_a_shot_is_the_query_s_own_too(index: Index, tmp_path: Path) -> None:
    """A search by the JPEG does not find the RAW file beside it, nor the other way round."""
    paths = {kind: tmp_path / f"shot.{kind}" for kind in ("jpeg", "raw")}
    images = tuple(
        EmbeddedImage(ImageFile(resolve(path), 1, 1), bytes(32), 1, PictureFacts(8, 8, kind))
        for kind, path in paths.items()
    )
    index.catalog.record(EmbeddedBatch(images, np.eye(2, 3, dtype=np.float32)))
    with QueryEncoder(index.catalog, index.home, ENGINE) as encoder:
        for path in paths.values():
            assert encoder.own_ids(make_query(images=[str(path)])) == {2, 3}


def load_on_no_device(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision) -> LoadedEncoder:
    """Fail as for a device that this machine does not have."""
    raise UsageError("no such device")


@pytest.mark.parametrize(
    ("load", "text", "error"),
    [(load_on_no_device, "any", UsageError), (fake_models.load, "unpicklable", ModelUnavailable)],
    ids=["no device", "a text that fails"],
)
def test_a_child_that_failed_is_not_waited_for_again(
    index: Index, load: Loader, text: str, error: type[Exception]
) -> None:
    """One of many queries costs its own failure; the next has a new child, and an answer at once."""
    with QueryEncoder(index.catalog, index.home, Engine("cpu", loader=load)) as encoder:
        for _ in range(2):
            with pytest.raises(error):
                encoder.text(text)
        if load is fake_models.load:
            assert encoder.text("abc").tolist() == [3, 0, 0]
