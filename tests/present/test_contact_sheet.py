"""A contact sheet on the disk: of real photos, whole or not at all."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from image_index.errors import StorageError, UsageError
from image_index.present.contact_sheet import write_groups, write_sheet
from image_index.records import Hit
from tests.support.browser import browser
from tests.support.photos import real_photos
from tests.support.records import hit, image_facts

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def hits(sample_photos: Path) -> list[Hit]:
    """Return hits on ten real photos and on one that is gone."""
    found = []
    for rank, path in enumerate(real_photos(sample_photos, 10), start=1):
        with Image.open(path) as image:
            facts = image_facts(os.fsencode(path), rank, width=image.width, height=image.height)
        found.append(replace(hit(rank, 0.5 - rank / 100, b""), image=facts))
    return [*found, hit(11, 0.1, b"/nowhere/gone.jpg", 11)]


def test_real_photos_are_seen_in_a_browser(hits: list[Hit], tmp_path: Path) -> None:
    """Each is there, in order, with what a person wants to know of it; the one that is gone has its place."""
    path = tmp_path / "sheet.html"
    write_sheet(path, "a yellow flower", [("a yellow flower", hits)])
    with browser(tmp_path / "profile") as page:
        page.open(path)
        decoded = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
        widths = page.run(decoded)
        assert len(widths) == 10
        assert all(0 < width <= 256 for width in widths)
        assert page.run("document.querySelector('.none').textContent") == "the file is gone"
        assert page.run("document.querySelector('header p').textContent") == "11 pictures"
        assert page.run("document.querySelectorAll('h2').length") == 0
        captions = page.run("[...document.querySelectorAll('figcaption')].map(c => c.innerText.split('\\n'))")
    first = hits[0].image
    assert captions[0][0].split() == ["1", first.file.name]
    assert captions[0][1:3] == [first.file.parent.name, "score 0.490 \u00b7 4.9 sigma"]
    assert captions[0][3].endswith(f"{first.picture.width}\u00d7{first.picture.height}")
    assert [caption[0].split()[0] for caption in captions] == [str(rank) for rank in range(1, 12)]


def test_several_searches_have_a_heading_each(hits: list[Hit], tmp_path: Path) -> None:
    """One page for all."""
    write_sheet(tmp_path / "sheet.html", "two", [("a <cat>", hits[:1]), ("a dog", [])])
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert '<h2 dir="auto">a &lt;cat&gt;</h2>' in text
    assert '<h2 dir="auto">a dog</h2>' in text
    assert "<p>1 picture</p>" in text


def test_a_page_that_cannot_be_written_leaves_the_old_one(hits: list[Hit], tmp_path: Path) -> None:
    """A disk that is full in the middle is told, and nothing lies about."""
    path = tmp_path / "sheet.html"
    path.write_text("the old page")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*sheet\.html: File too large"):
            write_sheet(path, "a", [("a", hits)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "the old page"
    assert os.listdir(tmp_path) == ["sheet.html"]


def test_an_interrupted_page_leaves_the_old_one(hits: list[Hit], tmp_path: Path) -> None:
    """Whatever ends it, what was there before is there."""
    path = tmp_path / "sheet.html"
    path.write_text("the old page")

    class Ended(Exception):
        """What comes in between."""

    def groups() -> object:
        yield "one", [(hits[0].image, "1", "")]
        raise Ended

    with pytest.raises(Ended):
        write_groups(path, "a", "", groups())  # type: ignore[arg-type]
    assert path.read_text() == "the old page"
    assert os.listdir(tmp_path) == ["sheet.html"]


def test_a_place_where_no_page_can_be_is_wrong_use(tmp_path: Path) -> None:
    """A directory that is not there, a directory itself, a device; no thumbnail is made first."""
    for path, reason in {
        tmp_path / "nowhere" / "a.html": "there is no directory",
        tmp_path: "not a regular file",
        Path("/dev/null"): "not a regular file",
    }.items():
        with pytest.raises(UsageError, match=reason):
            write_sheet(path, "a", [])


def test_a_link_is_followed(hits: list[Hit], tmp_path: Path) -> None:
    """The file it leads to is written, and the link stays one."""
    (tmp_path / "real").mkdir()
    (tmp_path / "sheet.html").symlink_to(tmp_path / "real" / "a.html")
    write_sheet(tmp_path / "sheet.html", "a", [("", hits[:1])])
    assert (tmp_path / "sheet.html").is_symlink()
    assert "data:image/webp" in (tmp_path / "real" / "a.html").read_text(encoding="utf-8")
