"""Pictures over HTTP: small ones, and their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from image_index.catalog.catalog import Catalog
from image_index.service import pictures
from image_index.settings import IndexHome
from image_index.upkeep.maintenance import forget
from tests.support.records import LONG_AGO_NS
from tests.support.served import COLOURS, client_of, make_served

FILE, THUMBNAIL = "/api/v1/images/1/file", "/api/v1/images/1/thumbnail"


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index whose pictures a test may change."""
    return make_served(tmp_path)


@pytest.fixture
def own(home: IndexHome) -> Iterator[TestClient]:
    """Return a client of it."""
    with client_of(home) as client:
        yield client


@pytest.fixture
def red(home: IndexHome) -> Path:
    """Return the file of picture 1."""
    return home.path.parent / "photos/red.png"


def age(path: Path) -> None:
    """Give a file the time that the picture had when it was indexed."""
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


def test_a_file_comes_as_it_is(own: TestClient, red: Path) -> None:
    """Byte for byte, as what the catalog says it is."""
    answer = own.get(FILE)
    assert answer.content == red.read_bytes()
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Length"] == str(red.stat().st_size)
    assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''red.png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_no_browser_shows_is_saved(own: TestClient, home: IndexHome) -> None:
    """No type but those of pictures goes out to be shown."""
    with Catalog(home.catalog, write=True) as catalog, catalog.transaction() as connection:
        connection.execute("UPDATE images SET format = 'svg' WHERE id = 1")
    answer = own.get(FILE)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert not {"image/svg+xml", "text/html"} & {*pictures.TYPES.values()}


def test_a_thumbnail_is_small_and_remembered(own: TestClient, home: IndexHome) -> None:
    """It shows the picture, and is made once."""
    answer = own.get(THUMBNAIL, params={"side": 64})
    assert answer.headers["Content-Type"] == "image/webp"
    with Image.open(BytesIO(answer.content)) as image:
        assert (image.format, image.size) == ("WEBP", (64, 48))
        shown = image.convert("RGB").getpixel((32, 24))
    assert isinstance(shown, tuple)
    assert all(abs(got - meant) < 12 for got, meant in zip(shown, COLOURS["red"], strict=True))
    (kept,) = home.thumbnails.glob("*/*")
    made_at_ns = kept.stat().st_ctime_ns
    assert kept.read_bytes() == own.get(THUMBNAIL, params={"side": 64}).content
    assert made_at_ns <= kept.stat().st_ctime_ns
    assert len([*home.thumbnails.glob("*/*")]) == 1
    assert len(own.get(THUMBNAIL).content) > 0
    assert len([*home.thumbnails.glob("*/*")]) == 2


def test_a_client_that_has_it_gets_it_no_second_time(own: TestClient) -> None:
    """Its browser asks whether it is still the same."""
    first = own.get(THUMBNAIL)
    again = own.get(THUMBNAIL, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_sizes_are_few(own: TestClient) -> None:
    """So that what the cache holds is bounded for each picture."""
    for side in ("0", "65", "100000", "x"):
        assert own.get(THUMBNAIL, params={"side": side}).status_code == 422


@pytest.mark.parametrize("path", [FILE, THUMBNAIL])
@pytest.mark.parametrize("known", [False, True])
def test_nothing_is_shown_of_a_file_that_is_another_one(own: TestClient, red: Path, path: str, known: bool) -> None:
    """Gone, of another size or time, no file any more: also where its thumbnail is remembered."""
    before = red.read_bytes()
    etag = own.get(THUMBNAIL).headers["ETag"] if known else "x"

    def refused() -> bool:
        return {own.get(path).status_code, own.get(path, headers={"If-None-Match": etag}).status_code} == {410}

    os.utime(red)
    assert refused()
    red.write_bytes(before + b"x")
    age(red)
    assert refused()
    red.unlink()
    assert refused()
    red.mkdir()
    assert refused()
    red.rmdir()
    os.mkfifo(red)
    assert refused()
    red.unlink()
    red.write_bytes(before)
    age(red)
    assert own.get(path).status_code == 200


def test_no_thumbnail_is_made_of_another_content(own: TestClient, red: Path) -> None:
    """Of the same size and time: what is remembered by its content must be of that content."""
    red.write_bytes(red.read_bytes()[::-1])
    age(red)
    answer = own.get(THUMBNAIL)
    assert answer.status_code == 410
    assert "not the one that was indexed" in answer.json()["detail"]


@pytest.mark.parametrize("path", [FILE, THUMBNAIL])
def test_a_link_that_was_put_there_is_not_followed(own: TestClient, red: Path, path: str) -> None:
    """Neither as the file nor as a directory on the way to it, though size, time and content are the same."""
    secret = red.parent.parent / "secret"
    secret.mkdir()
    (secret / "red.png").write_bytes(red.read_bytes())
    age(secret / "red.png")
    red.unlink()
    red.symlink_to(secret / "red.png")
    assert own.get(path).status_code == 410
    red.unlink()
    red.parent.rename(red.parent.with_name("moved"))
    red.parent.symlink_to(secret)
    assert own.get(path).status_code == 410


@pytest.mark.parametrize("path", [FILE, THUMBNAIL])
def test_a_link_that_leads_to_the_picture_is_followed(own: TestClient, red: Path, path: str) -> None:
    """As a training with --follow-links knows it: the file behind it is the one that was read."""
    red.parent.rename(red.parent.with_name("moved"))
    red.parent.symlink_to("moved")
    assert own.get(path).status_code == 200


def test_a_picture_has_any_of_its_names(own: TestClient, home: IndexHome, red: Path) -> None:
    """Where the first is gone, another leads to the same file."""
    other = red.with_name("other.png")
    os.link(red, other)
    with Catalog(home.catalog, write=True) as catalog, catalog.transaction() as connection:
        connection.execute("INSERT INTO names VALUES (?, ?)", (os.fsencode(other), os.fsencode(red)))
    red.unlink()
    assert own.get(FILE).content == other.read_bytes()


def test_what_is_forgotten_leaves_no_thumbnail(own: TestClient, home: IndexHome) -> None:
    """It was dropped on purpose."""
    own.get(THUMBNAIL)
    assert home.thumbnails.exists()
    forget(home, (home.path.parent / "photos",))
    assert not home.thumbnails.exists()


def test_no_path_leads_to_a_file(own: TestClient) -> None:
    """Pictures are asked for by their id alone."""
    for path in ("/api/v1/images/..%2f..%2fetc%2fpasswd/file", "/api/v1/images/1/file/../../../../etc/passwd"):
        assert own.get(path).status_code in (404, 422)
