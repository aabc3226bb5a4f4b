"""Pages of hits and of duplicates, for whoever asks: the API, and the tools of MCP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from image_index.catalog.catalog import Catalog
from image_index.catalog.pairs import pair_of
from image_index.dates import local_time
from image_index.errors import QueryError, UsageError
from image_index.index import is_there
from image_index.paths import printable
from image_index.present.groups import group_record
from image_index.present.hits import hit_record
from image_index.records import ImageFacts
from image_index.search.duplicates import Group, Kept, kept_pairs, on_disk
from image_index.search.encode import QueryVector, add_up
from image_index.search.query import Kind, Term, make_query, with_prompts
from image_index.search.ranking import Place
from image_index.service.cursors import digest, read_cursor, write_cursor
from image_index.service.readers import OpenIndex, Service
from image_index.service.requests import MOST_ID, Choice, DuplicatesRequest, Ranking, SearchRequest
from image_index.service.sent_pictures import SentPicture, vector_of_url

MOST_URLS = 4
"""How many pictures of the web a search may name."""


def _check_places(opened: OpenIndex, wanted: Choice) -> None:
    """Raise `UsageError` for a directory of which the index knows nothing, whether it is there or not.

    The command line looks at the disk too; whoever asks a server must not learn from it what else is there.
    """
    for directory in wanted.under:
        if not opened.catalog.known_spellings(opened.catalog.known_path(directory)):
            raise UsageError(f"--under {printable(directory)}: the index knows nothing there")


# Duplicates


async def find_groups(service: Service, wanted: DuplicatesRequest) -> dict[str, Any]:
    """Return the page of groups that is asked for, the largest first and in each the best copy first."""
    kind = digest(wanted)
    after = read_cursor(wanted.cursor, kind, int, bytes) if wanted.cursor is not None else ()

    def read(opened: OpenIndex) -> dict[str, Any]:
        _check_places(opened, wanted)
        catalog, filters, options = opened.catalog, wanted.filters(), wanted.options()
        stored = service.groups.groups(catalog, kind, (filters, options))
        hidden, kept = kept_pairs(catalog, options), catalog.kept()
        there = (
            (one.place, group)
            for one in stored
            if one.place > after and (group := on_disk(one.group(catalog), hidden, lambda it: is_there(it, filters)))
        )
        page = list(islice(there, wanted.limit + 1))
        following = write_cursor(kind, *page[wanted.limit - 1][0]) if len(page) > wanted.limit else None
        return {"groups": [_group_record(group, kept) for _, group in page[: wanted.limit]], "next": following}

    return await service.duplicates.read(read)


async def mark_kept(service: Service, ids: Sequence[int], *, kept: bool) -> None:
    """Remember that no two of these pictures are to be shown as duplicates, or with `kept=False` forget it.

    Waits for the batch that a training is storing, and for nothing else.
    """

    def write(opened: OpenIndex) -> None:
        with Catalog(opened.home.catalog) as catalog:
            catalog.keep({*ids}, kept=kept)

    await service.writes.read(write)


def _group_record(group: Group, kept: Kept) -> dict[str, Any]:
    """Return a group with the id of each picture, and whether it is kept beside the best."""
    best = group[0].image.id
    pictures = zip(group_record(group)["pictures"], (one.image.id for one in group), strict=True)
    return {"pictures": [record | {"id": one, "kept": (best, one) in kept} for record, one in pictures]}


# Search


@dataclass(frozen=True, slots=True)
class _Asked:
    """The terms of a search: texts, addresses, and pictures of the index with their vectors; each has its weight.

    `own` are the pictures of the query itself, and the other files of their shots, none of which is a hit.
    """

    texts: tuple[tuple[float, str], ...]
    urls: tuple[tuple[float, str], ...]
    pictures: tuple[tuple[float, QueryVector], ...]
    own: frozenset[int]


async def find_hits(service: Service, wanted: SearchRequest, picture: SentPicture | None = None) -> dict[str, Any]:
    """Return the page of hits that is asked for, best first, `picture` being one more term of the query."""
    kind = digest(wanted, picture.digest if picture else "")
    place = _place(wanted.cursor, kind)
    asked = await service.read.read(lambda opened: _asked(opened, wanted, has_picture=picture is not None))
    if asked is None:
        return {"hits": [], "next": None, "last_id": 0}
    encoded = await encode_texts(service, [text for _, text in asked.texts])
    parts = [(weight, encoded[text]) for weight, text in asked.texts] + [*asked.pictures]
    parts += [(weight, await vector_of_url(service, url)) for weight, url in asked.urls]
    if picture is not None:
        parts.append((wanted.picture_weight, await service.child.read(picture.encode)))
    vector = add_up(parts)
    return await service.read.read(lambda opened: _page(opened, wanted, (vector, asked.own), (kind, place)))


def _place(cursor: str | None, kind: str) -> Place | None:
    """Return where the page begins, None for the first; raise `UsageError` for a cursor of another request."""
    if cursor is None:
        return None
    score, image_id, rank, up_to_id = read_cursor(cursor, kind, float, int, int, int)
    return Place(score, image_id, max(rank, 0), up_to_id)


async def encode_texts(service: Service, texts: Sequence[str]) -> dict[str, QueryVector]:
    """Return the vectors of texts: by the exported tower, or by the child where there is none."""
    if not texts:
        return {}
    threads = service.texts if await service.texts.read(lambda opened: opened.encoder.has_text_tower) else service.child
    return await threads.read(lambda opened: {text: opened.encoder.text(text) for text in texts})


def _asked(opened: OpenIndex, wanted: SearchRequest, *, has_picture: bool) -> _Asked | None:
    """Return the terms of a search, None where the index has no picture; raise `UsageError` for what makes no sense."""
    wanted.options()
    _check_places(opened, wanted)
    terms: tuple[Term, ...] = ()
    ids = wanted.ids()
    has_other = has_picture or bool(ids)
    if not has_other or wanted.text is not None or wanted.image or wanted.add or wanted.minus:
        query = make_query(wanted.text, wanted.image, wanted.add, wanted.minus)
        terms = with_prompts(query, wanted.prompt).terms
    pictures = [(weight, picture_of_id(opened, image_id)) for weight, image_id in ids]
    pictures += [(term.weight, picture_at(opened, term.value)) for term in terms if term.kind is Kind.FILE]
    if not opened.index.last_id:
        return None
    texts, urls = (
        tuple((term.weight, term.value) for term in terms if term.kind is kind) for kind in (Kind.TEXT, Kind.URL)
    )
    if len(urls) > MOST_URLS:
        raise QueryError(f"a search may name {MOST_URLS} pictures of the web, not {len(urls)}")
    pairs = (pair_of(opened.catalog, image) for _, image in pictures)
    own = (
        frozenset() if wanted.include_query else {one.id for one in (*(image for _, image in pictures), *pairs) if one}
    )
    return _Asked(texts, urls, tuple((weight, _vector(opened, image)) for weight, image in pictures), frozenset(own))


def picture_of_id(opened: OpenIndex, image_id: int) -> ImageFacts:
    """Return the picture of that id; raise `QueryError` where there is none."""
    image = opened.catalog.facts_of([image_id]).get(image_id) if image_id <= MOST_ID else None
    if image is None:
        raise QueryError(f"the index has no picture {image_id}")
    return image


def picture_at(opened: OpenIndex, path: str) -> ImageFacts:
    """Return the picture at a path that the index knows; raise `QueryError` for any other."""
    image = opened.catalog.facts_at(opened.catalog.known_path(path))
    if image is None:
        raise QueryError(f"the index does not know {printable(path)}", "the server reads no other files")
    return image


def _vector(opened: OpenIndex, image: ImageFacts) -> QueryVector:
    """Return the stored vector of a picture; raise `QueryError` where the model sees nothing in it."""
    _, vectors = opened.catalog.vectors_of([image.id])
    if not len(vectors):
        raise QueryError(f"the model sees nothing in {printable(image.path)} to search by", "choose another picture")
    vector: QueryVector = vectors[0]
    return vector


def _page(
    opened: OpenIndex, wanted: Ranking, query: tuple[QueryVector, frozenset[int]], begins: tuple[str, Place | None]
) -> dict[str, Any]:
    """Return the page of hits that begins at a place, and the cursor of the next one."""
    (vector, own), (kind, place) = query, begins
    start, up_to_id = (place.rank, place.up_to_id) if place else (0, opened.index.last_id)
    options = replace(wanted.options(), limit=wanted.limit + len(own) + 1, after=place)
    rest = [hit for hit in opened.index.search(vector, options) if hit.image.id not in own]
    page = [replace(hit, rank=rank) for rank, hit in enumerate(rest[: wanted.limit], start + 1)]
    following = None
    if len(rest) > len(page):
        last = page[-1]
        following = write_cursor(kind, last.score, last.image.id, last.rank, up_to_id)
    name = wanted.name if isinstance(wanted, SearchRequest) else None
    hits = [hit_record(hit, name) | {"id": hit.image.id, "day": _day(hit.image)} for hit in page]
    return {"hits": hits, "next": following, "last_id": up_to_id}


def _day(image: ImageFacts) -> str:
    """Return the day of a picture where the server runs, by which `on` and `between` choose."""
    return local_time(image.date_s).date().isoformat()
