"""The contact sheet: safe and obedient in a real browser; on the disk whole or not at all."""

from __future__ import annotations

import os
import re
import resource
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image
from playwright.sync_api import Page

from image_index.errors import StorageError, UsageError
from image_index.present import sheet
from image_index.present.sheet import Item, Section, write_hits, write_sheet
from image_index.records import Hit
from tests.support.browser import LEAST_CONTRAST, SCHEMES, Watched
from tests.support.photos import real_photos
from tests.support.records import hit, image_facts

pytestmark = pytest.mark.timeout(180)

HOSTILE = b'/photos/"><img src=x onerror=window.hacked=1><b>\n\xff' + "\u200f\u05d0".encode() + b".jpg"
SCRIPT = b'/photos/"><script>window.hacked=1</script>/x.jpg'

FOCUS = "[...document.querySelectorAll('main a')].indexOf(document.activeElement)"
COLUMNS = "(l => l.filter(i => i.offsetTop === l[0].offsetTop).length)([...document.querySelectorAll('li')])"
DECODED = """Promise.all([...document.images].map(i => i.decode())).then(
    () => [...document.images].filter(i => i.naturalWidth > 0).length)"""


def items(count: int, first: int = 1) -> list[Item]:
    """Return pictures of many shapes and colours."""
    made = []
    for number in range(first, first + count):
        data = BytesIO()
        Image.new("RGB", (40 + number % 7 * 30, 40 + number % 5 * 40), (number % 256, 90, 200)).save(data, "WEBP")
        facts = image_facts(b"/photos/a directory/%d.jpg" % number, number)
        made.append(Item(facts, str(number), "score 0.300", data.getvalue()))
    return made


def write(path: Path, *sections: Section, title: str = "a cat") -> str:
    """Write a page and return its address."""
    path.write_text("".join(sheet.page(title, "some pictures", sections)), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("count", [10, 1000])
def test_a_page_shows_every_picture_and_asks_for_nothing(
    page: Page, watched_page: Watched, tmp_path: Path, count: int
) -> None:
    """No request but the page itself and what lies in it, no complaint, all pictures decoded, nothing cut off."""
    page.goto(write(tmp_path / "sheet.html", Section("", items(count))))
    assert page.evaluate(DECODED) == count
    assert [request for request in watched_page.requests if not request.startswith("data:")] == [page.url]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.querySelector('h1').textContent") == "a cat"


def test_the_policy_forbids_what_is_not_ours(watched_page: Watched, tmp_path: Path) -> None:
    """A script, a style or a picture from elsewhere that got into the page would do nothing."""
    path = tmp_path / "sheet.html"
    address = write(path, Section("", items(1)))
    foreign = "<script>window.hacked=1</script><img src='http://localhost:1/x.png'></main>"
    path.write_text(path.read_text(encoding="utf-8").replace("</main>", foreign), encoding="utf-8")
    watched_page.page.goto(address)
    assert watched_page.page.evaluate("window.hacked") is None
    assert len(watched_page.complaints) == 2


def test_keys_move_the_focus(page: Page, tmp_path: Path) -> None:
    """Left and right by one, up and down by a row, to both ends, and never beyond."""
    page.goto(write(tmp_path / "sheet.html", Section("", items(43))))
    columns = page.evaluate(COLUMNS)
    assert columns > 2
    expected = {
        "ArrowRight": [0, 1, 2],
        "ArrowDown": [2 + columns, 2 + 2 * columns],
        "ArrowLeft": [1 + 2 * columns],
        "ArrowUp": [1 + columns, 1, 1],
        "End": [42],
    }
    for key, places in expected.items():
        for place in places:
            page.keyboard.press(key)
            assert page.evaluate(FOCUS) == place, key
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUS) == 42
    assert page.evaluate("document.getElementById('place').value") == "43 of 43"
    assert page.evaluate("(b => b.top >= 0 && b.bottom <= innerHeight)(document.activeElement.getBoundingClientRect())")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(FOCUS) == 0
    header = "document.querySelector('header').getBoundingClientRect().bottom"
    assert page.evaluate(f"document.activeElement.getBoundingClientRect().top >= {header}")


def test_rows_of_neighbouring_groups_are_neighbours(page: Page, tmp_path: Path) -> None:
    """Down from a short row leads to the picture below; up from beyond its end, to its last."""
    page.goto(write(tmp_path / "sheet.html", Section("one", items(3)), Section("two", items(5, 4))))
    assert page.evaluate(COLUMNS) == 3
    assert page.evaluate("[...document.querySelectorAll('h2')].map(h => h.textContent)") == ["one", "two"]
    for key, place in [("End", 7), ("ArrowUp", 2), ("ArrowUp", 2), ("ArrowDown", 5), ("Home", 0), ("ArrowDown", 3)]:
        page.keyboard.press(key)
        assert page.evaluate(FOCUS) == place, key


def test_one_picture_is_reached_by_tab(page: Page, tmp_path: Path) -> None:
    """A thousand pictures are one stop of the Tab key: the one that was chosen last."""
    page.goto(write(tmp_path / "sheet.html", Section("", items(20))))
    page.keyboard.press("End")
    assert page.evaluate("[...document.querySelectorAll('main a')].map(a => a.tabIndex)") == [-1] * 19 + [0]


def test_help_is_shown_and_hidden(page: Page, tmp_path: Path) -> None:
    """`?` shows the keys, Escape hides them, and meanwhile arrows move nothing."""
    page.goto(write(tmp_path / "sheet.html", Section("", items(5))))
    shown = "document.getElementById('help').open && document.getElementById('help').offsetHeight > 0"
    assert not page.evaluate(shown)
    page.keyboard.press("?")
    assert page.evaluate(shown)
    page.keyboard.press("End")
    assert page.evaluate(FOCUS) == -1
    page.keyboard.press("Escape")
    assert not page.evaluate(shown)
    page.evaluate("document.getElementById('keys').click()")
    assert page.evaluate(shown)


def test_pictures_grow_and_shrink(page: Page, tmp_path: Path) -> None:
    """`-` puts more into a row, `+` fewer."""
    page.goto(write(tmp_path / "sheet.html", Section("", items(40))))
    before = page.evaluate(COLUMNS)
    page.keyboard.press("-")
    assert page.evaluate(COLUMNS) > before
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert page.evaluate(COLUMNS) < before


def test_dark_and_light_are_told_apart_and_both_are_readable(page: Page, tmp_path: Path) -> None:
    """By the user's preference; every text has a contrast of 4.5 at least, as WCAG 2 asks."""
    broken = Item(image_facts(), "11", "score 0.100", None, "the file is gone")
    page.goto(write(tmp_path / "sheet.html", Section("a heading", [*items(10), broken])))
    grounds = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate(LEAST_CONTRAST) >= 4.5
    assert grounds[0] != grounds[1]


def test_a_narrow_window_has_two_columns_and_no_scrolling_sideways(page: Page, tmp_path: Path) -> None:
    """A telephone shows two pictures side by side, whatever their names."""
    long = Item(image_facts(b"/photos/" + b"a" * 200 + b".jpg"), "7", "score", items(1)[0].thumbnail)
    page.goto(write(tmp_path / "sheet.html", Section("", [*items(6), long])))
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate(COLUMNS) == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_hostile_names_run_nothing_and_are_shown_escaped(page: Page, tmp_path: Path) -> None:
    """Names, headings, captions and problems are text; what cannot be printed is written out."""
    thumbnail = items(1)[0].thumbnail
    text = '"><script>window.hacked=1</script>'
    hostile = [
        Item(image_facts(HOSTILE), text, text, thumbnail),
        Item(image_facts(SCRIPT, 2), "2", "", None, text),
    ]
    page.goto(write(tmp_path / "sheet.html", Section(text, hostile), title=text))
    assert page.evaluate(DECODED) == 1
    assert page.evaluate("window.hacked") is None
    shown = '"><img src=x onerror=window.hacked=1><b>\\n\\xff\\xe2\\x80\\x8f\u05d0.jpg'
    assert page.evaluate("document.querySelector('.name bdi').textContent") == shown
    assert page.evaluate("document.querySelector('main img').alt") == shown
    assert page.evaluate("document.querySelectorAll('main a')[1].title") == SCRIPT.decode()
    for part in (
        "document.title",
        "document.querySelector('h2').textContent",
        "document.querySelector('b').textContent",
    ):
        assert page.evaluate(part) == text


def test_a_picture_links_to_its_file_byte_for_byte(page: Page, tmp_path: Path) -> None:
    """The browser reads from the link the very bytes of the path."""
    page.goto(write(tmp_path / "sheet.html", Section("", [Item(image_facts(HOSTILE), "1", "", None, "gone")])))
    link = page.evaluate("document.querySelector('main a').href")
    assert unquote_to_bytes(link.removeprefix("file://")) == HOSTILE


def test_a_page_without_pictures_is_whole(page: Page, tmp_path: Path) -> None:
    """Keys do nothing there, without a complaint."""
    page.goto(write(tmp_path / "sheet.html", Section("", [])))
    for key in ("ArrowDown", "End", "?", "Escape"):
        page.keyboard.press(key)


# On the disk


@pytest.fixture
def hits(sample_photos: Path) -> list[Hit]:
    """Return hits on ten real photos and on one that is gone."""
    found = []
    for rank, path in enumerate(real_photos(sample_photos, 10), start=1):
        with Image.open(path) as image:
            facts = image_facts(os.fsencode(path), rank, width=image.width, height=image.height)
        found.append(replace(hit(rank, 0.5 - rank / 100, b""), image=facts))
    return [*found, hit(11, 0.1, b"/nowhere/gone.jpg", 11)]


def test_real_photos_are_seen_in_a_browser(page: Page, hits: list[Hit], tmp_path: Path) -> None:
    """Each is there, in order, with what a person wants to know of it; the one that is gone has its place."""
    path = tmp_path / "sheet.html"
    write_hits(path, "a yellow flower", [("a yellow flower", hits)])
    page.goto(path.as_uri())
    decoded = "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
    widths = page.evaluate(decoded)
    assert len(widths) == 10
    assert all(0 < width <= 256 for width in widths)
    assert page.evaluate("document.querySelector('.none').textContent") == "the file is gone"
    assert page.evaluate("document.querySelector('header p').textContent") == "11 pictures"
    assert page.evaluate("document.querySelectorAll('h2').length") == 0
    captions = page.evaluate("[...document.querySelectorAll('figcaption')].map(c => c.innerText.split('\\n'))")
    first = hits[0].image
    assert captions[0][0].split() == ["1", first.file.name]
    assert captions[0][1:3] == [first.file.parent.name, "score 0.490 \u00b7 4.9 sigma"]
    assert captions[0][3].endswith(f"{first.picture.width}\u00d7{first.picture.height}")
    assert [caption[0].split()[0] for caption in captions] == [str(rank) for rank in range(1, 12)]


def test_a_heading_has_an_end() -> None:
    """A query of many pages is not written over its hits; what a heading says is escaped as anything else."""
    text = "".join(sheet.page("<a> " * 10_000, "some pictures", [Section("<b> " * 10_000, [])]))
    assert len(text) < 50_000
    assert "&lt;a&gt;" in text
    assert "&lt;b&gt;" in text
    assert not re.search("<[ab]> ", text)


def test_several_searches_have_a_heading_each(hits: list[Hit], tmp_path: Path) -> None:
    """One page for all."""
    write_hits(tmp_path / "sheet.html", "two", [("a <cat>", hits[:1]), ("a dog", [])])
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
            write_hits(path, "a", [("a", hits)])
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
        write_sheet(path, "a", "", groups())  # type: ignore[arg-type]
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
            write_hits(path, "a", [])


def test_a_link_is_followed(hits: list[Hit], tmp_path: Path) -> None:
    """The file it leads to is written, and the link stays one."""
    (tmp_path / "real").mkdir()
    (tmp_path / "sheet.html").symlink_to(tmp_path / "real" / "a.html")
    write_hits(tmp_path / "sheet.html", "a", [("", hits[:1])])
    assert (tmp_path / "sheet.html").is_symlink()
    assert "data:image/webp" in (tmp_path / "real" / "a.html").read_text(encoding="utf-8")
