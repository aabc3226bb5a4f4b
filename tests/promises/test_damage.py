"""Bits that rot: a bad file of vectors is noticed and rebuilt, a bad catalog is reported and never overwritten."""

from __future__ import annotations

import json
import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from image_index.catalog.catalog import Catalog
from image_index.catalog.runs import Runs
from image_index.errors import ImgidxError, IndexMismatch, StorageError
from image_index.files.atomic import remove
from image_index.records import Vectors
from image_index.search.ranking import SearchOptions
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale
from image_index.upkeep.maintenance import backup, forget, prune
from image_index.upkeep.verify import repair, verify
from tests.support.library import Library, contents, found, make_index, nearest, search
from tests.support.vector_files import NAMES, are_whole, flip, read_all, write_all

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SHARED = [HealthCheck.function_scoped_fixture]


class Specimen:
    """A trained index, the bytes of its files when they were sound, and what was in it."""

    def __init__(self, library: Library) -> None:  # no dataclass: Hypothesis would print every byte
        self.library = library
        self.vectors = read_all(library.home)
        self.moments = library.home.moments.read_bytes()
        self.catalog = library.home.catalog.read_bytes()
        self.rows = contents(library.home)

    @property
    def home(self) -> IndexHome:
        """The index home."""
        return self.library.home


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    """Train a library of twelve pictures once."""
    directory = tmp_path_factory.mktemp("damage")
    library = Library(directory / "photos", IndexHome(directory / "index"))
    library.add(*(f"{number}.png" for number in range(12)))
    library.train()
    home = library.home
    assert {path.name for path in home.path.iterdir()} == {
        "catalog.sqlite3",
        *NAMES,
        "moments.f32",
        "lock",
        "towers",
    }
    return Specimen(library)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep hundreds of warnings of damage to ourselves."""
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def sound(specimen: Specimen) -> Iterator[Specimen]:
    """Give the specimen in sound condition, and put it back into it."""
    yield specimen
    restore(specimen)


def restore(specimen: Specimen) -> None:
    """Put the sound files back."""
    for path in specimen.home.path.iterdir():
        if path != specimen.home.towers:  # where it says that the fake model has no text tower
            remove(path)
    specimen.home.catalog.write_bytes(specimen.catalog)
    write_all(specimen.home, specimen.vectors)
    specimen.home.moments.write_bytes(specimen.moments)


# The file of vectors


def assert_noticed_and_mended(specimen: Specimen, name: str, content: bytes) -> None:
    """Put `content` in the place of a file: it is noticed, a search stays right, the next run mends it."""
    home = specimen.home
    (home.path / name).write_bytes(content)
    assert not are_whole(home)
    for query in np.eye(3, dtype=np.float32):
        assert found(home, query) == nearest(home, query)
    assert specimen.library.train().unchanged == 12
    assert are_whole(home)
    assert read_all(home) == specimen.vectors


@settings(max_examples=300, suppress_health_check=SHARED)
@given(name=st.sampled_from(NAMES), position=st.integers(0, 10**6), bits=st.integers(1, 255))
def test_any_byte_flipped_is_noticed_and_mended_without_embedding(
    sound: Specimen, no_children: None, name: str, position: int, bits: int
) -> None:
    """Vectors, ids, checksums: wherever it is."""
    content = bytearray(sound.vectors[name])
    content[position % len(content)] ^= bits
    assert_noticed_and_mended(sound, name, bytes(content))


@settings(max_examples=150, suppress_health_check=SHARED)
@given(
    name=st.sampled_from(NAMES),
    length=st.integers(0, 10**6),
    tail=st.sampled_from([b"", b"\0", b"\0" * 4096, b"imgidx1\n"]),
)
@example(name="vectors.json", length=0, tail=b"")
def test_any_cut_is_noticed_and_mended_without_embedding(
    sound: Specimen, no_children: None, name: str, length: int, tail: bytes
) -> None:
    """Also where a file system filled the lost end with zeros, or something was appended."""
    whole = sound.vectors[name]
    content = whole[: length % (len(whole) + 1)] + tail
    assume(not content.startswith(whole))  # its own last bytes put back; what lies behind them does not exist
    assert_noticed_and_mended(sound, name, content)


@pytest.mark.parametrize("name", NAMES)
def test_every_single_byte_of_the_files_is_covered_by_a_checksum(sound: Specimen, name: str) -> None:
    """Not a sample: all of them, one after the other."""
    path, whole = sound.home.path / name, sound.vectors[name]
    for position in range(len(whole)):
        path.write_bytes(whole)
        flip(path, position, 0x10)
        assert not are_whole(sound.home), position


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["directory", "text", "link to nowhere"])
def test_what_is_no_such_file_is_not_used(sound: Specimen, name: str, kind: str) -> None:
    """A search stays right; where something cannot be replaced, that is said."""
    path = sound.home.path / name
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "text":
        path.write_text("not an index")
    else:
        path.symlink_to("nowhere")
    query = np.array([1, 0, 0], np.float32)
    assert found(sound.home, query) == nearest(sound.home, query)
    if kind == "directory":
        with pytest.raises(StorageError, match=name):
            sound.library.train()
        path.rmdir()
    sound.library.train()
    assert read_all(sound.home) == sound.vectors


def test_a_table_that_lies_with_a_true_checksum_is_not_believed(sound: Specimen) -> None:
    """Rows that are not there, and a list of blocks too short or too long."""
    contents = json.loads(sound.vectors["vectors.json"])["contents"]
    lies: list[dict[str, object]] = [{"rows": 13}, {"rows": "x"}, {"vectors_crc32": []}, {"ids_crc32": [1, 2]}]
    for lie in lies:
        text = json.dumps(contents | lie).encode()
        sound.home.vector_table.write_bytes(b'{"crc32": %d, "contents": %s}\n' % (zlib.crc32(text), text))
        assert not are_whole(sound.home)


# The catalog

DamageOfBytes = Callable[[bytes], bytes]


def zeros_from(position: int) -> DamageOfBytes:
    """Return what overwrites all from `position` on."""
    return lambda content: content[:position] + bytes(len(content) - position)


CATALOG_DAMAGE: dict[str, DamageOfBytes] = {
    "no header": lambda content: b"\xff" * 100 + content[100:],
    "other header": lambda content: b"GIF89a" + content[6:],
    "cut to half": lambda content: content[: len(content) // 2 + 17],
    "cut to a page": lambda content: content[:4096],
    "cut in the header": lambda content: content[:50],
    "zeros after the first page": zeros_from(4096),
    "all zeros": zeros_from(0),
    "garbage": lambda content: np.random.default_rng(1).bytes(len(content)),
    "garbage after the first page": lambda content: (
        content[:4096] + np.random.default_rng(1).bytes(len(content) - 4096)
    ),
    "another page size": lambda content: content[:16] + b"\x80\0" + content[18:],
    "a newer file format": lambda content: content[:18] + b"\x09\x09" + content[20:],
}


def query_of(home: IndexHome) -> list[bytes]:
    """Search; what it finds."""
    with Catalog(home.catalog) as catalog:
        query: Vectors = np.array([1, 0, 0], np.float32)
        return [hit.path for hit in search(catalog, home, query, SearchOptions(20))]


def status_of(home: IndexHome) -> object:
    """Ask what `imgidx status` asks."""
    with Catalog(home.catalog) as catalog:
        return catalog.counts(), catalog.roots(), catalog.read_model(), Runs(catalog).last()


USES: dict[str, Callable[[Specimen, Path], object]] = {
    "train": lambda specimen, _: specimen.library.train(),
    "search": lambda specimen, _: query_of(specimen.home),
    "status": lambda specimen, _: status_of(specimen.home),
    "verify": lambda specimen, _: list(verify(specimen.home)),
    "repair": lambda specimen, _: repair(specimen.home),
    "forget": lambda specimen, _: forget(specimen.home, (b"/",)),
    "prune": lambda specimen, _: prune(specimen.home, 0),
    "backup": lambda specimen, tmp: backup(specimen.home, tmp / "copy"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", CATALOG_DAMAGE)
def test_a_damaged_catalog_is_reported_and_never_overwritten(
    sound: Specimen, no_children: None, tmp_path: Path, kind: str, use: str
) -> None:
    """Whatever is asked of it, the answer is the next step, and every byte of it stays for whoever can save it."""
    damaged = CATALOG_DAMAGE[kind](sound.catalog)
    sound.home.catalog.write_bytes(damaged)
    with pytest.raises((StorageError, IndexMismatch), match=r"backup|move it away|--index|check the disk") as caught:
        USES[use](sound, tmp_path)
    assert str(sound.home.path) in str(caught.value)
    assert sound.home.catalog.read_bytes() == damaged


@settings(max_examples=150, suppress_health_check=SHARED)
@given(positions=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=8))
def test_flipped_bytes_of_a_catalog_never_end_in_a_traceback_or_a_loss(
    sound: Specimen, positions: list[tuple[int, int]]
) -> None:
    """A flip in a page is an error of ours or an answer; reading writes not a byte, and verify says no more than that.

    A flip inside a value (a path, a time) is not noticed: SQLite has no checksums (see docs/reliability.md).
    """
    content = bytearray(sound.catalog)
    for position, bits in positions:
        content[position % len(content)] ^= bits
    restore(sound)
    sound.home.catalog.write_bytes(content)
    for use in ("search", "status", "verify"):
        try:
            USES[use](sound, Path())
        except ImgidxError as error:
            assert error.exit_code in {5, 9}  # noqa: PT017  # either is an answer
    assert sound.home.catalog.read_bytes() == content


@pytest.mark.parametrize("position", [0, 30, -1])
def test_damaged_moments_are_noticed_and_written_anew(sound: Specimen, no_children: None, position: int) -> None:
    """A search has the same sigmas meanwhile, to rounding; verify says so, and the next run mends it."""
    query = np.array([0.6, 0.8, 0.0], np.float32)
    with Catalog(sound.home.catalog, write=True) as catalog:
        before = [hit.sigma for hit in search(catalog, sound.home, query, SearchOptions())]
        content = bytearray(sound.moments)
        content[position] ^= 1
        sound.home.moments.write_bytes(content)
        meanwhile = [hit.sigma for hit in search(catalog, sound.home, query, SearchOptions())]
        np.testing.assert_allclose(np.array(meanwhile, float), np.array(before, float), atol=1e-3)
        assert [finding.subject for finding in verify(sound.home)] == ["moments.f32"]
        build_if_stale(catalog, sound.home, lambda _: None)
    assert sound.home.moments.read_bytes() == sound.moments
    assert list(verify(sound.home)) == []


def test_a_journal_of_garbage_costs_nothing_committed(sound: Specimen) -> None:
    """A write-ahead log that is not one is ignored: what was checkpointed is there."""
    sound.home.catalog.with_name("catalog.sqlite3-wal").write_bytes(b"garbage" * 999)
    assert contents(sound.home) == sound.rows
    assert list(verify(sound.home)) == []


def test_a_torn_end_of_the_journal_costs_the_last_transaction_at_most(tmp_path: Path) -> None:
    """Cut the log of a killed writer anywhere: what opens is what some earlier commit left."""
    home = IndexHome(tmp_path / "index")
    make_index(home, 3)
    states = [contents(home)]
    with Catalog(home.catalog, write=True) as catalog:
        for number in range(3):
            catalog.forget(b"/photos/1-%d.jpg" % number)
            states.append(contents(home))
        copies = {path.name: path.read_bytes() for path in home.path.iterdir() if path.name.startswith("catalog")}
    log = copies["catalog.sqlite3-wal"]
    assert len(log) > 3 * 4096
    seen = []
    for number, length in enumerate([*range(0, len(log), 999), len(log)]):
        torn = IndexHome(tmp_path / str(number))
        torn.create()
        torn.catalog.write_bytes(copies["catalog.sqlite3"])
        torn.catalog.with_name("catalog.sqlite3-wal").write_bytes(log[:length])
        if length == 0 and not copies["catalog.sqlite3"]:
            continue
        seen.append(states.index(contents(torn)))
        assert {finding.subject for finding in verify(torn)} <= {"vectors.f16"}
    assert seen == sorted(seen)
    assert seen[-1] == len(states) - 1


def test_a_foreign_database_in_the_place_of_the_catalog_is_left_alone(sound: Specimen, tmp_path: Path) -> None:
    """Another program's file is refused by every use, and stays in its journal mode."""
    sound.home.catalog.unlink()
    with closing(sqlite3.connect(sound.home.catalog)) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
        connection.commit()
    before = sound.home.catalog.read_bytes()
    for use, action in USES.items():
        with pytest.raises(IndexMismatch, match="--index"):
            action(sound, tmp_path / use)
    assert sound.home.catalog.read_bytes() == before
