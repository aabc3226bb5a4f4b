"""The tools of `imgidx mcp`: what a program may ask of an index over the Model Context Protocol.

Each tool takes one of the requests of the API and answers with the API's own object, as JSON; `search`, `similar` and
`show` also give small pictures. Every tool only reads, and only of pictures that the index knows.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from image_index.errors import ImgidxError, QueryError
from image_index.paths import message_line
from image_index.present.jsonl import json_line
from image_index.present.known import known_record
from image_index.present.status import status_record
from image_index.records import ImageFacts
from image_index.service.answers import Answer, DuplicatesAnswer, ImageAnswer, SearchAnswer, StatusAnswer
from image_index.service.originals import OriginalGone, open_original, small_original
from image_index.service.readers import OpenIndex, Service
from image_index.service.requests import DuplicatesRequest, ImageId, Ranking, SearchRequest, Word
from image_index.service.searching import find_groups, find_hits, picture_at, picture_of_id
from image_index.upkeep.known import known_picture
from image_index.upkeep.status import read_status

PREVIEW_SIDE = 400
"""The longer side of a preview in pixels."""

MOST_PREVIEWS = 10
"""How many of the hits are shown as previews: some 20 kB each."""

logger = logging.getLogger(__name__)

Previews = Annotated[bool, Field(description=f"Also show the first {MOST_PREVIEWS} hits as small pictures.")]
Path = Annotated[Word | None, Field(description="Its path; or say its image_id.")]


class SearchTool(SearchRequest):
    """A search whose first hits may be shown."""

    previews: Previews = False


class SimilarTool(Ranking):
    """A picture of the index, and how many of those most like it are wanted."""

    image_id: ImageId | None = None
    path: Path = None
    previews: Previews = False


class ShowTool(BaseModel):
    """A picture of the index."""

    model_config = ConfigDict(extra="forbid")

    image_id: ImageId | None = None
    path: Path = None
    preview: Annotated[bool, Field(description="Also show it as a small picture.")] = True


class StatusTool(BaseModel):
    """Nothing."""

    model_config = ConfigDict(extra="forbid")


Found = tuple[dict[str, Any], list[ContentBlock]]
"""The object that a tool answers with, and the previews that come with it."""


async def _search(service: Service, wanted: SearchTool) -> Found:
    """Search by texts and by pictures of the index."""
    page = await find_hits(service, wanted)
    return page, await _previews(service, page["hits"] if wanted.previews else ())


async def _similar(service: Service, wanted: SimilarTool) -> Found:
    """Search by one picture of the index."""
    image = await service.read.read(lambda opened: _picture(opened, wanted))
    how = wanted.model_dump(exclude={"path", "previews", "image_id"})
    page = await find_hits(service, SearchRequest(**how, image_id=[str(image.id)]))
    return page, await _previews(service, page["hits"] if wanted.previews else ())


async def _show(service: Service, wanted: ShowTool) -> Found:
    """Look a picture up, also one that could not be indexed."""

    def read(opened: OpenIndex) -> dict[str, Any]:
        path = opened.catalog.known_path(wanted.path) if wanted.path and not wanted.image_id else None
        known = known_picture(opened.catalog, path or _picture(opened, wanted).path)
        if known is None:
            raise QueryError(f"the index does not know {wanted.path}", "imgidx status lists its roots")
        return known_record(known)

    record = await service.read.read(read)
    shown = [record] if wanted.preview and record["id"] is not None else ()
    return record, await _previews(service, shown)


async def _status(service: Service, _: StatusTool) -> Found:
    """Say what the index holds."""
    return await service.read.read(lambda opened: status_record(read_status(opened.home))), []


async def _duplicates(service: Service, wanted: DuplicatesRequest) -> Found:
    """Look for duplicates."""
    return await find_groups(service, wanted), []


@dataclass(frozen=True, slots=True)
class IndexTool:
    """A tool: what it takes, what it answers with, what finds that, and what its user is told of it."""

    name: str
    takes: type[BaseModel]
    gives: type[Answer]
    find: Callable[[Service, Any], Awaitable[Found]]
    description: str

    def described(self) -> Tool:
        """Return the tool as the protocol describes it."""
        return Tool(
            name=self.name,
            description=self.description,
            input_schema=self.takes.model_json_schema(),
            output_schema=self.gives.model_json_schema(),
            annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
        )

    async def call(self, service: Service, arguments: dict[str, Any]) -> CallToolResult:
        """Return the answer; what goes wrong is an answer too, with the sentence that the command line prints."""
        try:
            record, previews = await self.find(service, self.takes.model_validate(arguments))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the arguments"
            return _wrong(f"{place}: {first['msg']}")
        except ImgidxError as error:
            return _wrong(str(error))
        except Exception as error:
            logger.exception("The tool %s failed", self.name)
            return _wrong(f"{type(error).__name__}; the log of imgidx mcp has the rest")
        return CallToolResult(content=[_text(json_line(record)), *previews], structured_content=record)


TOOLS = (
    IndexTool(
        "search",
        SearchTool,
        SearchAnswer,
        _search,
        "Find pictures by what they show. `text` describes it (an English sentence works best); `add` and `minus` are"
        " texts, or paths of indexed pictures, to add and to subtract; `image_id`, `minus_id` and `image` (a path) take"
        " indexed pictures. A weight may stand in front: `0.5:snow`. Filters: `under` a directory, `glob`, `words` of"
        " the path, `type`, `newer` and `older` (2024, 2024-05-31, 30d), `on` (2024-05, or 05-31 of any year),"
        " `between` two days, `near` a position (LAT,LON,KM in degrees), `has_gps`, `camera`, `min_size` (1920x1080),"
        " `orientation`. A hit has its path, its score (cosine) and sigma, which says how far it stands out: below 3 it"
        " is likely no match."
        " `next` is the `cursor` of the next page.",
    ),
    IndexTool(
        "similar",
        SimilarTool,
        SearchAnswer,
        _similar,
        "Find the pictures most like one of the index, given by its image_id or its path. Takes the filters of search.",
    ),
    IndexTool(
        "show",
        ShowTool,
        ImageAnswer,
        _show,
        "Show one picture of the index, given by its image_id or its path: a small preview, and all that is known of"
        " it, such as size, date, camera, and why it could not be indexed.",
    ),
    IndexTool(
        "status", StatusTool, StatusAnswer, _status, "Say how many pictures there are, where, and by what model."
    ),
    IndexTool(
        "duplicates",
        DuplicatesRequest,
        DuplicatesAnswer,
        _duplicates,
        "Find groups of the same picture, the largest group first, the best copy first. Takes the filters of search.",
    ),
)


def _picture(opened: OpenIndex, wanted: SimilarTool | ShowTool) -> ImageFacts:
    """Return the picture that is named by its id or by its path; raise `QueryError` where there is none."""
    if (wanted.image_id is None) == (wanted.path is None):
        raise QueryError("a picture is named by its image_id or by its path", "give one of them")
    if wanted.image_id is not None:
        return picture_of_id(opened, wanted.image_id)
    return picture_at(opened, wanted.path or "")


async def _previews(service: Service, records: Iterable[dict[str, Any]]) -> list[ContentBlock]:
    """Return the previews of the first of some records of pictures, each behind a line that says which it is."""
    blocks: list[ContentBlock] = []
    for record in list(records)[:MOST_PREVIEWS]:
        image_id = record["id"]
        blocks.append(_text(f"picture {image_id}: {record.get('path', 'a name that is no UTF-8')}"))
        try:
            data = await service.thumbnails.read(partial(_preview, image_id))
        except (OriginalGone, QueryError) as error:
            blocks.append(_text(message_line(str(error))))
        else:
            blocks.append(ImageContent(data=base64.b64encode(data).decode("ascii"), mime_type="image/webp"))
    return blocks


def _preview(image_id: int, opened: OpenIndex) -> bytes:
    """Return a small picture as WebP, made of the very file that was indexed; nothing is kept of it."""
    image = picture_of_id(opened, image_id)
    with open_original(opened.catalog, image) as file:
        return small_original(file, image, PREVIEW_SIDE)


def _text(text: str) -> TextContent:
    """Return a block of text."""
    return TextContent(text=text)


def _wrong(sentence: str) -> CallToolResult:
    """Return the answer that says what went wrong."""
    return CallToolResult(content=[_text(message_line(sentence))], is_error=True)
