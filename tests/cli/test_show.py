"""`imgidx show` as users and scripts run it."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from image_index.settings import IndexHome
from tests.support.library import Library
from tests.support.photos import real_photos
from tests.support.shell import Shell

pytestmark = pytest.mark.timeout(120)

SHOW_KEYS = [
    *(
        "path",
        "names",
        "file",
        "bytes",
        "modified",
        "taken",
        "date_source",
        "camera",
        "latitude",
        "longitude",
        "altitude_m",
        "format",
        "width",
        "height",
        "megapixels",
        "sha256",
    ),
    *("phash", "id", "read_at", "missing_since", "pair", "root", "failure", "model", "dim", "has_vector"),
]
NAMES = ("good.jpg", "gone.jpg", "changed.jpg", "broken.jpg")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, sample_photos: Path, starter_index: IndexHome) -> Shell:
    """Return a shell with an index of a good picture, one changed since, one gone, and a broken one."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.copy_index(starter_index)
    photos = shell.directory / "photos"
    photos.mkdir()
    for name, source in zip(NAMES, real_photos(sample_photos, 4), strict=False):
        with Image.open(source) as picture:
            exif = Image.Exif()
            exif[0x0110] = "Camera 1"
            exif.get_ifd(0x8769)[0x9003] = "2024:05:31 16:30:00"
            gps: dict[int, Any] = {1: "S", 2: (33.0, 51.0, 24.84), 3: "E", 4: (151.0, 12.0, 54.72), 5: b"\x01", 6: 3.5}
            exif.get_ifd(0x8825).update(gps)
            picture.convert("RGB").save(photos / name, exif=exif)
    (photos / "broken.jpg").write_bytes((photos / "broken.jpg").read_bytes()[:1500])
    os.utime(photos / "good.jpg", ns=(1, 1_700_000_000 * 10**9 + 5))
    assert shell.run("train", photos, "--model", "starter", "--device", "cpu", "-j", "1", "-q").code == 3
    (photos / "gone.jpg").unlink()
    (photos / "changed.jpg").write_bytes(b"other")
    return shell


def place(shell: Shell, name: str) -> str:
    """Return the path by which the index knows a picture."""
    return os.path.realpath(shell.directory / "photos" / name)


def test_all_facts_of_a_picture_are_true(trained: Shell) -> None:
    """Each compared with the file itself; the keys are pinned."""
    path = place(trained, "good.jpg")
    done = trained.run("show", "--json", path)
    (shown,) = done.records
    assert (done.code, done.err, list(shown)) == (0, "", SHOW_KEYS)
    content = Path(path).read_bytes()
    with Image.open(path) as picture:
        width, height = picture.size
    assert (shown["path"], shown["file"], shown["bytes"]) == (path, "unchanged", len(content))
    assert (shown["modified"], shown["camera"]) == ("2023-11-14T22:13:20Z", "Camera 1")
    taken = datetime(2024, 5, 31, 16, 30).astimezone(UTC)  # EXIF tells local time
    assert datetime.fromisoformat(shown["taken"]) == taken
    assert (shown["latitude"], shown["longitude"], shown["altitude_m"]) == (-33.8569, 151.2152, -3.5)
    assert "position       -33.8569, 151.2152, -3.5 m\n" in trained.run("show", path).out.decode()
    assert (shown["format"], shown["width"], shown["height"]) == ("jpeg", width, height)
    assert shown["megapixels"] == pytest.approx(width * height / 1e6, abs=0.005)
    assert shown["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(bytes.fromhex(shown["phash"])) == 8
    assert 0 <= (datetime.now(UTC) - datetime.fromisoformat(shown["read_at"])).total_seconds() < 3600
    assert (shown["missing_since"], shown["failure"]) == (None, None)
    assert (shown["root"], shown["model"], shown["dim"]) == (os.path.dirname(path), "starter", 512)
    assert shown["has_vector"] is True


@pytest.mark.parametrize(
    ("name", "state"), [("good.jpg", "unchanged"), ("gone.jpg", "gone"), ("changed.jpg", "changed")]
)
def test_what_has_become_of_the_file_is_said(trained: Shell, name: str, state: str) -> None:
    """By its size and time, as training goes by them."""
    (shown,) = trained.run("show", "--json", place(trained, name)).records
    assert shown["file"] == state
    assert shown["width"] > 0


def test_a_failure_is_told_with_its_reason(trained: Shell) -> None:
    """There is no picture to tell of; what is not known is null."""
    (shown,) = trained.run("show", "--json", place(trained, "broken.jpg")).records
    assert list(shown) == SHOW_KEYS
    failure = shown["failure"]
    assert list(failure) == ["stage", "reason", "attempts", "first_failed_at", "last_failed_at"]
    assert (failure["stage"], failure["attempts"]) == ("decode", 1)
    assert (shown["file"], shown["bytes"]) == ("unchanged", 1500)
    assert all(
        shown[key] is None for key in ("width", "latitude", "sha256", "id", "read_at", "model", "dim", "has_vector")
    )
    text = trained.run("show", place(trained, "broken.jpg")).out.decode()
    assert f"{failure['reason']} (decode, since " in text
    assert "None" not in text


def test_text_tells_the_same_line_by_line(trained: Shell) -> None:
    """Several pictures are a blank line apart; relative paths are understood."""
    done = trained.run("show", "photos/good.jpg", place(trained, "gone.jpg"))
    assert (done.code, done.err) == (0, "")
    good, gone = done.out.decode().split("\n\n")
    lines = dict(line.split(None, 1) for line in good.splitlines())
    assert lines["path"] == place(trained, "good.jpg")
    assert lines["file"] == "there, unchanged since it was read"
    assert lines["model"] == "starter, 512 dimensions"
    assert lines["pixels"].endswith(" megapixels")
    assert "missing" not in lines
    assert "file           gone\n" in gone


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("photos/none.jpg", "no such file, and the index does not know it; imgidx status"),
        ("photos", "a directory; imgidx show takes pictures"),
        ("config.toml", "the index does not know it; to index it: imgidx train config.toml"),
    ],
)
def test_an_unknown_path_is_exit_1_beside_the_known(trained: Shell, path: str, step: str) -> None:
    """One line with the next step; the others are shown all the same."""
    done = trained.run("show", "--json", path, place(trained, "good.jpg"))
    assert (done.code, len(done.records)) == (1, 1)
    assert done.complaint.startswith(f"imgidx: {path}: {step}")


def test_a_missing_picture_tells_since_when(tmp_path: Path) -> None:
    """Once a training has noticed; its name may be any bytes."""
    shell = Shell(tmp_path)
    library = Library(tmp_path / "photos", IndexHome(shell.index))
    name = library.photos / os.fsdecode(b"a\n\xff.png")
    library.add(name.name, "kept.png")
    library.train()
    name.unlink()
    library.train()
    (shown,) = shell.run("show", "--json", name).records
    assert "path_bytes" in shown
    assert shown["file"] == "gone"
    assert 0 <= (datetime.now(UTC) - datetime.fromisoformat(shown["missing_since"])).total_seconds() < 600
    text = shell.run("show", name).out.decode()
    assert "a\\n\\xff.png\n" in text
    assert "missing since  20" in text


def test_no_index_is_exit_4(tmp_path: Path) -> None:
    """As for every command."""
    assert Shell(tmp_path).run("show", "x.jpg").code == 4
