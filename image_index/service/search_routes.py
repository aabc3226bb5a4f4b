"""Routes that search: by texts and pictures, by a picture of the index, and for duplicates."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from image_index.service.answers import DuplicatesAnswer, SearchAnswer
from image_index.service.library import facts_of, service_of
from image_index.service.metrics import metrics_of
from image_index.service.problems import problem_answers
from image_index.service.requests import DuplicatesRequest, ImageId, MarksRequest, Ranking, SearchRequest
from image_index.service.searching import find_groups, find_hits, mark_kept
from image_index.service.sent_pictures import SentPicture
from image_index.service.uploads import BODY, Uploads

router = APIRouter(prefix="/api/v1")


@router.get("/search", response_model=SearchAnswer, response_model_exclude_unset=True)
async def search(request: Request, wanted: Annotated[SearchRequest, Query()]) -> dict[str, Any]:
    """The pictures nearest to texts and pictures, best first: as `imgidx search --json`."""
    return await _answer(request, wanted)


@router.post(
    "/search",
    response_model=SearchAnswer,
    response_model_exclude_unset=True,
    openapi_extra=BODY,
    responses=problem_answers(403, 408, 413, 415),
)
async def search_by_body(request: Request) -> dict[str, Any]:
    """The same, asked for by a JSON object, or by a form with a picture: a line of `--queries` and options."""
    uploads: Uploads = request.app.state.uploads
    async with uploads.received(request) as (wanted, picture):
        return await _answer(request, wanted, picture)


@router.get("/images/{image_id}/similar", response_model=SearchAnswer, response_model_exclude_unset=True)
async def similar(request: Request, image_id: ImageId, wanted: Annotated[Ranking, Query()]) -> dict[str, Any]:
    """The pictures most like one of the index, best first."""
    await service_of(request).read.read(lambda opened: facts_of(opened, image_id))
    return await _answer(request, SearchRequest(**wanted.model_dump(), image_id=[str(image_id)]))


@router.get("/duplicates", response_model=DuplicatesAnswer, response_model_exclude_unset=True)
async def duplicates(request: Request, wanted: Annotated[DuplicatesRequest, Query()]) -> dict[str, Any]:
    """Groups of the same picture, the largest first and in each the best copy first: as `imgidx dupes --json`."""
    page = await find_groups(service_of(request), wanted)
    for group in page["groups"]:
        group["pictures"] = [_linked(picture, request) for picture in group["pictures"]]
    return page


@router.post(
    "/duplicates/marks", status_code=204, response_class=Response, responses=problem_answers(403, 408, 413, 415)
)
async def marks(request: Request, wanted: MarksRequest) -> None:
    """Keep pictures beside each other: no two of them are shown as duplicates any more, as after `imgidx dupes --keep`.

    With `kept` false they are shown again, as after `--no-keep`.
    """
    service = service_of(request)
    await service.read.read(lambda opened: [facts_of(opened, image_id) for image_id in wanted.ids])
    await mark_kept(service, wanted.ids, kept=wanted.kept)


async def _answer(request: Request, wanted: SearchRequest, picture: SentPicture | None = None) -> dict[str, Any]:
    """Return the page of hits that is asked for, `picture` being one more term of the query."""
    with metrics_of(request).search():
        page = await find_hits(service_of(request), wanted, picture)
    return page | {"hits": [_linked(hit, request) for hit in page["hits"]]}


def _linked(picture: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return the record of a picture with the path of its thumbnail."""
    root = request.scope.get("root_path", "")
    return picture | {"thumbnail": f"{root}/api/v1/images/{picture['id']}/thumbnail"}
