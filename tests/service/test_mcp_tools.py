"""The tools for assistants, called by the SDK's own client in this process."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image

from image_index.catalog.catalog import Catalog
from image_index.catalog.reader import CatalogReader
from image_index.index import Index
from image_index.present.groups import group_record
from image_index.present.hits import hit_record
from image_index.present.known import known_record
from image_index.present.status import status_record
from image_index.records import ImageFile, Stage
from image_index.search.query import make_query
from image_index.service.answers import Answer, DuplicatesAnswer, ImageAnswer, SearchAnswer, StatusAnswer
from image_index.service.mcp_server import make_server
from image_index.service.mcp_tools import MOST_PREVIEWS, PREVIEW_SIDE
from image_index.service.readers import Service
from image_index.service.requests import SearchRequest
from image_index.settings import IndexHome
from image_index.upkeep.known import known_picture
from image_index.upkeep.status import read_status
from image_index.workers.engine import Engine
from tests.support import fake_models
from tests.support.library import random_batch
from tests.support.records import LONG_AGO_NS
from tests.support.served import make_served

RED, GREEN, BLUE, PINK = 1, 2, 3, 4


def asked(home: IndexHome, ask: Callable[[Client], Coroutine[Any, Any, Any]], *, read_only: bool = True) -> Any:
    """Return what `ask` returns with a client of the index in `home`."""

    async def run() -> Any:
        service = Service.start(home, Engine("cpu", loader=fake_models.load), read_only=read_only)
        try:
            async with Client(make_server(service)) as client:
                return await ask(client)
        finally:
            service.close()

    return asyncio.run(run())


def called(home: IndexHome, tool: str, **arguments: Any) -> CallToolResult:
    """Return the answer of a tool."""
    found: CallToolResult = asked(home, lambda client: client.call_tool(tool, arguments))
    return found


def texts(answer: CallToolResult) -> list[str]:
    """Return the texts of an answer."""
    return [block.text for block in answer.content if isinstance(block, TextContent)]


def previews(answer: CallToolResult) -> list[Image.Image]:
    """Return the pictures of an answer."""
    blocks = [block for block in answer.content if isinstance(block, ImageContent)]
    assert {block.mime_type for block in blocks} <= {"image/webp"}
    return [Image.open(BytesIO(base64.b64decode(block.data))) for block in blocks]


def complaint(answer: CallToolResult) -> str:
    """Return the one sentence of an answer that says what is wrong."""
    assert answer.is_error
    assert answer.structured_content is None
    (sentence,) = texts(answer)
    return sentence


def test_the_tools_are_described_and_only_read(served: IndexHome) -> None:
    """What a search may say is what it may say over HTTP."""
    tools = {tool.name: tool for tool in asked(served, lambda client: client.list_tools()).tools}
    assert list(tools) == ["search", "similar", "show", "status", "duplicates"]
    for tool in tools.values():
        assert tool.description
        assert tool.annotations.read_only_hint
    assert tools["search"].input_schema["properties"].keys() == {*SearchRequest.model_fields, "previews"}


def test_the_answers_are_the_objects_of_the_command_line(served: IndexHome) -> None:
    """With the ids; as text they are the same."""
    photo = served.path.parent / "photos/red.png"
    with Index.open(served.path) as index, CatalogReader(served.catalog) as catalog:
        day = datetime.fromtimestamp(LONG_AGO_NS // 10**9).date().isoformat()
        found = index.search(make_query(images=[str(photo)]))
        hits = [hit_record(hit) | {"id": hit.image.id, "day": day} for hit in found]
        known = known_picture(catalog, os.fsencode(photo))
        last_id = index.last_id
    assert known is not None
    expected: dict[tuple[str, str], tuple[type[Answer], dict[str, Any]]] = {
        ("similar", "path"): (SearchAnswer, {"hits": hits, "next": None, "last_id": last_id}),
        ("similar", "image_id"): (SearchAnswer, {"hits": hits, "next": None, "last_id": last_id}),
        ("search", "image"): (SearchAnswer, {"hits": hits, "next": None, "last_id": last_id}),
        ("show", "path"): (ImageAnswer, known_record(known)),
        ("status", ""): (StatusAnswer, status_record(read_status(served))),
    }
    for (tool, key), (kind, record) in expected.items():
        arguments = {key: RED if key == "image_id" else str(photo)} if key else {}
        answer = called(served, tool, **arguments)
        assert not answer.is_error, texts(answer)
        varying = {"bytes": 0} if "roots" in record else {}  # of the files that SQLite makes while it is open
        assert answer.structured_content | varying == record | varying
        assert kind.model_validate_json(texts(answer)[0]) == kind.model_validate(answer.structured_content)


def test_duplicates_come_in_groups(tmp_path: Path) -> None:
    """As those of the command line."""
    home = make_served(tmp_path, {"red": ["copy"]})
    with Index.open(home.path) as index:
        groups = [group_record(group)["pictures"] for group in index.duplicates()]
    answer = called(home, "duplicates")
    found = [
        group["pictures"] for group in DuplicatesAnswer.model_validate(answer.structured_content).model_dump()["groups"]
    ]
    assert len(groups) == 1
    assert [[one["path"] for one in group] for group in found] == [[one["path"] for one in group] for group in groups]


def test_previews_are_small_and_few(tmp_path: Path) -> None:
    """A page of a thousand hits is no gigabyte of pictures; none is larger than it was."""
    names = {"red": [f"red{number}" for number in range(2 * MOST_PREVIEWS)]}
    home = make_served(tmp_path, names)
    with Image.open(home.path.parent / "photos/red.png") as photo:
        assert max(photo.size) <= PREVIEW_SIDE
    answer = called(home, "similar", image_id=BLUE, limit=1000, previews=True)
    assert len(answer.structured_content["hits"]) > len(previews(answer)) == MOST_PREVIEWS
    (shown,) = previews(called(home, "show", image_id=RED))
    assert max(shown.size) <= PREVIEW_SIDE
    red, green, blue = shown.convert("RGB").getpixel((100, 100))  # type: ignore[misc]
    assert min(red - green, red - blue) > 150
    assert previews(called(home, "show", image_id=RED, preview=False)) == []
    assert previews(called(home, "similar", image_id=RED)) == []


def test_a_large_picture_is_made_small(tmp_path: Path) -> None:
    """At most 400 pixels; the catalog says how large it is."""
    home = make_served(tmp_path)
    path = tmp_path / "photos/wide.png"
    Image.new("RGB", (1600, 400), (9, 200, 9)).save(path)
    _index_as(home, GREEN, path)
    (shown,) = previews(called(home, "show", image_id=GREEN))
    assert shown.size == (PREVIEW_SIDE, PREVIEW_SIDE // 4)


def _index_as(home: IndexHome, image_id: int, path: Path) -> None:
    """Let the picture of an id be another file."""
    from hashlib import sha256

    file = ImageFile.of(os.fsencode(path), path.stat())
    digest = sha256(path.read_bytes()).digest()
    with Catalog(home.catalog, write=True) as catalog, catalog.transaction() as connection:
        sql = "UPDATE images SET path = ?, size = ?, mtime_ns = ?, inode = ?, sha256 = ?, width = 1600, height = 400"
        values = (file.path, file.size, file.mtime_ns, file.inode, digest, image_id)
        connection.execute(f"{sql} WHERE id = ?", values)


def test_what_could_not_be_indexed_is_told(served: IndexHome) -> None:
    """By its path; there is no picture to show."""
    answer = called(served, "show", path=str(served.path.parent / "photos/broken.png"))
    assert answer.structured_content["failure"]["stage"] == Stage.DECODE
    assert previews(answer) == []


# Attacks


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("search", {}, "search takes a text"),
        ("search", {"text": ""}, "the query is empty"),
        ("search", {"text": "x" * 10_001}, "text: "),
        ("search", {"text": "a\0b"}, "text: "),
        ("search", {"text": ["a"]}, "text: "),
        ("search", {"text": {"$ne": 1}}, "text: "),
        ("search", {"add": ["a"] * 65}, "add: "),
        ("search", {"text": "a", "limit": 10**30}, "limit: "),
        ("search", {"text": "a", "limit": 0}, "limit: "),
        ("search", {"text": "a", "min_sigma": "NaN"}, "min_sigma: "),
        ("search", {"text": "a", "index": "/elsewhere"}, "index: "),
        ("search", {"text": "a", "glob": "!"}, "--glob"),
        ("search", {"text": "a", "newer": "'; DROP TABLE images; --"}, "--newer"),
        ("search", {"text": "a", "cursor": "!"}, "the cursor"),
        ("search", {"text": "a", "under": "/usr"}, "--under /usr: the index knows nothing there"),
        ("search", {"text": "a", "under": "/no/such/place"}, "--under /no/such/place: the index knows nothing there"),
        ("search", {"image": "/etc/passwd"}, "the index does not know /etc/passwd"),
        ("search", {"add": "../../../etc/passwd"}, "the index does not know"),
        ("search", {"image": "http://127.0.0.1:1/a.png"}, "the server fetches no pictures"),
        ("search", {"add": "http://127.0.0.1:1/a.png"}, "the server fetches no pictures"),
        ("search", {"image_id": 999}, "the index has no picture 999"),
        ("similar", {}, "give one of them"),
        ("similar", {"image_id": RED, "path": "/x"}, "give one of them"),
        ("similar", {"path": "/etc/passwd"}, "the index does not know /etc/passwd"),
        ("similar", {"path": "/proc/self/fd/0"}, "the index does not know"),
        ("show", {}, "give one of them"),
        ("show", {"path": ""}, "a path must not be empty"),
        ("show", {"path": "/etc/passwd"}, "the index does not know /etc/passwd"),
        ("show", {"path": "/"}, "the index does not know /"),
        ("show", {"path": "/etc/../etc/passwd"}, "the index does not know"),
        ("show", {"image_id": -1}, "image_id: "),
        ("show", {"image_id": 2**63}, "image_id: "),
        ("status", {"path": "/etc/passwd"}, "path: "),
        ("duplicates", {"under": "/etc"}, "--under /etc"),
        ("duplicates", {"limit": 1001}, "limit: "),
    ],
)
def test_hostile_arguments_are_refused_with_a_sentence(
    served: IndexHome, tool: str, arguments: dict[str, Any], says: str
) -> None:
    """Never with a traceback, and never with a word on what else the disk holds."""
    assert says in complaint(called(served, tool, **arguments))


def test_a_tool_that_there_is_not_is_an_error_of_the_protocol(served: IndexHome) -> None:
    """The name is not repeated at any length."""

    async def ask(client: Client) -> str:
        with pytest.raises(MCPError, match="no tool is called 'xxx") as raised:
            await client.call_tool("x" * 100_000)
        return str(raised.value)

    assert len(asked(served, ask)) < 300


@pytest.mark.parametrize("what", ["a link to another file", "another picture", "nothing"])
def test_no_other_file_is_shown_in_place_of_a_picture(tmp_path: Path, what: str) -> None:
    """It has to be the one that was indexed."""
    home = make_served(tmp_path)
    path, secret = tmp_path / "photos/red.png", tmp_path / "secret.png"
    Image.new("RGB", (400, 300), (1, 2, 3)).save(secret)
    path.unlink()
    if what == "a link to another file":
        path.symlink_to(secret)
    elif what == "another picture":
        shutil.copy(secret, path)
    answer = called(home, "show", image_id=RED)
    assert previews(answer) == []
    assert "picture 1" in texts(answer)[-1]
    assert answer.structured_content["file"] == ("gone" if what == "nothing" else "changed")


def test_a_link_that_leads_to_a_picture_of_the_index_names_it(tmp_path: Path) -> None:
    """And one that leads elsewhere names nothing."""
    home = make_served(tmp_path)
    (tmp_path / "in").symlink_to(tmp_path / "photos/red.png")
    (tmp_path / "out").symlink_to("/etc/passwd")
    assert called(home, "show", path=str(tmp_path / "in")).structured_content["id"] == RED
    assert "does not know" in complaint(called(home, "show", path=str(tmp_path / "out")))


def remembered(home: IndexHome) -> int:
    """Return how many texts the catalog remembers."""
    with closing(sqlite3.connect(home.catalog)) as connection:
        return int(connection.execute("SELECT count(*) FROM queries").fetchone()[0])


@pytest.mark.slow
def test_nothing_is_written(tmp_path: Path) -> None:
    """Not even the words of a search, which the server over HTTP remembers; no thumbnail is kept."""
    home = make_served(tmp_path)

    async def ask(client: Client) -> bool:
        found = await client.call_tool("search", {"text": "r", "previews": True})
        assert not found.is_error, texts(found)
        return bool(found.structured_content["hits"])

    before = {path: path.stat().st_mtime_ns for path in home.path.rglob("*") if path.suffix not in (".sqlite3-shm",)}
    assert asked(home, ask)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not home.thumbnails.exists()
    assert remembered(home) == 0
    assert asked(home, ask, read_only=False)
    assert remembered(home) == 1


def test_an_index_that_vanishes_is_told_and_may_come_back(tmp_path: Path) -> None:
    """The server lives on."""
    home = make_served(tmp_path)

    async def ask(client: Client) -> tuple[list[CallToolResult], CallToolResult]:
        first = await client.call_tool("show", {"image_id": RED})
        home.path.rename(tmp_path / "away")
        gone = [await client.call_tool(name, {"image_id": RED}) for name in ("show", "similar")]
        gone.append(await client.call_tool("status", {}))
        (tmp_path / "away").rename(home.path)
        assert first.structured_content["id"] == RED
        return gone, await client.call_tool("similar", {"image_id": RED})

    gone, back = asked(home, ask)
    assert all("no index in" in complaint(answer) for answer in gone)
    assert [hit["id"] for hit in back.structured_content["hits"]] == [PINK, GREEN, BLUE]


def test_a_training_holds_nothing_up_and_what_it_stores_is_found(tmp_path: Path) -> None:
    """Also while it is in the middle of a transaction."""
    home = make_served(tmp_path)

    async def ask(client: Client) -> tuple[int, int, int]:
        counts = [(await client.call_tool("status", {})).structured_content["images"]]
        with Catalog(home.catalog, write=True) as catalog:
            with catalog.transaction() as connection:
                connection.execute("UPDATE images SET missing_since_s = 1 WHERE id = 1")
                counts.append((await client.call_tool("status", {})).structured_content["images"])
            catalog.record(random_batch(5, dim=3))
        counts.append((await client.call_tool("status", {})).structured_content["images"])
        return counts[0], counts[1], counts[2]

    assert asked(home, ask) == (4, 4, 8)
