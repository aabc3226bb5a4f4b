"""What an index home says of its text tower is not believed when a byte of it is wrong."""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_index.files.atomic import replacing_directory
from image_index.models.tower import open_tower
from image_index.models.tower_files import (
    BLOCK_BYTES,
    GRAPH,
    MANIFEST,
    MERGES,
    WEIGHTS,
    is_settled,
    is_whole,
    read_manifest,
    write_refusal,
)
from image_index.records import ModelFacts
from tests.support.text_models import export, make_model

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

    def restore(self, name: str) -> None:
        """Put the sound file back."""
        shutil.copy(self.original / name, self.directory / name)


@pytest.fixture
def specimen(sound: tuple[Path, ModelFacts], tmp_path: Path) -> Specimen:
    """Give a copy of the tower."""
    return Specimen(sound[0], tmp_path / "text", sound[1])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([MANIFEST, GRAPH, MERGES, WEIGHTS]),
    position=st.integers(0, 10**9),
    bits=st.integers(1, 255),
)
def test_any_byte_flipped_is_noticed_or_was_not_needed(specimen: Specimen, name: str, position: int, bits: int) -> None:
    """A search gets the true vector or none; the next training run sees the damage in every case."""
    content = bytearray((specimen.original / name).read_bytes())
    content[position % len(content)] ^= bits
    specimen.write(name, bytes(content))
    assert specimen.encode() in (None, specimen.vector)
    assert not is_settled(specimen.directory, specimen.facts.fingerprint) or name == MANIFEST
    if name in {GRAPH, MERGES}:
        assert specimen.encode() is None
    specimen.restore(name)
    assert is_settled(specimen.directory, specimen.facts.fingerprint)


def test_every_block_of_the_weights_that_a_query_reads_is_checked(specimen: Specimen) -> None:
    """A flip in any block is noticed by the check before a search, or the vector stays the same to the last bit."""
    sound = (specimen.original / WEIGHTS).read_bytes()
    noticed = 0
    for start in range(0, len(sound), BLOCK_BYTES):
        content = bytearray(sound)
        for offset in range(start, min(start + BLOCK_BYTES, len(sound)), 128):  # every row of an embedding
            content[offset + 3] ^= 0x40  # the exponent
        specimen.write(WEIGHTS, bytes(content))
        found = specimen.encode()
        noticed += found is None
        assert found in (None, specimen.vector)
    assert 0 < noticed < len(range(0, len(sound), BLOCK_BYTES))  # rows of other tokens are not read at all


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


def test_an_export_that_knows_no_scale_is_used_and_made_anew(specimen: Specimen) -> None:
    """As one from before `imgidx tag`: searches go on with it, and the next training run exports it again."""
    values = json.loads((specimen.directory / MANIFEST).read_bytes())
    assert values["manifest"].pop("logit_scale") > 0
    values["crc32"] = zlib.crc32(json.dumps(values["manifest"], sort_keys=True).encode())
    specimen.write(MANIFEST, json.dumps(values).encode())
    assert specimen.encode() == specimen.vector
    assert not is_settled(specimen.directory, specimen.facts.fingerprint)


def test_a_refusal_is_settled_for_its_model_alone(tmp_path: Path) -> None:
    """Not every run tries again; another model is another matter."""
    write_refusal(tmp_path / "text", "0" * 64, "it is odd")
    manifest = read_manifest(tmp_path / "text")
    assert manifest is not None
    assert manifest.refusal == "it is odd"
    assert is_settled(tmp_path / "text", "0" * 64)
    assert not is_settled(tmp_path / "text", "1" * 64)
    assert open_tower(tmp_path / "text", "0" * 64) is None


def test_a_whole_tower_is_whole(specimen: Specimen) -> None:
    """Both the thorough check and that of a search pass it."""
    manifest = read_manifest(specimen.directory)
    assert manifest is not None
    assert is_whole(specimen.directory, manifest)
    assert is_whole(specimen.directory, manifest, [0, 320, 49407])
