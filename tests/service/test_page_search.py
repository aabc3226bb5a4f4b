"""The search of the page, in a browser: what is asked for, what is shown, and what keys and hands can do."""

from __future__ import annotations

import json
import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

from image_index.settings import IndexHome
from tests.support.browser import LEAST_CONTRAST, SCHEMES, Watched
from tests.support.served import listening, make_served

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("red_texts")]

HOSTILE = "<img src=x onerror=window.hacked=1>\u202e\n" + "long" * 40
SHOWN = "<img src=x onerror=window.hacked=1>\\xe2\\x80\\xae\\n" + "long" * 40
MANY = 650
PLACES = """[...document.querySelectorAll(".hit")]
  .map(hit => [hit.dataset.at, hit.style.left, hit.style.top, hit.style.width, hit.style.height].join())"""
SEARCH = "**/api/v1/search"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> IndexHome:
    """Return an index with many pictures, one of them with a hostile name."""
    return make_served(tmp_path_factory.mktemp("many"), {"red": [HOSTILE, *map(str, range(MANY))]})


@pytest.fixture(scope="module")
def at(many: IndexHome) -> Iterator[str]:
    """Give the address of its server."""
    with listening(many) as found:
        yield found


def enter(page: Page, address: str, query: str = "") -> None:
    """Open the search as one who has the cookie."""
    page.request.get(address)
    parts = urlsplit(address)
    page.goto(f"{parts.scheme}://{parts.netloc}/{query}")


def hit(page: Page, place: int) -> Any:
    """Return the tile of a hit."""
    return page.locator(f".hit[data-at='{place}']")


def asked(page: Page, act: Callable[[], object]) -> dict[str, Any]:
    """Do something; return what the search asks for that it leads to, without what it leaves as it is."""

    def is_first_page(request: Request) -> bool:
        return request.url.endswith("/search") and "cursor" not in (request.post_data or "")

    with page.expect_request(is_first_page) as request:
        act()
    sent: dict[str, Any] = json.loads(request.value.post_data or "")
    return {key: value for key, value in sent.items() if value != [] and key != "limit"}


def test_words_find_pictures_best_first(watched_page: Watched, at: str) -> None:
    """The address says what was searched for; nothing is fetched from elsewhere, and nothing is complained of."""
    page = watched_page.page
    enter(page, at)
    expect(page.get_by_role("heading", name="pictures, found by what they show")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("a red wall")
    page.keyboard.press("Enter")
    expect(hit(page, 0)).to_have_attribute("aria-label", re.compile(r"^red\.png, number 1, -?\d\.\d sigma, 2"))
    expect(page).to_have_url(re.compile(r"/\?text=a\+red\+wall$"))
    expect(hit(page, 0).locator("img")).to_have_count(1)
    page.go_back()
    expect(page.get_by_role("heading", name="pictures, found by what they show")).to_be_visible()
    assert watched_page.outside == set()
    assert watched_page.complaints == []


def test_the_address_is_the_whole_search(page: Page, at: str) -> None:
    """Terms with weights, filters and the cut-off: from the address to the request and to the chips."""
    query = "?text=a+cat&text=-0.5:snow&text=1:16:9&image=2:1&image=-0.3:3&type=png&type=jpeg&newer=2001&min_sigma=-2"
    assert asked(page, lambda: enter(page, at, query)) == {
        "text": "a cat",
        "add": ["16:9"],
        "minus": ["0.5:snow"],
        "image_id": ["2:1"],
        "minus_id": ["0.3:3"],
        "type": ["png", "jpeg"],
        "newer": "2001",
        "min_sigma": -2,
    }
    expect(page.locator(".term .word")).to_have_text(["a cat", "snow", "16:9", "more like this", "less like this"])
    expect(page.locator(".filter .word")).to_have_text(["PNG", "JPEG", "from 2001"])


def test_weights_are_changed_by_keys(page: Page, at: str) -> None:
    """The slider of a chip goes through zero to minus; its sign can be turned, and it can be removed."""
    enter(page, at, "?text=a+cat&text=0.2:snow")
    expect(hit(page, 0)).to_be_visible()
    weight = page.get_by_label("Weight of snow")
    assert asked(page, lambda: weight.press("Home")) == {"text": "a cat", "minus": ["2:snow"]}
    expect(page).to_have_url(re.compile("text=-2%3Asnow"))
    expect(weight).to_have_attribute("aria-valuetext", "minus 2.0")
    add = page.get_by_role("button", name="Add snow")
    assert asked(page, add.click) == {"text": "a cat", "add": ["2:snow"]}
    page.get_by_role("button", name="Remove snow").click()
    expect(page).to_have_url(re.compile(r"\?text=a\+cat$"))


def test_words_are_added_and_subtracted(page: Page, at: str) -> None:
    """By a field beside the chips; a minus in front subtracts them."""
    enter(page, at, "?text=a+cat")
    for words in ("snow", "- people"):
        page.get_by_placeholder("+ beach").fill(words)
        page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?text=a\+cat&text=snow&text=-1%3Apeople$"))


def test_more_and_less_like_a_hit(page: Page, at: str) -> None:
    """By a key or a button of the tile; the words stay, and the picture is no hit any more."""
    enter(page, at, "?text=a+cat")
    hit(page, 0).press("+")
    expect(page).to_have_url(re.compile(r"\?text=a\+cat&image=1$"))
    expect(hit(page, 0)).not_to_have_attribute("aria-label", re.compile("^red"))
    hit(page, 1).hover()
    hit(page, 1).get_by_title("Less like this").click()
    expect(page).to_have_url(re.compile(r"\?text=a\+cat&image=1&image=-0.5%3A\d+$"))


def test_filters_are_set_in_a_panel_and_taken_back_by_their_chips(page: Page, at: str) -> None:
    """Each is a word of the address; where no hit is left, one button takes all of them back."""
    enter(page, at, "?text=a+cat")
    page.locator("summary").click()
    page.get_by_role("button", name="png").click()
    page.get_by_label("Words", exact=True).fill("\u00dfblue")
    page.get_by_label("Words", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="No picture fits")).to_be_visible()
    page.get_by_label("Words", exact=True).fill("BL\u00daE")
    page.get_by_label("Words", exact=True).press("Enter")
    page.get_by_label("Name").fill("blu*")
    page.get_by_label("Name").press("Enter")
    expect(page.locator(".hit")).to_have_count(1)
    page.get_by_role("button", name="portrait").click()
    expect(page.get_by_role("heading", name="No picture fits")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Without: PNG").click()
    page.get_by_role("button", name="Without: with BL\u00daE").click()
    expect(page).to_have_url(re.compile(r"\?text=a\+cat&glob=blu\*&orientation=portrait$"))
    page.get_by_role("button", name="Search without the filters").click()
    expect(page).to_have_url(re.compile(r"\?text=a\+cat$"))


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a server whose pictures say when and where they were taken, but for one."""
    home = make_served(tmp_path_factory.mktemp("placed"))
    with closing(sqlite3.connect(home.catalog)) as connection, connection:
        for image_id, (day, east) in enumerate([(30, 0.0), (31, 0.02), (31, 0.0)], 1):
            taken_at_s = int(datetime(2024, 5, day, 12, image_id).timestamp())
            connection.execute(
                "UPDATE images SET taken_at_s = ?, date_source = 'exif', latitude = -33.8569, longitude = ?"
                " WHERE id = ?",
                (taken_at_s, 151.2152 + east, image_id),
            )
    with listening(home) as found:
        yield found


def test_hits_by_date_stand_under_the_headings_of_their_days(watched_page: Watched, placed: str) -> None:
    """The newest day first; keys go from day to day, and screen readers from heading to heading."""
    page = watched_page.page
    enter(page, placed, "?text=a+cat")
    page.get_by_label("Order").select_option("Newest first")
    expect(page).to_have_url(re.compile("sort=date$"))
    days = page.get_by_role("heading", level=2)
    expect(days).to_have_text(
        [re.compile(r"^Friday.? 31 May 2024 2$"), re.compile("^Thursday.? 30 May 2024 1$"), re.compile("1$")]
    )
    expect(page.get_by_role("listbox", name="31 May 2024")).to_have_count(1)
    labels = [page.locator(".hit").nth(at).get_attribute("aria-label") or "" for at in range(4)]
    assert [label.split(".")[0] for label in labels[:3]] == ["blue", "green", "red"]
    assert labels[0].endswith(", 2024-05-31")
    assert [hit(page, at).get_attribute("aria-posinset") for at in range(3)] == ["1", "2", "1"]
    hit(page, 0).press("d")
    expect(hit(page, 2)).to_be_focused()
    hit(page, 2).press("D")
    expect(hit(page, 0)).to_be_focused()
    tops = [days.nth(0).bounding_box(), hit(page, 0).bounding_box(), days.nth(1).bounding_box()]
    assert sorted(tops, key=lambda box: box["y"] if box else 0) == tops
    page.get_by_label("Order").select_option("Best first")
    expect(days).to_have_count(0)
    assert watched_page.complaints == []


def test_pictures_near_a_place_say_how_far_they_are(watched_page: Watched, placed: str) -> None:
    """The place is a chip; the details have a link for maps, and nothing is fetched from one."""
    page = watched_page.page
    enter(page, placed, "?text=a+cat&sort=date")
    hit(page, 0).press("Enter")
    page.get_by_role("button", name="Details").click()
    link = page.get_by_role("link", name="-33.8569, 151.2152")
    expect(link).to_have_attribute("href", "geo:-33.8569,151.2152")
    expect(page.locator(".details")).to_contain_text("by its EXIF")
    page.get_by_role("link", name="Near here").click()
    expect(page.get_by_text("near -33.8569, 151.2152, 1 km")).to_be_visible()
    expect(page.locator(".hit")).to_have_count(2)
    assert asked(page, lambda: enter(page, placed, "?text=a+cat&near=-33.8569,151.2152,5&has_gps=true&on=2024")) == {
        "text": "a cat", "near": "-33.8569,151.2152,5", "has_gps": True, "on": "2024"
    }  # fmt: skip
    expect(page.locator(".hit")).to_have_count(3)
    labels = {page.locator(".hit").nth(at).get_attribute("aria-label") for at in range(3)}
    assert [label for label in labels if label and "1.8\u00a0km away" in label]
    page.locator("summary").click()
    page.get_by_label("Only what says where").uncheck()
    expect(page).not_to_have_url(re.compile("has_gps"))
    assert watched_page.complaints == []


def test_the_cut_off_is_a_slider(page: Page, at: str) -> None:
    """In tenths of a sigma; at the left end there is none."""
    enter(page, at, "?text=a+cat")
    slider = page.get_by_label("Closeness")
    slider.press("End")
    expect(page).to_have_url(re.compile("min_sigma=6$"))
    page.get_by_role("button", name="Show what is nearest").click()
    expect(hit(page, 0)).to_be_visible()
    expect(slider).to_have_value("0")


def test_tiles_keep_their_place_while_more_come(page: Page, at: str) -> None:
    """Only those near the window are in the page; the last hit of all can be reached, and has the focus."""
    enter(page, at, "?text=a+cat")
    hit(page, 0).press("ArrowRight")
    expect(hit(page, 1)).to_be_focused()
    before = page.evaluate(PLACES)
    hit(page, 1).press("End")
    expect(page.get_by_text(f"{MANY + 5} pictures")).to_be_visible()
    page.keyboard.press("End")
    expect(hit(page, MANY + 4)).to_be_focused()
    assert page.locator(".hit").count() < 200
    page.keyboard.press("Home")
    expect(hit(page, 0)).to_be_focused()
    assert {*before} <= {*page.evaluate(PLACES)}
    page.keyboard.press("End")
    page.get_by_label("What the pictures show").fill("a dog")
    page.keyboard.press("Enter")
    expect(hit(page, 0)).to_be_in_viewport()


def test_a_hostile_name_is_a_text(watched_page: Watched, at: str) -> None:
    """It runs nothing, turns nothing around, and breaks no layout, in the grid or in the lightbox."""
    page = watched_page.page
    enter(page, at, "?text=a+cat&glob=*onerror*")
    expect(hit(page, 0)).to_have_attribute("aria-label", re.compile(re.escape(SHOWN)))
    hit(page, 0).press("Enter")
    page.get_by_role("button", name="Details").click()
    expect(page.locator(".details h2")).to_have_text(f"{SHOWN}.png")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert watched_page.complaints == []


def test_a_picture_is_shown_with_all_that_is_known_of_it(page: Page, at: str, many: IndexHome) -> None:
    """Keys go from one to the next; closing it leads to the tile of the last one, as the back button does."""
    enter(page, at, "?text=a+cat")
    hit(page, 0).press("Enter")
    expect(page).to_have_url(re.compile("open=1$"))
    page.get_by_role("button", name="Details").click()
    details = page.locator(".details")
    known = page.request.get(f"{at.partition('?')[0]}api/v1/images/1").json()
    for value in (known["path"], known["sha256"], "there, unchanged since it was read", "400 \u00d7 300, 0.12"):
        expect(details).to_contain_text(str(value))
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(re.compile("open=1$"))
    page.keyboard.press("Escape")
    expect(page.locator(".pswp")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"\?text=a\+cat$"))
    expect(hit(page, 1)).to_be_focused()
    page.go_forward()
    expect(page.locator(".pswp")).to_have_count(1)
    page.go_back()
    expect(page.locator(".pswp")).to_have_count(0)


def test_who_goes_back_while_a_picture_opens_does_not_find_it_open(page: Page, at: str) -> None:
    """The address is what is shown, however early it changes."""
    page.emulate_media(reduced_motion="no-preference")
    enter(page, at, "?text=a+cat")
    hit(page, 1).click()
    expect(page).to_have_url(re.compile("open="))
    page.evaluate("history.back()")
    expect(page).to_have_url(re.compile(r"\?text=a\+cat$"))
    expect(page.locator(".pswp")).to_have_count(0)


def test_a_file_that_has_changed_is_told_and_not_shown(watched_page: Watched, tmp_path: Path) -> None:
    """By its name in the grid, by the server's sentence in the lightbox."""
    page, home = watched_page.page, make_served(tmp_path)
    Image.new("RGB", (20, 10)).save(tmp_path / "photos/green.png")
    with listening(home) as address:
        enter(page, address, "?text=a+cat&glob=green*")
        expect(hit(page, 0)).to_have_text(re.compile("green.png"))
        hit(page, 0).press("Enter")
        said = page.locator(".pswp__error-msg")
        expect(said).to_contain_text("is not the one that was indexed; imgidx train reads it")
    assert all("410" in complaint for complaint in watched_page.complaints)


def test_chosen_pictures_go_out_as_paths_and_as_an_archive(
    page: Page, at: str, many: IndexHome, tmp_path: Path
) -> None:
    """Chosen by keys, with Shift all on the way; they stay chosen when something else is searched for."""
    enter(page, at, "?text=a+cat&glob=red.png&glob=1.png&glob=2.png")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    hit(page, 0).press("x")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_text("3 chosen")).to_be_visible()
    page.get_by_role("button", name="Copy paths").click()
    expect(page.get_by_text("Copied 3 paths")).to_be_visible()
    photos = many.path.parent / "photos"
    names = ["1.png", "2.png", "red.png"]
    assert sorted(page.evaluate("navigator.clipboard.readText()").split("\n")) == [f"{photos}/{name}" for name in names]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Zip").click()
    saved.value.save_as(tmp_path / "pictures.zip")
    assert sorted(zipfile.ZipFile(tmp_path / "pictures.zip").namelist()) == names
    page.get_by_label("What the pictures show").fill("a dog")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("text=a%20dog|text=a\\+dog"))
    expect(page.get_by_text("3 chosen")).to_be_visible()
    page.get_by_role("button", name="Choose none").click()
    expect(page.get_by_text("3 chosen")).to_have_count(0)


def test_why_nothing_is_saved_is_told(watched_page: Watched, at: str) -> None:
    """What the browser is to save comes by a form; the sentence of the server is shown all the same."""
    page = watched_page.page
    problem = '{"detail": "four archives are made already"}'
    page.route("**/export/zip", lambda route: route.fulfill(status=503, content_type="application/json", body=problem))
    enter(page, at, "?text=a+cat")
    hit(page, 0).press("x")
    page.get_by_role("button", name="Zip").click()
    expect(page.get_by_text("four archives are made already")).to_be_visible()
    assert all("503" in complaint for complaint in watched_page.complaints)


def test_a_picture_of_ones_own_is_searched_by(page: Page, at: str, tmp_path: Path) -> None:
    """It stands among the terms; when the page is loaded again it is gone, and the page says so."""
    Image.new("RGB", (40, 30), (250, 10, 10)).save(tmp_path / "mine.png")
    enter(page, at)
    page.get_by_label("Search by a picture").set_input_files(tmp_path / "mine.png")
    expect(page.locator(".term .word")).to_have_text("mine.png")
    expect(hit(page, 0)).to_be_visible()
    assert page.locator(".term canvas").evaluate("canvas => canvas.width") > 1
    page.reload()
    expect(page.get_by_text("went when the page was loaded again")).to_be_visible()


def test_a_problem_is_a_sentence_and_can_be_tried_again(watched_page: Watched, at: str) -> None:
    """As soon as the server can answer, the hits are there."""
    page = watched_page.page

    def refuse(route: Route) -> None:
        route.fulfill(status=503, content_type="application/problem+json", body='{"detail": "the disk <b>is</b> gone"}')

    page.route(SEARCH, refuse)
    enter(page, at, "?text=a+cat")
    expect(page.get_by_text("the disk <b>is</b> gone")).to_be_visible()
    page.unroute(SEARCH, refuse)
    page.get_by_role("button", name="Try again").click()
    expect(hit(page, 0)).to_be_visible()
    assert all("503" in complaint for complaint in watched_page.complaints)


def test_hits_can_be_read_wide_and_narrow_light_and_dark(page: Page, at: str) -> None:
    """A name for whatever can be pressed, contrast as WCAG 2 asks, no scrolling sideways."""
    enter(page, at, "?text=a+cat&text=-0.5:snow&image=1&type=png")
    expect(hit(page, 0)).to_be_visible()
    nameless = "[...document.querySelectorAll('a, button, summary, input')].filter(e => "
    nameless += "!(e.ariaLabel || e.labels?.[0]?.textContent || e.textContent || e.title).trim()).map(e => e.outerHTML)"
    assert page.evaluate(nameless) == []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(LEAST_CONTRAST) >= 4.5
    for width in (1200, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
