"""What a search over HTTP may say: the keys of a line of `--queries`, and the options of the command line."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from image_index.catalog.filters import Filters
from image_index.search.duplicates import DuplicateOptions
from image_index.search.query import MOST_WEIGHT, weight_of
from image_index.search.ranking import SearchOptions
from image_index.search.selection import make_filters

MOST_ID = (1 << 63) - 1
"""The largest id that the catalog can have."""

MOST_HITS = 1000
"""How many hits a page may have; the next one begins where it ends."""

MOST_TERMS = 64
"""How many texts or pictures a key of a query may have."""

MOST_PROMPTS = 16
"""How many sentences each text of a query may be put into; each of them is encoded."""


def _listed(value: Any) -> Any:
    """Return one word as a list: a line of `--queries` may have either."""
    return [value] if isinstance(value, str | int) else value


def _word(value: Any) -> Any:
    """Return a number as a word."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Word = Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]
Words = Annotated[list[Word], BeforeValidator(_listed), Field(max_length=MOST_TERMS)]
Prompts = Annotated[list[Word], BeforeValidator(_listed), Field(max_length=MOST_PROMPTS)]
Id = Annotated[int, Field(ge=1, le=MOST_ID)]
IdWord = Annotated[
    str,
    BeforeValidator(_word, json_schema_input_type=Id | str),
    Field(max_length=64, pattern=r"^([0-9]+(\.[0-9]+)?:)?[0-9]+$", description="The id of a picture, or `WEIGHT:ID`."),
]
IdWords = Annotated[list[IdWord], BeforeValidator(_listed), Field(max_length=MOST_TERMS)]
Limit = Annotated[int, Field(ge=1, le=MOST_HITS, description="How many at most.")]
Cursor = Annotated[str | None, Field(max_length=8192, description="`next` of the page before.")]
ImageId = Annotated[int, Field(ge=1, le=MOST_ID, description="The id of a picture; ids are never used again.")]


class Choice(BaseModel):
    """Which pictures are asked for: the options of the command line under their names, `_` for `-`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    under: Words = []
    exclude_under: Words = []
    glob: Words = []
    words: Annotated[Word | None, Field(description="Words that the path has: `--name`; `name` is the query's.")] = None
    type: Words = []
    newer: Word | None = None
    older: Word | None = None
    on: Word | None = None
    between: Annotated[list[Word], Field(max_length=2, description="Two days: the first and the last.")] = []
    near: Annotated[Word | None, Field(description="`LAT,LON` in degrees, or `LAT,LON,KM`.")] = None
    has_gps: bool = False
    camera: Word | None = None
    min_size: Word | None = None
    orientation: Word | None = None
    missing: bool = False
    after_id: Annotated[int | None, Field(ge=0, le=MOST_ID, description="Only pictures added after this one.")] = None
    cursor: Cursor = None

    def filters(self) -> Filters:
        """Return the conditions; raise `UsageError` for one that makes no sense."""
        said = {field: getattr(self, field) for field in Choice.model_fields if field not in {"words", "cursor"}}
        return make_filters(name=self.words, **said)


class Ranking(Choice):
    """How good a hit must be, and how many are wanted."""

    limit: Limit = 10
    min_score: Annotated[float, Field(ge=-1, le=1)] = -1.0
    min_sigma: float | None = None
    exact: bool = False
    include_query: bool = False

    def options(self) -> SearchOptions:
        """Return the options of the search; raise `UsageError` for one that makes no sense."""
        least_sigma = -math.inf if self.min_sigma is None else self.min_sigma
        return SearchOptions(self.limit, self.min_score, least_sigma, exact=self.exact, filters=self.filters())


class SearchRequest(Ranking):
    """A search: texts and pictures, added and subtracted, as in a line of `--queries`.

    A picture is given by its id, as `image_id` to add it and as `minus_id` to subtract it, or by a path that the index
    knows; no other file is read. Each may have a weight in front, as a text may: `0.5:17`. The picture of a form has
    `picture_weight`, which may be negative. With `prompt`, sentences such as "a photo of a {}.", each text is put into
    them in the place of `{}`.
    """

    name: Word | None = None
    text: Word | None = None
    image: Words = []
    add: Words = []
    minus: Words = []
    prompt: Prompts = []
    image_id: IdWords = []
    minus_id: IdWords = []
    picture_weight: Annotated[float, Field(ge=-MOST_WEIGHT, le=MOST_WEIGHT)] = 1.0

    def ids(self) -> list[tuple[float, int]]:
        """Return the ids of pictures with their weights; raise `QueryError` for a weight that makes no sense."""
        return [_weighted_id(word) for word in self.image_id] + [
            (-weight, image_id) for weight, image_id in map(_weighted_id, self.minus_id)
        ]


def _weighted_id(word: str) -> tuple[float, int]:
    """Return the weight and the id that a word says."""
    weight, _, image_id = word.rpartition(":")
    return weight_of(weight or "1", word), int(image_id)


class DuplicatesRequest(Choice):
    """Which duplicates are wanted: the options of `imgidx dupes`."""

    limit: Limit = 10
    similarity: Annotated[float | None, Field(ge=-1, le=1)] = None
    exact: bool = False
    pairs: bool = False
    all: Annotated[bool, Field(description="Also what is marked as kept.")] = False

    def options(self) -> DuplicateOptions:
        """Return the options of `imgidx dupes`."""
        least = -1.0 if self.similarity is None else self.similarity
        return DuplicateOptions(least, exact=self.exact, pairs=self.pairs, kept=self.all)


class MarksRequest(BaseModel):
    """Pictures of which no two are to be shown as duplicates; with `kept` false, are to be shown so again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ids: Annotated[list[Id], Field(min_length=2, max_length=200)]
    kept: bool = True


class PathsRequest(BaseModel):
    """Of which pictures the paths are wanted, and whether each ends with a zero byte instead of a line end."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Id], Field(max_length=100_000)]
    null: bool = False


class ZipRequest(BaseModel):
    """Of which pictures the files are wanted."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Id], Field(max_length=10_000)]


class SheetRequest(BaseModel):
    """Which pictures are to stand on a contact sheet, and what is written over them."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Id], Field(max_length=1000)]
    title: Annotated[str, Field(max_length=200)] = "Pictures"
