"""Towers are not believed where they are wrong: by a run in any byte, by a search in size, time and small files."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_index.files.atomic import replacing_directory
from image_index.models.text_tower import open_text_tower
from image_index.models.tower_files import (
    IMAGE_GRAPH,
    MANIFEST,
    MERGES,
    TEXT_GRAPH,
    fault,
    find_rotten_weights,
    note_times,
    own_weights,
    read_manifest,
    state,
    write_refusal,
)
from image_index.records import DerivedState, ModelFacts
from tests.support.text_models import export, is_settled, make_model

GRAPH, WEIGHTS, PICTURES = TEXT_GRAPH, own_weights(TEXT_GRAPH), own_weights(IMAGE_GRAPH)

QUERY = "a dog on the beach"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep hundreds of warnings of damage to ourselves."""
    caplog.set_level(logging.CRITICAL)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelFacts]:
    """Export a small tower once."""
    directory = tmp_path_factory.mktemp("tower") / "text"
    return directory, export(make_model("CLIP"), directory)


class Specimen:
    """A tower that may be damaged, beside its sound original."""

    def __init__(self, original: Path, directory: Path, facts: ModelFacts) -> None:
        self.original, self.directory, self.facts = original, directory, facts
        shutil.copytree(original, directory)
        self.vector = self.encode()
        assert self.vector is not None

    def encode(self, text: str = QUERY) -> list[float] | None:
        """Return what the directory makes of `text`."""
        tower = open_text_tower(self.directory, self.facts.fingerprint)
        vector = tower.encode(text) if tower else None
        return None if vector is None else vector.tolist()

    def write(self, name: str, content: bytes) -> None:
        """Replace a file."""
        (self.directory / name).write_bytes(content)

    def rot(self, name: str, content: bytes) -> None:
        """Change a file as a failing disk does: its modification time stays."""
        before = (self.original / name).stat()
        self.write(name, content)
        os.utime(self.directory / name, ns=(before.st_atime_ns, before.st_mtime_ns))

    def restore(self, name: str) -> None:
        """Put the sound file back."""
        shutil.copy2(self.original / name, self.directory / name)


@pytest.fixture
def specimen(sound: tuple[Path, ModelFacts], tmp_path: Path) -> Specimen:
    """Give a copy of the tower."""
    return Specimen(sound[0], tmp_path / "text", sound[1])


FLIPS = {"position": st.integers(0, 10**9), "bits": st.integers(1, 255)}


def flipped(content: bytes, position: int, bits: int) -> bytes:
    """Return `content` with some bits of one byte turned around."""
    changed = bytearray(content)
    changed[position % len(changed)] ^= bits
    return bytes(changed)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([MANIFEST, GRAPH, MERGES, WEIGHTS, IMAGE_GRAPH, PICTURES]), **FLIPS)
def test_any_byte_that_is_overwritten_is_noticed(specimen: Specimen, name: str, position: int, bits: int) -> None:
    """A search gets the true vector or none, for the file has another time; so does the next training run."""
    specimen.write(name, flipped((specimen.original / name).read_bytes(), position, bits))
    assert specimen.encode() is None or name == MANIFEST
    assert specimen.encode() in (None, specimen.vector)
    assert not is_settled(specimen.directory, specimen.facts.fingerprint) or name == MANIFEST
    specimen.restore(name)
    assert is_settled(specimen.directory, specimen.facts.fingerprint)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([GRAPH, MERGES, WEIGHTS]), **FLIPS)
def test_bits_that_rot_are_seen_by_the_next_run_and_never_end_a_search(
    specimen: Specimen, name: str, position: int, bits: int
) -> None:
    """Size and time are as they were. Of the weights a search then makes a unit vector, wrong or right, or none."""
    specimen.rot(name, flipped((specimen.original / name).read_bytes(), position, bits))
    vector = specimen.encode()
    assert vector is None or np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)
    assert vector is None or name == WEIGHTS
    assert not is_settled(specimen.directory, specimen.facts.fingerprint)
    specimen.restore(name)


@pytest.mark.parametrize("damage", [lambda _: np.random.default_rng(1).bytes(len(_)), lambda _: b"\xff" * len(_)])
def test_weights_that_are_gone_altogether_never_end_a_search(
    specimen: Specimen, damage: Callable[[bytes], bytes]
) -> None:
    """Numbers without sense, and numbers that are none: no vector that is not of length one comes of it."""
    specimen.rot(WEIGHTS, damage((specimen.original / WEIGHTS).read_bytes()))
    assert specimen.encode() is None
    assert not is_settled(specimen.directory, specimen.facts.fingerprint)


def test_a_copy_with_other_times_is_read_whole_and_used(specimen: Specimen) -> None:
    """As `cp -r` leaves it; a flipped bit in such a copy is noticed by a search too."""
    for name in (GRAPH, MERGES, WEIGHTS, IMAGE_GRAPH, PICTURES):
        os.utime(specimen.directory / name, ns=(1, 1))
    assert specimen.encode() == specimen.vector
    assert is_settled(specimen.directory, specimen.facts.fingerprint)
    specimen.write(WEIGHTS, flipped((specimen.original / WEIGHTS).read_bytes(), 3, 1))
    os.utime(specimen.directory / WEIGHTS, ns=(1, 1))
    assert specimen.encode() is None


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "zeros": lambda content: bytes(len(content)),
    "garbage": lambda content: np.random.default_rng(1).bytes(len(content)),
}


def test_a_model_that_has_been_moved_is_not_called_damage(tmp_path: Path) -> None:
    """Nothing is wrong with the towers: they say which file they need."""
    weights = tmp_path / "model.safetensors"
    facts = export(make_model("CLIP"), tmp_path / "towers", weights=weights)
    weights.rename(tmp_path / "elsewhere.safetensors")
    assert state(tmp_path / "towers", facts.fingerprint)[0] is DerivedState.DAMAGED
    assert fault(tmp_path / "towers") == f"need the model's file {weights}, which is not there"
    weights.write_bytes(b"another model")
    assert fault(tmp_path / "towers") == "are damaged, or of another model"


@pytest.mark.parametrize("name", [MANIFEST, GRAPH, MERGES, WEIGHTS, IMAGE_GRAPH, PICTURES])
@pytest.mark.parametrize("kind", [*DAMAGE, "gone", "a directory"])
def test_a_damaged_file_leaves_the_text_to_a_child(specimen: Specimen, name: str, kind: str) -> None:
    """Cut, emptied, overwritten or gone: no vector comes of it."""
    path = specimen.directory / name
    if kind in DAMAGE:
        specimen.write(name, DAMAGE[kind](path.read_bytes()))
    else:
        path.unlink()
    if kind == "a directory":
        path.mkdir()
    assert specimen.encode() is None
    assert not is_settled(specimen.directory, specimen.facts.fingerprint)


def test_the_tower_of_another_model_is_not_used(specimen: Specimen, tmp_path: Path) -> None:
    """Neither the whole directory of another model, nor one file of it among ours."""
    export(make_model("layer scale"), tmp_path / "other")
    assert open_text_tower(tmp_path / "other", "1" * 64) is None
    assert not is_settled(tmp_path / "other", "1" * 64)
    for name in (GRAPH, WEIGHTS):
        shutil.copy(tmp_path / "other" / name, specimen.directory / name)
        assert specimen.encode() is None
        specimen.restore(name)


@pytest.mark.parametrize("kind", ["nothing", "a file", "a link to nowhere", "an empty directory", "a newer format"])
def test_what_is_no_tower_is_none(specimen: Specimen, kind: str) -> None:
    """Whatever stands in its place."""
    if kind == "a newer format":
        text = (specimen.directory / MANIFEST).read_text()
        specimen.write(MANIFEST, text.replace('"format": 1', '"format": 2').encode())
    else:
        shutil.rmtree(specimen.directory)
    if kind == "a file":
        specimen.directory.write_text("text")
    elif kind == "a link to nowhere":
        specimen.directory.symlink_to("nowhere")
    elif kind == "an empty directory":
        specimen.directory.mkdir()
    assert read_manifest(specimen.directory) is None
    assert specimen.encode() is None
    with replacing_directory(specimen.directory) as draft:
        shutil.copytree(specimen.original, draft, dirs_exist_ok=True)
    assert specimen.encode() == specimen.vector
    assert [path.name for path in specimen.directory.parent.iterdir()] == ["text"]


def test_a_refusal_is_settled_for_its_model_alone(tmp_path: Path) -> None:
    """Not every run tries again; another model is another matter."""
    write_refusal(tmp_path / "text", "0" * 64, "it is odd")
    manifest = read_manifest(tmp_path / "text")
    assert manifest is not None
    assert (manifest.text_refusal, manifest.image_refusal) == ("it is odd", "it is odd")
    assert is_settled(tmp_path / "text", "0" * 64)
    assert not is_settled(tmp_path / "text", "1" * 64)
    assert open_text_tower(tmp_path / "text", "0" * 64) is None


@pytest.mark.parametrize("thorough", [True, False])
def test_a_whole_tower_is_current(specimen: Specimen, thorough: bool) -> None:
    """Both the thorough check and that of a search pass it, for its own model alone."""
    found, manifest = state(specimen.directory, specimen.facts.fingerprint, thorough=thorough)
    assert (found, manifest) == (DerivedState.CURRENT, read_manifest(specimen.directory))
    assert state(specimen.directory, "1" * 64, thorough=thorough) == (DerivedState.DAMAGED, None)
    assert state(specimen.directory / "nothing", "1" * 64, thorough=thorough) == (DerivedState.ABSENT, None)


class Pointing(Specimen):
    """Towers whose weights stand in the model's own file."""

    @property
    def model_file(self) -> Path:
        """The model's own file."""
        return self.original.parent / "model.safetensors"


@pytest.fixture
def pointing(tmp_path: Path) -> Pointing:
    """Give towers that point into the file of a model."""
    original = tmp_path / "original"
    return Pointing(
        original, tmp_path / "towers", export(make_model("CLIP"), original, weights=tmp_path / "model.safetensors")
    )


def exchange(file: Path) -> None:
    """Put another model's file of the same size and time in the place of `file`, as `rsync --times` does."""
    status, other = file.stat(), file.with_name("other")
    other.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)


WEIGHTS_DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "cut": lambda file: os.truncate(file, file.stat().st_size - 4),
    "longer": lambda file: os.truncate(file, file.stat().st_size + 4),
    "written to": lambda file: file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0"),
    "exchanged": exchange,
}


@pytest.mark.parametrize("kind", WEIGHTS_DAMAGE)
def test_a_model_file_that_has_changed_is_noticed_before_a_wrong_vector(pointing: Pointing, kind: str) -> None:
    """Whoever is left then loads the model, and finds out that it is another or gone."""
    WEIGHTS_DAMAGE[kind](pointing.model_file)
    assert pointing.encode() is None
    assert not is_settled(pointing.directory, pointing.facts.fingerprint)


def test_a_model_file_that_has_only_moved_in_time_is_used(pointing: Pointing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch or a copy brings the same bytes: a search reads them all, once a run has noted the times no more."""
    content = pointing.model_file.read_bytes()
    pointing.model_file.unlink()
    pointing.model_file.write_bytes(content)
    assert pointing.encode() == pointing.vector
    found, manifest = state(pointing.directory, pointing.facts.fingerprint)
    assert manifest is not None
    note_times(pointing.directory, manifest)
    monkeypatch.setattr("image_index.models.tower_files._is_whole", lambda _: False)
    assert pointing.encode() == pointing.vector
    assert found is DerivedState.CURRENT


def test_bits_that_rot_in_the_model_file_are_found_by_reading_it(pointing: Pointing) -> None:
    """Size, time and inode are as they were: nothing but a reading of the whole file can tell."""
    assert find_rotten_weights(pointing.directory) is None
    status = pointing.model_file.stat()
    with pointing.model_file.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    os.utime(pointing.model_file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find_rotten_weights(pointing.directory) == str(pointing.model_file)
