"""The views of the page beside the search, in a browser: what they show, say and do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from image_index.catalog.catalog import Catalog
from image_index.catalog.lock import exclusive_lock
from image_index.catalog.runs import Run, Runs
from image_index.records import MachineShare, Priority, Progress, RunKind, StageSeconds, Summary
from image_index.settings import IndexHome
from tests.support.browser import LEAST_CONTRAST, SCHEMES, Watched
from tests.support.served import listening, make_served

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

HOSTILE = '"><img src=x onerror=window.hacked=1>\u202e'
SHOWN = '"><img src=x onerror=window.hacked=1>\\xe2\\x80\\xae'
VIEWS = ("duplicates", "failures", "sessions", "status")
NAMELESS = """[...document.querySelectorAll("a, button, summary, input, select, textarea")]
  .filter(e => !(e.ariaLabel || e.labels?.[0]?.textContent || e.textContent || e.title).trim())
  .map(e => e.outerHTML)"""

COVERED = """[...document.querySelectorAll("header input, header button, header a, nav a")].filter(e => {
  const { left, right, top, bottom } = e.getBoundingClientRect();
  const there = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  return e.checkVisibility() && !e.contains(there) && !there?.closest("label")?.contains(e);
}).map(e => e.outerHTML)"""

PRESSED = """[...document.querySelectorAll("main :is(a, button, summary, input, select, textarea)")]
  .filter(e => e.checkVisibility())"""
"""A script: what can be pressed or filled in of a view."""


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a server of an index with duplicates and a failure."""
    home = make_served(tmp_path_factory.mktemp("copies"), {"red": [HOSTILE, "red again"], "blue": ["blue again"]})
    with listening(home) as found:
        yield found


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a server of an index that nothing was trained into."""
    home = IndexHome(tmp_path_factory.mktemp("empty"))
    with Catalog(home.catalog, write=True), listening(home) as found:
        yield found


def enter(page: Page, address: str, view: str) -> None:
    """Open a view as one who has the cookie, and wait until it shows an answer."""
    page.request.get(address)
    parts = urlsplit(address)
    page.goto(f"{parts.scheme}://{parts.netloc}/{view}")
    page.wait_for_selector("main h1")
    expect(page.locator(".moment")).to_have_count(0)


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_can_be_read_wide_and_narrow_light_and_dark(page: Page, copies: str, view: str) -> None:
    """One heading, names for all that can be pressed, WCAG 2 contrast, no scrolling sideways, nothing covered."""
    enter(page, copies, view)
    assert page.locator("h1").count() == 1
    assert page.evaluate(NAMELESS) == []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(LEAST_CONTRAST) >= 4.5
    for width in (1200, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(COVERED) == []
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("view", [*VIEWS, "sessions?start"])
def test_whatever_can_be_pressed_is_reached_by_tab(page: Page, copies: str, view: str) -> None:
    """In the order in which it is seen, and the place where one is has a frame."""
    enter(page, copies, view)
    count = page.evaluate(f"{PRESSED}.length")
    assert count
    page.focus("main")
    for place in range(count):
        page.keyboard.press("Tab")
        assert page.evaluate(f"{PRESSED}.indexOf(document.activeElement)") == place
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("duplicates", "No duplicates"),
        ("failures", "No failures"),
        ("sessions", "No sessions yet"),
        ("status", "There was none yet."),
    ],
)
def test_an_index_without_pictures_has_all_views(page: Page, empty: str, view: str, said: str) -> None:
    """Each says that there is nothing, and why that may be so."""
    enter(page, empty, view)
    expect(page.get_by_text(said)).to_be_visible()


@pytest.mark.parametrize("view", VIEWS)
def test_a_problem_is_a_sentence_and_can_be_tried_again(watched_page: Watched, copies: str, view: str) -> None:
    """The sentence is that of the server; as soon as it can answer, the view is there."""
    page, problem = watched_page.page, '{"detail": "the disk <b>is</b> gone"}'

    def refuse(route: Route) -> None:
        route.fulfill(status=503, content_type="application/problem+json", body=problem)

    page.route("**/api/v1/**", refuse)
    enter(page, copies, view)
    expect(page.get_by_text("the disk <b>is</b> gone").first).to_be_visible()
    page.unroute("**/api/v1/**", refuse)
    for button in reversed(page.get_by_role("button", name="Try again").all()):
        button.click()
    expect(page.get_by_text("the disk <b>is</b> gone")).to_have_count(0)
    assert all("503" in complaint for complaint in watched_page.complaints)


# Status


def test_status_says_what_the_index_holds(page: Page, copies: str) -> None:
    """Its pictures, directories and model; the number of failures leads to them."""
    enter(page, copies, "status")
    tiles = page.locator(".tile")
    assert [tile.split("\n")[:2] for tile in tiles.all_inner_texts()][:3] == [
        ["Pictures", "7"],
        ["Files that are gone", "0"],
        ["Failures", "1"],
    ]
    expect(page.get_by_role("cell", name="photos")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="in use")).to_contain_text("starter")
    tiles.get_by_role("link", name="1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Failures")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Status")


# Failures


def test_failures_are_told_by_stage_with_their_reasons(page: Page, copies: str) -> None:
    """With the place of the file, and since when."""
    enter(page, copies, "failures")
    expect(page.get_by_role("heading", level=2)).to_have_text("Broken, or no picture 1")
    row = page.locator("main li")
    expect(row).to_contain_text("broken.png")
    expect(row).to_contain_text("it is broken")
    expect(row).to_contain_text(re.compile(r"since \d{4}-\d\d-\d\d \d\d:\d\d"))


# Duplicates


def test_duplicates_stand_side_by_side_and_what_differs_is_named(page: Page, copies: str) -> None:
    """The largest group first, in it the best copy; a name shows what it is made of and does nothing."""
    enter(page, copies, "duplicates")
    groups = page.get_by_role("article")
    assert [group.locator("figure").count() for group in groups.all()] == [3, 2]
    verdicts = groups.first.locator(".verdict > span").all_inner_texts()
    assert verdicts == ["best copy", "same content", "same content"]
    names = groups.first.locator("dt:text-is('Name') + dd bdi").all_inner_texts()
    assert sorted(names) == sorted([f"{SHOWN}.png", "red again.png", "red.png"])
    # the pictures have been drawn, and those of one colour differ by their names alone
    page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert groups.nth(1).locator("figure").nth(1).locator("dd:has(em)").count() == 1


def test_a_file_that_has_changed_is_told_so(watched_page: Watched, tmp_path: Path) -> None:
    """In the place of its picture; the rest of its group is there."""
    with listening(make_served(tmp_path, {"red": ["red again"]})) as address:
        (tmp_path / "photos/red again.png").write_bytes(b"another")
        enter(watched_page.page, address, "duplicates")
        expect(watched_page.page.locator("figure")).to_have_count(2)
        expect(watched_page.page.get_by_text("The file is gone, or has changed.")).to_be_visible()
    assert all("410" in complaint for complaint in watched_page.complaints)


def test_what_is_chosen_stands_in_the_address(page: Page, copies: str) -> None:
    """So a bookmark, a reload and the back button show the same."""
    enter(page, copies, "duplicates")
    page.get_by_label("Same content only").check()
    expect(page).to_have_url(re.compile(r"/duplicates\?exact=true$"))
    page.reload()
    expect(page.get_by_label("Same content only")).to_be_checked()
    page.go_back()
    expect(page.get_by_label("Same content only")).not_to_be_checked()


def test_pictures_that_are_both_wanted_are_duplicates_no_more(page: Page, copies: str) -> None:
    """The mark is taken back by the same button, at once or when those that are kept are shown."""
    enter(page, copies, "duplicates")
    pairs = page.get_by_role("article").filter(has_text="blue")
    pairs.get_by_role("button", name="Keep both").click()
    expect(pairs.get_by_role("button")).to_have_text("Kept · take back")
    page.reload()
    expect(page.get_by_role("article")).to_have_count(1)
    page.get_by_label("Also those kept").check()
    pairs.get_by_role("button", name="take back").click()
    expect(pairs.get_by_role("button")).to_have_text("Keep both")
    page.get_by_label("Also those kept").uncheck()
    expect(page.get_by_role("article")).to_have_count(2)


def test_lists_of_duplicates_have_the_very_bytes_of_paths(page: Page, copies: str, tmp_path: Path) -> None:
    """As `imgidx dupes` prints them; a group ends with a blank line, and the best copies can be left out."""
    enter(page, copies, "duplicates")
    saved = {}
    button = page.get_by_text("Save a list")
    button.press("Enter")
    expect(page.get_by_role("button", name="Everything")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Everything")).to_have_count(0)
    expect(button).to_be_focused()
    for name in ("All paths, a blank", "All paths but", "Everything"):
        button.click()
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        saved[name] = Path(download.value.path()).read_bytes().decode().split("\n")
    every, copied, objects = saved.values()
    assert [len(Path(path).name) > 0 for path in every] == [True, True, True, False, True, True, False, False]
    assert sum(path.endswith(f"/photos/{HOSTILE}.png") for path in every) == 1
    assert copied == [*every[1:3], every[5], ""]
    assert [line.count('"path"') for line in objects] == [3, 2, 0]


# Sessions


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index that is trained."""
    return make_served(tmp_path)


@pytest.fixture
def trained(home: IndexHome) -> Iterator[str]:
    """Give the address of its server, which runs no session: the tests do, as the process of one would."""
    with listening(home) as found:
        yield found


@contextmanager
def running(home: IndexHome, session: int | None) -> Iterator[Run]:
    """Run a session that waits, or with None one that nobody asked the server for."""
    lock = home.lock if session is None else home.session_lock
    with (
        exclusive_lock(lock),
        Catalog(home.catalog, write=True) as catalog,
        Runs(catalog).recorded(session=session) as run,
    ):
        run.begin()
        yield run


def note(run: Run, progress: Progress) -> None:
    """Write down how far a session is."""
    with run.database.transaction() as connection:
        run.noting(progress)(connection)


def test_a_session_is_begun_by_the_form(trained: str, watched_page: Watched, tmp_path: Path) -> None:
    """What the server refuses is told beside the form, which stays as it was filled in."""
    page = watched_page.page
    enter(page, trained, "sessions")
    page.get_by_role("link", name="Start a session").click()
    directory = page.get_by_label("Directory")
    expect(directory).to_be_focused()
    assert page.locator("datalist option").get_attribute("value") == str(tmp_path / "photos")
    directory.fill("/")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("/ is in no root of the index")
    expect(directory).to_have_value("/")
    directory.fill(str(tmp_path / "photos"))
    page.get_by_label("Priority").select_option("high")
    page.get_by_label("Leave out").fill("*.tmp\n<b>\n")
    page.get_by_label("Time limit").fill("2h")
    page.get_by_label("Try what failed").check()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Session 1")
    expect(page.get_by_role("status").first).to_have_text("queued")
    told = page.locator("dl.facts").inner_text().split("\n")
    for name, text in {
        "Trains": str(tmp_path / "photos"),
        "Priority": "high",
        "Leaves out": "*.tmp, <b>",
        "Tries failures again": "yes",
        "Time limit": "2h",
    }.items():
        assert told[told.index(name) + 1] == text
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status").first).to_have_text("stopped")
    page.get_by_role("link", name="Start again").click()
    expect(page.get_by_label("Leave out")).to_have_value("*.tmp\n<b>")
    expect(page.get_by_label("Priority")).to_have_value("high")
    assert [complaint for complaint in watched_page.complaints if "403" not in complaint] == []


def test_a_session_is_watched_as_it_runs(home: IndexHome, trained: str, page: Page) -> None:
    """Nothing is loaded again: how far it is comes by itself, its end too, and then the seconds of each stage."""
    with Catalog(home.catalog, write=True) as catalog:
        Runs(catalog).ask(RunKind.EMBEDDED, Priority.NORMAL, "{}")
    enter(page, trained, "sessions")
    row = page.get_by_role("listitem")
    expect(row).to_contain_text("queued")
    with running(home, 1) as run:
        page.reload()
        expect(row).to_contain_text("Looking through directories")
        note(run, Progress("embed", 1200, 5000, 2, 40.0, StageSeconds(scan=0.5)))
        bar = row.get_by_role("progressbar")
        speed = "40.0 pictures/s \u00b7 1\u00a0min 35\u00a0s left"
        told = f"Embedding \u00b7 1,200 of 5,000 pictures \u00b7 {speed} \u00b7 2 failures"
        expect(bar).to_have_attribute("aria-valuetext", told)
        assert bar.evaluate("bar => bar.position") == pytest.approx(0.24)
        row.get_by_role("button", name="Stop").click()
        expect(row).to_contain_text("stopping")
        machines = (MachineShare("<b>gpu1", 4000, 30.0), MachineShare("gpu2", 998, 8.4))
        spent = StageSeconds(decode=60)
        run.summary = Summary(planned=5000, embedded=4998, failed=2, seconds=130, stages=spent, machines=machines)
    expect(row).to_contain_text("incomplete")
    expect(row).to_contain_text("4,998 embedded, 2 failed")
    row.get_by_role("link").click()
    expect(page.locator("dl.facts")).to_contain_text("38.4 pictures/s")
    expect(page.locator("dl.bars dd >> nth=0")).to_contain_text("4,000 pictures, 30.0 pictures/s")
    expect(page.locator("dl.bars >> nth=1")).to_contain_text("decoding pictures 1\u00a0min", use_inner_text=True)


def test_a_run_from_cron_is_in_the_list(home: IndexHome, trained: str, page: Page) -> None:
    """It can be watched and stopped as well."""
    with running(home, None) as run:
        note(run, Progress("load"))
        enter(page, trained, "sessions")
        row = page.get_by_role("listitem")
        expect(row).to_contain_text("started from a shell or by cron")
        expect(row).to_contain_text("Loading the model")
        expect(row.get_by_role("button", name="Stop")).to_be_enabled()
    expect(row).to_contain_text("done")


def test_failures_are_tried_again_by_a_session(home: IndexHome, trained: str, page: Page) -> None:
    """The button leads to it."""
    enter(page, trained, "failures")
    page.get_by_role("button", name="Try all again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Session 1")
    expect(page.locator("dl.facts")).to_contain_text("Tries failures again")


def test_a_session_that_there_is_not_is_told_so(trained: str, watched_page: Watched) -> None:
    """An address may be old, or typed."""
    enter(watched_page.page, trained, "sessions?id=99")
    expect(watched_page.page.get_by_role("alert")).to_contain_text("no session 99")
