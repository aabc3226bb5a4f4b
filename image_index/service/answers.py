"""The objects that the server answers with: those that commands print with `--json`, as types.

Each is made by the `*_record` of `image_index.present` that its docstring names; a key that is not declared here is an
error, so neither can change without the other. A path that is no UTF-8 comes as base64 under the name with `_bytes`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from image_index.records import Priority, RunKind, SessionState


class Answer(BaseModel):
    """An object with these keys and no others."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class PathAnswer(Answer):
    """A path, under one of two keys."""

    path: str | None = None
    path_bytes: str | None = None


class Health(Answer):
    """The server is up."""

    status: str


class RootAnswer(PathAnswer):
    """A root of the index."""

    scanned_at: str | None
    problem: str | None


class MachineAnswer(Answer):
    """What a machine did of a run that several shared (`summary_record`)."""

    name: str
    pictures: int
    pictures_per_second: float


class RunAnswer(Answer):
    """How a run went; without the counts where it did not come to its end."""

    started_at: str
    ended_at: str | None
    outcome: str
    error: str | None
    embedded: int | None = None
    unchanged: int | None = None
    moved: int | None = None
    missing: int | None = None
    failed: int | None = None
    not_on_disk: int | None = None
    excluded: dict[str, int] | None = None
    seconds: float | None = None
    pictures_per_second: float | None = None
    machines: list[MachineAnswer] | None = None
    stage_seconds: dict[str, float] | None = None


class StatusAnswer(Answer):
    """What the index holds: `imgidx status --json` (`status_record`)."""

    images: int
    missing: int
    failures: int
    without_vector: int
    roots: list[RootAnswer]
    model: str | None
    dim: int | None
    bytes: int
    last_run: RunAnswer | None


class ModelAnswer(Answer):
    """A model: `imgidx models --json` (`model_record`)."""

    name: str
    choices: list[str]
    kind: str
    dim: int
    size_mb: int | None
    relative_speed: float | None
    memory_mb: int | None
    recall_percent: dict[str, float] | None
    languages: str | None
    licence: str
    note: str


class Models(Answer):
    """The models that can be used."""

    models: list[ModelAnswer]


class ReasonAnswer(Answer):
    """Why a picture could not be indexed (`reason_record`)."""

    stage: str
    reason: str
    attempts: int
    first_failed_at: str
    last_failed_at: str


class FailureAnswer(ReasonAnswer, PathAnswer):
    """A picture that could not be indexed: `imgidx failures --json` (`failure_record`)."""


class Failures(Answer):
    """A page of the failures; `next` is the cursor of the page that follows, null on the last."""

    failures: list[FailureAnswer]
    next: str | None


class ImageAnswer(PathAnswer):
    """All that is known of a picture: `imgidx show --json` (`known_record`)."""

    names: list[PathAnswer]
    file: str
    bytes: int
    modified: str | None
    taken: str | None
    date_source: str | None
    camera: str | None
    latitude: float | None
    longitude: float | None
    altitude_m: float | None
    format: str | None
    width: int | None
    height: int | None
    megapixels: float | None
    sha256: str | None
    phash: str | None
    id: int | None
    read_at: str | None
    missing_since: str | None
    pair: str | None = None
    pair_bytes: str | None = None
    root: str | None = None
    root_bytes: str | None = None
    failure: ReasonAnswer | None
    model: str | None
    dim: int | None
    has_vector: bool | None


class PictureAnswer(PathAnswer):
    """What is shown of a picture (`image_record`), its id, and over HTTP the path of its thumbnail."""

    date: str
    date_source: str
    width: int
    height: int
    format: str
    camera: str | None
    latitude: float | None
    longitude: float | None
    altitude_m: float | None
    id: int
    thumbnail: str | None = None


class RankAnswer(Answer):
    """How well a picture fits a query, which has a name where one was given."""

    query: str | None = None
    rank: int
    score: float
    sigma: float | None


class HitAnswer(PictureAnswer, RankAnswer):
    """A hit: `imgidx search --json` (`hit_record`); `day` is that of its date where the server runs."""

    day: str

    pair: str | None = None
    pair_bytes: str | None = None
    distance_km: float | None = None


class SearchAnswer(Answer):
    """A page of hits, best first; `next` is the cursor of the page that follows, null on the last.

    `last_id` is the id of the newest picture that there was: as `after_id` of a later search it leaves what is new.
    """

    hits: list[HitAnswer]
    next: str | None
    last_id: int


class DuplicateAnswer(PictureAnswer):
    """A member of a group (`group_record`); `kept` is whether it is marked to be kept beside the best."""

    bytes: int
    similarity: float
    exact: bool
    kept: bool


class GroupAnswer(Answer):
    """Files of the same picture, the best first: `imgidx dupes --json` (`group_record`)."""

    pictures: list[DuplicateAnswer]


class DuplicatesAnswer(Answer):
    """A page of groups, the largest first; `next` is the cursor of the page that follows, null on the last."""

    groups: list[GroupAnswer]
    next: str | None


class SummaryAnswer(Answer):
    """What a run did: the last line of `imgidx train --json` (`summary_record`)."""

    embedded: int
    unchanged: int
    moved: int
    missing: int
    failed: int
    not_on_disk: int
    excluded: dict[str, int]
    seconds: float
    pictures_per_second: float
    machines: list[MachineAnswer]
    stage_seconds: dict[str, float]


class SessionAnswer(Answer):
    """A session, or a run that nobody asked the server for, whose `kind` is `foreign` (`session_record`).

    `stage` is `wait`, `scan`, `load`, `embed` or `index`; `done` and `total` are of that stage. `exit_code` is that of
    the command line, `error` its sentence; `summary` is there where the run came to its end.
    """

    id: int
    kind: RunKind
    state: SessionState
    priority: Priority
    training_directory: str | None
    exclude: list[str]
    retry_failed: bool
    time_limit: str | None
    asked_at: str
    started_at: str | None
    ended_at: str | None
    stage: str | None
    done: int
    total: int | None
    failures: int
    pictures_per_second: float | None
    seconds_left: float | None
    machines: list[MachineAnswer]
    stage_seconds: dict[str, float] | None
    exit_code: int | None
    error: str | None
    summary: SummaryAnswer | None


class SessionsAnswer(Answer):
    """A page of sessions, newest first; `next` is the cursor of the page that follows, null on the last."""

    sessions: list[SessionAnswer]
    next: str | None
