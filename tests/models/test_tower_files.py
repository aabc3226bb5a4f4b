"""A text tower is not believed where it is wrong: by a run in any byte, by a search in size, time and small files."""

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
from image_index.models.tower import open_tower
from image_index.models.tower_files import (
    GRAPH,
    MANIFEST,
    MERGES,
    WEIGHTS,
    read_manifest,
    state,
    write_refusal,
)
from image_index.records import DerivedState, ModelFacts
from tests.support.text_models import export, is_settled, make_model

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
        tower = open_tower(self.directory, self.facts.fingerprint)
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
@given(name=st.sampled_from([MANIFEST, GRAPH, MERGES, WEIGHTS]), **FLIPS)
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
    for name in (GRAPH, MERGES, WEIGHTS):
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


@pytest.mark.parametrize("name", [MANIFEST, GRAPH, MERGES, WEIGHTS])
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
    assert open_tower(tmp_path / "other", "1" * 64) is None
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
    assert manifest.refusal == "it is odd"
    assert is_settled(tmp_path / "text", "0" * 64)
    assert not is_settled(tmp_path / "text", "1" * 64)
    assert open_tower(tmp_path / "text", "0" * 64) is None


@pytest.mark.parametrize("thorough", [True, False])
def test_a_whole_tower_is_current(specimen: Specimen, thorough: bool) -> None:
    """Both the thorough check and that of a search pass it, for its own model alone."""
    found, manifest = state(specimen.directory, specimen.facts.fingerprint, thorough=thorough)
    assert (found, manifest) == (DerivedState.CURRENT, read_manifest(specimen.directory))
    assert state(specimen.directory, "1" * 64, thorough=thorough) == (DerivedState.DAMAGED, None)
    assert state(specimen.directory / "nothing", "1" * 64, thorough=thorough) == (DerivedState.ABSENT, None)
