"""The routes of clip-retrieval's back end, for programs that are written for it (`clip_retrieval.clip_client`).

Requests and answers are those of clip_back.py, version 2.45 (https://github.com/rom1504/clip-retrieval). An index here
holds pictures alone, so there is no `modality` but image; it has no scores of safety, violence or beauty, so the fields
for those are accepted and ignored.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from image_index.errors import QueryError
from image_index.paths import path_field, printable
from image_index.records import Hit, ImageFacts
from image_index.search.encode import QueryVector
from image_index.search.ranking import SearchOptions
from image_index.service.answers import Answer
from image_index.service.bodies import validated
from image_index.service.library import facts_of, service_of
from image_index.service.metrics import metrics_of
from image_index.service.problems import problem_answers
from image_index.service.readers import OpenIndex
from image_index.service.requests import MOST_HITS, Id, Word
from image_index.service.searching import encode_texts
from image_index.service.sent_pictures import SentPicture, vector_of_url
from image_index.service.uploads import Uploads

INDICE_NAME = "imgidx"
"""The one index that there is; whatever a request calls it, it is this one."""

SAME = 0.94
"""The least cosine of two vectors that are one picture to clip-retrieval."""

MOST_IMAGE_LENGTH = 50 << 20
"""How long a picture may be in base64."""

router = APIRouter()


class KnnRequest(BaseModel):
    """A search by a text, a picture in base64 or at an address, or a vector: by the first of these that is given."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    text: Word | None = None
    image: Annotated[str | None, Field(max_length=MOST_IMAGE_LENGTH)] = None
    image_url: Word | None = None
    embedding_input: Annotated[list[float] | None, Field(max_length=65_536)] = None
    modality: Literal["image"] = "image"
    num_images: Annotated[int, Field(ge=1, le=MOST_HITS)] = 40
    num_result_ids: Annotated[int | None, Field(ge=1, le=MOST_HITS)] = None
    deduplicate: bool = False


class MetadataRequest(BaseModel):
    """Of which pictures the metadata is wanted."""

    model_config = ConfigDict(extra="ignore")

    ids: Annotated[list[Id], Field(max_length=10_000)]


class ClipMetadata(Answer):
    """What clip-retrieval would have in its metadata: where a picture can be had, and its name."""

    image_path: str | None = None
    image_path_bytes: str | None = None
    url: str | None = None
    caption: str | None = None
    width: int | None = None
    height: int | None = None


class ClipHit(ClipMetadata):
    """A hit; the metadata only of the first `num_images`."""

    id: int
    similarity: float


class ClipPicture(Answer):
    """A picture's metadata."""

    id: int
    metadata: ClipMetadata


def _body(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a JSON body that may come without its media type."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


@router.get("/indices-list")
async def indices_list() -> list[str]:
    """The names of the indices: of the one that there is."""
    return [INDICE_NAME]


@router.post(
    "/knn-service",
    response_model=list[ClipHit],
    response_model_exclude_unset=True,
    responses=problem_answers(403, 408, 413, 415),
    openapi_extra=_body(KnnRequest),
)
async def knn_service(request: Request) -> list[dict[str, Any]]:
    """The pictures nearest to a text, a picture or a vector, best first."""
    uploads: Uploads = request.app.state.uploads
    with metrics_of(request).search():
        async with uploads.json_received(request) as body:
            wanted = validated(body, KnnRequest)
            vector = await _vector(request, wanted)
        if vector is None:
            return []
        hits = await service_of(request).read.read(lambda opened: _hits(opened, vector, wanted))
    with_metadata = [_metadata(hit.image, request) for hit in hits[: wanted.num_images]]
    rest = [dict[str, Any]()] * (len(hits) - len(with_metadata))
    return [
        metadata | {"id": hit.image.id, "similarity": hit.score}
        for metadata, hit in zip(with_metadata + rest, hits, strict=True)
    ]


@router.post(
    "/metadata",
    response_model=list[ClipPicture],
    response_model_exclude_unset=True,
    responses=problem_answers(403, 408, 413, 415),
    openapi_extra=_body(MetadataRequest),
)
async def metadata(request: Request) -> list[dict[str, Any]]:
    """Where pictures can be had, and their names."""
    wanted = validated(await request.body(), MetadataRequest)
    images = await service_of(request).read.read(lambda opened: [facts_of(opened, one) for one in wanted.ids])
    return [{"id": image.id, "metadata": _metadata(image, request)} for image in images]


def _metadata(image: ImageFacts, request: Request) -> dict[str, Any]:
    """Return the metadata of a picture; its address is that by which the client has come."""
    path = {f"image_{key}": value for key, value in path_field(image.path).items()}
    base = str(request.base_url).rstrip("/")
    return path | {
        "url": f"{base}/api/v1/images/{image.id}/file",
        "caption": printable(os.path.basename(image.path)),
        "width": image.picture.width,
        "height": image.picture.height,
    }


async def _vector(request: Request, wanted: KnnRequest) -> QueryVector | None:
    """Return the vector to search by; None where the index has no picture."""
    service = service_of(request)
    if not (wanted.text or wanted.image or wanted.image_url or wanted.embedding_input):
        raise QueryError("a search takes text, image, image_url or embedding_input")
    if not await service.read.read(lambda opened: opened.index.last_id):
        return None
    if wanted.text:
        return (await encode_texts(service, [wanted.text]))[wanted.text]
    if wanted.image:
        try:
            picture = SentPicture("the picture", base64.b64decode(wanted.image, validate=True))
        except ValueError as error:
            raise QueryError("image is no picture in base64") from error
        return await service.child.read(picture.encode)
    if wanted.image_url:
        return await vector_of_url(service, wanted.image_url)
    return _unit(wanted.embedding_input or [])


def _unit(values: Sequence[float]) -> QueryVector:
    """Return a vector at unit length; raise `QueryError` where it has none."""
    vector = np.array(values, np.float64)  # in float32 the length of a long one is not finite
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(vector))
    if not 0 < length < np.inf:
        raise QueryError("embedding_input has no direction")
    unit: QueryVector = (vector / length).astype(np.float32)
    return unit


def _hits(opened: OpenIndex, vector: QueryVector, wanted: KnnRequest) -> list[Hit]:
    """Return the hits; with `deduplicate` none whose vector is near that of a better one."""
    hits = opened.index.search(vector, SearchOptions(wanted.num_result_ids or wanted.num_images))
    if not wanted.deduplicate or not hits:
        return hits
    _, vectors = opened.catalog.vectors_of([hit.image.id for hit in hits])
    if len(vectors) != len(hits):  # a training has dropped one meanwhile
        return hits
    is_near = np.triu(vectors @ vectors.T >= SAME, 1)
    return [hit for hit, near in zip(hits, np.any(is_near, axis=0).tolist(), strict=True) if not near]
