"""What an index keeps to itself, what it will not run, and where it never writes."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image_index.catalog.catalog import Catalog
from image_index.models.names import STARTER
from image_index.models.tower_files import write_refusal
from image_index.records import EmbeddedBatch, Failure, ImageFile, Stage
from image_index.settings import IndexHome
from image_index.upkeep.maintenance import backup
from tests.support.confined import run_confined
from tests.support.library import Library, make_index, random_batch
from tests.support.records import embedded_image
from tests.support.shell import Shell
from tests.support.vector_files import NAMES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HOSTILE = b"\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\x7f\xc2\x9b5n\xe2\x80\xae.jpg"
"""A name that clears the screen, sets the title, rings, asks the terminal to type, and turns the line around."""


@pytest.fixture
def loose_umask() -> Iterator[None]:
    """Let everyone read and write what does not say otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def assert_private(home: IndexHome, names: set[str]) -> None:
    """Check that the files of an index home are `names`, and they and its directories the user's alone."""
    files = {path for path in home.path.rglob("*") if path.is_file()}
    assert {path.relative_to(home.path).as_posix() for path in files} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    directories = [home.path, *(path for path in home.path.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}


def test_every_file_of_an_index_home_is_the_users_alone(
    tmp_path: Path, loose_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask: catalog, journal, shared memory, vectors and their drafts, lock, and a backup of it all."""
    library = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    library.add("a.png", "b.png")
    replace = os.replace
    seen = list[str]()

    def look_and_replace(source: Any, target: Any) -> None:
        open_catalog = {f"catalog.sqlite3{end}" for end in ("", "-wal", "-shm")}
        drafts = {Path(source).name, *seen, *({f".vectors.f16.{os.getpid()}.tmp"} if not seen else set())}
        assert_private(library.home, {"lock", "towers/manifest.json", *drafts, *open_catalog})
        seen.append(Path(target).name)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", look_and_replace)
        library.train()
    assert seen == ["vectors.ids", "vectors.f16", "vectors.json", "moments.f32"]
    copied = {*NAMES, "moments.f32", "towers/manifest.json", "catalog.sqlite3"}
    assert_private(library.home, {"lock", *copied})
    assert_private(backup(library.home, tmp_path / "copy"), copied)


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def test_weights_that_are_a_program_are_refused_and_do_not_run(tmp_path: Path) -> None:
    """A pickle in a model's directory ends in exit 6 with the cause, and what it would run is not run."""
    photos, model, mark = tmp_path / "photos", tmp_path / "model", tmp_path / "owned"
    Library(photos, IndexHome(tmp_path)).add("a.png")
    shutil.copytree(STARTER, model, ignore=shutil.ignore_patterns("*.safetensors"))
    weights = model / "open_clip_pytorch_model.bin"
    weights.write_bytes(pickle.dumps({"state_dict": Bomb(mark)}, protocol=2))
    shell = Shell(tmp_path)
    done = shell.run("train", photos, "--model", f"local-dir:{model}", "--device", "cpu", "--workers", "1")
    assert (done.code, done.out) == (6, b"")
    assert f"cannot load the model local-dir:{model}" in done.err
    assert not mark.exists()
    pickle.loads(weights.read_bytes())
    assert mark.exists(), "the bomb would have gone off"


DRIVER = """
import sys
from pathlib import Path
from image_index.upkeep.maintenance import forget, prune
from image_index.paths import resolve
from image_index.settings import IndexHome
from image_index.upkeep.verify import repair, verify
from tests.support.library import Library, found
import numpy as np
library = Library(Path(sys.argv[1]), IndexHome(Path(sys.argv[2])))
library.train()
found(library.home, np.eye(3, dtype=np.float32)[0])
list(verify(library.home)), repair(library.home), prune(library.home, 0), forget(library.home, (resolve(sys.argv[1]),))
"""


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time and content of everything below a directory."""
    found = {}
    for path in directory.rglob("*"):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def test_nothing_is_written_outside_the_index_home(tmp_path: Path) -> None:
    """Home, temporary directory and pictures are as before a run; names and rules that point elsewhere lead nowhere."""
    watched, home = tmp_path / "watched", IndexHome(tmp_path / "index")
    library = Library(watched / "photos", home)
    library.add("a.png", "sub/b.png")
    (watched / "tmp").mkdir()
    (library.photos / ".imgidxignore").write_text("../../../etc/\n/../x\n!../../outside\n**/../../*\n")
    (library.photos / "..hidden..%2e%2e%2fetc.png").write_bytes((library.photos / "a.png").read_bytes())
    (library.photos / "link").symlink_to(tmp_path)
    before = snapshot(watched)
    done = run_confined("-c", DRIVER, library.photos, home.path, home=watched / "tmp")
    assert done.returncode == 0, done.stderr
    assert snapshot(watched) == before
    assert {path.name for path in tmp_path.iterdir()} == {"watched", "index"}
    assert {path.name for path in home.path.iterdir()} <= {
        "catalog.sqlite3",
        *NAMES,
        "moments.f32",
        "lock",
        "towers",
    }


@pytest.mark.skipif(sys.platform == "darwin", reason="names there are UTF-8")
@pytest.mark.parametrize(
    "words",
    [
        ("status",), ("failures",), ("search", "--image", "QUERY", "--missing"),
        ("search", "--image", "QUERY", "--missing", "--paths"),
        ("train", "--dry-run"), ("train", "--quiet"), ("forget", "/x\x1b[2Jy"), ("backup", "there\x1b[2J"),
        ("search", "--image", "/x\x1b[2J"), ("train", "/x\x1b[2J"), ("status", "--index", "/x\x1b[2J"), ("verify",),
    ],
)  # fmt: skip
def test_no_control_character_of_a_name_reaches_a_terminal(tmp_path: Path, words: tuple[str, ...]) -> None:
    """In roots, pictures, failures, reasons and complaints: what is not printable is shown as an escape."""
    home, root = IndexHome(tmp_path / "index"), b"/photos/" + HOSTILE
    make_index(home, 3, under=root, dim=3)
    query = tmp_path / "query.png"
    Library(tmp_path, home).add("query.png")
    with Catalog(home.catalog, write=True) as catalog:
        model = catalog.read_model()
        assert model is not None
        write_refusal(home.towers, model.fingerprint, "no tower")  # or train would load the model to export one
        failure = Failure(ImageFile(root + b"/f.jpg", 1, 1), Stage.DECODE, "bad tag \x1b[2J\x07")
        catalog.record(EmbeddedBatch((), random_batch(0, dim=3).vectors, (failure,)))
        file = ImageFile(os.fsencode(os.path.realpath(query)), query.stat().st_size, query.stat().st_mtime_ns)
        catalog.record(EmbeddedBatch((embedded_image(file, query.read_bytes()),), random_batch(1, dim=3).vectors))
        catalog.note_scan(root, "gone \x1b[2J\x07")
    if words[0] == "backup":
        (tmp_path / words[1]).mkdir()
        (tmp_path / words[1] / "x").touch()
    _, shown = Shell(tmp_path).on_terminal(*(str(query) if word == "QUERY" else word for word in words))
    assert shown
    text = shown.replace("\r\n", "")
    assert all(character.isprintable() for character in text), shown
    assert words[0] == "verify" or "\\x1b" in text
