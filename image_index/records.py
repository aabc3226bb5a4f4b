"""The frozen records that rooms pass to each other: plain data, without a reference to any other module."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from image_index.dates import FIRST_DATE_S, LAST_DATE_S

Vectors = NDArray[np.float32]
"""Unit vectors, shape (N, D)."""

Ids = NDArray[np.int64]
"""Image ids, shape (N,)."""

Pixels = NDArray[np.uint8]
"""Pictures as the model wants them before normalisation, shape (N, H, W, 3), RGB."""


FIRST_NS, LAST_NS = -(1 << 63), (1 << 63) - 1
"""The nanoseconds since 1970 that fit 64 bits: from 1677 to 2262."""


# A scan makes one of these two per file, a million at a time: as tuples they take a third of the time.
class ImageFile(NamedTuple):
    """A file on disk that may be a picture: its absolute path, size in bytes, modification time, and inode.

    The inode is a signed number of 64 bits, as a catalog's column takes it; 0 where the file system has none.
    """

    path: bytes
    size: int
    mtime_ns: int
    inode: int = 0

    @classmethod
    def of(cls, path: bytes, status: os.stat_result) -> ImageFile:
        """Return the file at `path` as `os.stat` describes it; a time outside `FIRST_NS` to `LAST_NS` is the nearest.

        An unset time of NTFS or SMB is 1601, and ext4 takes 2400: neither fits the 64 bits of a catalog's column.
        """
        mtime_ns, inode = status.st_mtime_ns, status.st_ino
        if not FIRST_NS <= mtime_ns <= LAST_NS:
            mtime_ns = FIRST_NS if mtime_ns < 0 else LAST_NS
        if inode >= 1 << 63:  # network file systems use all 64 bits
            inode -= 1 << 64
        return cls(path, status.st_size, mtime_ns, inode)


class KnownImage(NamedTuple):
    """What planning needs of a catalog row; `read_at_ns` is when the content was last read."""

    id: int
    path: bytes
    size: int
    mtime_ns: int
    sha256: bytes
    read_at_ns: int
    missing: bool
    inode: int = 0


class OtherName(NamedTuple):
    """A path that leads to the same file as `main`, under which that file is indexed: a link, or another mount."""

    path: bytes
    main: bytes


class KnownName(NamedTuple):
    """Another name of a file as the catalog knows it, with size, time and inode of the image at `main`.

    `size` is None where there is no image: the file failed, or a run was stopped before it was read.
    """

    path: bytes
    main: bytes
    size: int | None
    mtime_ns: int | None
    inode: int | None


@dataclass(frozen=True, slots=True)
class ScanProblem:
    """A directory or root that could not be read; everything known below `path` is kept as it is."""

    path: bytes
    reason: str


class ExcludeReason(StrEnum):
    """Why a directory is left out by default: what other programs keep in it."""

    THUMBNAILS = "thumbnails"
    TRASH = "trash"
    SNAPSHOTS = "snapshots"
    SYSTEM = "system"
    LIBRARY = "library"
    """In a library of Apple's Photos, whatever is not its originals."""


@dataclass(frozen=True, slots=True)
class ExcludedDirectory:
    """A directory that a scan left out by default."""

    path: bytes
    reason: ExcludeReason


@dataclass(frozen=True, slots=True)
class NotOnDisk:
    """A file, or if `file` is None a directory, whose content is in a cloud: what is known of it stays as it is."""

    path: bytes
    file: ImageFile | None = None


Scanned = ImageFile | NotOnDisk | ScanProblem | ExcludedDirectory
"""What a scan yields."""


@dataclass(frozen=True, slots=True)
class Match:
    """A file on disk and the catalog row that it belongs to."""

    file: ImageFile
    image: KnownImage


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What a model wants done to a picture, in open_clip's words; `size` is (height, width) in pixels."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a loaded model is; two models with one fingerprint give the same vectors."""

    name: str
    weights_sha256: str
    config: str
    preprocess: Preprocess
    dim: int

    @property
    def fingerprint(self) -> str:
        """The hex SHA-256 of everything that decides a vector; the name is not part of it."""
        facts = [self.weights_sha256, json.loads(self.config), asdict(self.preprocess), self.dim]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that a child gets in one message; `alone`: it must not work on anything else at the same time.

    A file suspected of killing children travels alone, so that it is clear which file did it.
    """

    files: tuple[ImageFile, ...]
    alone: bool = False


class Stage(StrEnum):
    """Where a file failed."""

    READ = "read"
    DECODE = "decode"
    EMBED = "embed"
    CRASH = "crash"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be indexed, at which stage, and why; it is tried again when its size or time changes."""

    file: ImageFile
    stage: Stage
    reason: str


class DateSource(StrEnum):
    """What says when a picture was taken: EXIF, XMP, IPTC or text in it, LibRaw, or when its file was modified."""

    EXIF = "exif"
    XMP = "xmp"
    IPTC = "iptc"
    TEXT = "text"
    RAW = "raw"
    FILE = "file"


class PictureFacts(NamedTuple):
    """What decoding a file tells about its picture; `width` and `height` in pixels, as displayed.

    `taken_at_s` (seconds since 1970) and `camera` are None where the file does not say; `date_source` is what says so,
    a `DateSource`. `latitude` and `longitude` are degrees (WGS 84), north and east positive, `altitude_m` metres above
    the sea; None where the file does not say. `phash` is the perceptual hash of the pixels. Each field is a column of
    the catalog's table `images`, under the same name.
    """

    width: int
    height: int
    format: str
    taken_at_s: int | None = None
    date_source: str = DateSource.FILE
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    phash: bytes | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """One embedded file as it was when its content was read, at `read_at_ns`; `grid` is that of `image_index.grid`."""

    file: ImageFile
    sha256: bytes
    read_at_ns: int
    picture: PictureFacts
    grid: bytes | None = None


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Seconds spent in each stage.

    `scan`, `store` and `index` are the parent's. The others are the children's, added up over all of them and over the
    threads in which they read and decode. `idle` is how long their models waited for decoded pictures.
    """

    scan: float = 0.0
    load: float = 0.0
    read: float = 0.0
    decode: float = 0.0
    forward: float = 0.0
    idle: float = 0.0
    store: float = 0.0
    index: float = 0.0

    def __add__(self, other: StageSeconds) -> StageSeconds:
        return StageSeconds(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class EmbeddedBatch:
    """The result of a batch: `vectors[i]` belongs to `images[i]`; `vanished` files were gone when they were opened.

    A vector of zeros stands for none: the model gives a flat grey picture no direction that it could be found by.
    """

    images: tuple[EmbeddedImage, ...]
    vectors: Vectors
    failures: tuple[Failure, ...] = ()
    vanished: tuple[ImageFile, ...] = ()
    seconds: StageSeconds = field(default_factory=StageSeconds)


class ImageFacts(NamedTuple):
    """What the catalog knows of an image: `size` in bytes; `missing` where the file is gone."""

    id: int
    path: bytes
    size: int
    mtime_ns: int
    sha256: bytes
    picture: PictureFacts
    missing: bool

    @property
    def date_s(self) -> int:
        """When the picture was taken, in seconds since 1970; where the file does not say, when it was modified.

        A file may have a time that Python's `datetime` cannot express: it becomes the first or the last that it can.
        """
        taken_at_s = self.picture.taken_at_s
        date = self.mtime_ns // 10**9 if taken_at_s is None else taken_at_s
        return min(max(date, FIRST_DATE_S), LAST_DATE_S)

    @property
    def file(self) -> Path:
        """The path as a `Path`."""
        return Path(os.fsdecode(self.path))


@dataclass(frozen=True, slots=True)
class Hit:
    """One found picture; `score` is the cosine between query and picture, in [-1, 1].

    `sigma` is the score's z-score: how many standard deviations it lies above the mean score of this query over the
    whole index. It is None where all scores are the same. `pair` is the path of the other file of a shot that was
    taken as RAW and as JPEG or HEIC, None where there is none. `index` is the directory of the index that has it, where
    several were searched. `distance_m` is how far it was taken from the place that the filters name, if they name one.
    """

    rank: int
    score: float
    sigma: float | None
    image: ImageFacts
    pair: bytes | None = None
    index: bytes | None = None
    distance_m: float | None = None

    @property
    def path(self) -> bytes:
        """The picture's path."""
        return self.image.path


@dataclass(frozen=True, slots=True)
class Stamp:
    """Identifies one state of a catalog's vectors.

    A derived file stores the stamp of the state that it was built from; it is stale where `CatalogReader.stamp()` has
    become another. `generation` counts the images that have come or gone so far, `count` is how many vectors there are.
    """

    catalog_id: str
    generation: int
    last_id: int
    count: int
    dim: int


class DerivedState(StrEnum):
    """How a file that is derived from the catalog or from the model stands to it."""

    CURRENT = "current"
    BEHIND = "behind"
    DAMAGED = "damaged"
    """Not what was written, or of another catalog or model: it is never used."""
    ABSENT = "absent"
    REFUSED = "refused"
    """One of the towers of the model cannot be exported, and it is known why."""


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """A failure as the catalog remembers it; times in seconds since 1970."""

    failure: Failure
    attempts: int
    first_failed_at_s: int
    last_failed_at_s: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images and failures an index holds; `images` does not count the `missing` ones.

    `without_vector` counts those of `images` that have none, because the model gives them no direction.
    """

    images: int
    missing: int
    failures: int
    without_vector: int = 0


@dataclass(frozen=True, slots=True)
class Root:
    """A directory or file given to train; `problem` says why its last scan was not complete."""

    path: bytes
    scanned_at_s: int | None
    problem: str | None


INCOMPLETE = 3
"""The exit code of a run that is done, but could not read some pictures or directories."""


class Outcome(StrEnum):
    """How a run ended, or how far it is; a run that was killed stays `running` until somebody finds it dead."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run as the catalog remembers it; times in seconds since 1970.

    `error` says why it failed. `summary` is what it did, without the problems, which stand with the roots; None if the
    run ended before its end.
    """

    started_at_s: int
    ended_at_s: int | None
    outcome: Outcome
    error: str | None = None
    summary: Summary | None = None


class MachineShare(NamedTuple):
    """What one machine of a cluster has embedded in a run; 0 pictures per second where that is not known yet."""

    name: str
    pictures: int
    pictures_per_second: float


class RunKind(StrEnum):
    """Who runs a session: the server as a child process, or a worker of its queue; a run that nobody asked a server
    for, as one from cron, is `foreign`.
    """

    EMBEDDED = "embedded"
    QUEUE = "queue"
    FOREIGN = "foreign"


class Priority(StrEnum):
    """Which sessions go first; of those of one priority, the one that was asked for first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class SessionState(StrEnum):
    """Where a session stands: `incomplete` is done, but something could not be read (exit code 3)."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Session:
    """A run as those see it who ask a server for runs; times in seconds since 1970.

    `request` is what was asked for, JSON, and "{}" for a foreign run. `progress` is None before the run begins, `run`
    None until then too. `tries` is how often it was begun. `exit_code` is that of the command line, None until the end
    and where nobody was left to tell.
    """

    id: int
    kind: RunKind
    outcome: Outcome
    priority: Priority = Priority.NORMAL
    request: str = "{}"
    asked_at_s: int = 0
    started_at_s: int | None = None
    ended_at_s: int | None = None
    stop_asked: bool = False
    exit_code: int | None = None
    error: str | None = None
    tries: int = 0
    progress: Progress | None = None
    summary: Summary | None = None

    @property
    def state(self) -> SessionState:
        """Where it stands."""
        return session_state(self.outcome, self.exit_code, stop_asked=self.stop_asked)


def session_state(outcome: Outcome, exit_code: int | None, *, stop_asked: bool) -> SessionState:
    """Return where a session stands, by what is known of its run."""
    if outcome is Outcome.RUNNING and stop_asked:
        return SessionState.STOPPING
    if outcome is Outcome.DONE and exit_code == INCOMPLETE:
        return SessionState.INCOMPLETE
    return SessionState(outcome)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an update has come; `total` is None while it is still being counted.

    `pictures_per_second` counts from the first batch on, for that one came with the loading of the model; it is None
    until then. `stages` is what parent and children have spent so far, None where that is not told.
    """

    stage: str
    done: int = 0
    total: int | None = None
    failed: int = 0
    pictures_per_second: float | None = None
    stages: StageSeconds | None = None
    machines: tuple[MachineShare, ...] = ()
    """The machines of the cluster, by name; none where the run has only its own."""


Report = Callable[[Progress], None]
"""A function that is told how far an update has come."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What one update did, in pictures; `seconds` is the whole run, `stages` what parent and children spent in each.

    `planned` is how many pictures were to be embedded.
    """

    planned: int = 0
    embedded: int = 0
    unchanged: int = 0
    moved: int = 0
    missing: int = 0
    failed: int = 0
    failed_before: int = 0
    kept: int = 0
    names: int = 0
    """Further names that were found of files in the index: links, hard links, mounts."""
    vanished: int = 0
    not_on_disk: int = 0
    """Files and directories in a cloud, which are not read without being asked for."""
    excluded: dict[str, int] = field(default_factory=dict)
    """How many directories were left out by default, for each `ExcludeReason`."""
    seconds: float = 0.0
    stages: StageSeconds = field(default_factory=StageSeconds)
    problems: tuple[ScanProblem, ...] = ()
    stopped_by: int = 0
    exported: bool = False
    """Whether a child was started to export the towers alone."""
    machines: tuple[MachineShare, ...] = ()
    """The machines of the cluster that have embedded, by name; none where the run had only its own."""

    @property
    def exit_code(self) -> int:
        """Return what `imgidx train` exits with."""
        if self.stopped_by:
            return 128 + self.stopped_by
        return INCOMPLETE if self.failed or self.problems else 0

    @property
    def remaining(self) -> int:
        """Return how many pictures a run that was stopped has left for the next one."""
        return self.planned - self.embedded - self.failed - self.vanished

    @property
    def pictures_per_second(self) -> float:
        """Return how many pictures were embedded per second of the run."""
        return self.embedded / self.seconds if self.seconds else 0.0
