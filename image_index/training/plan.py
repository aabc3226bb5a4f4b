"""Scanned files against known rows: what is new, changed, moved, missing or unchanged.

Pure: it reads no disk and writes nothing.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields

from image_index.paths import directories_around
from image_index.records import (
    ExcludedDirectory,
    ImageFile,
    KnownImage,
    KnownName,
    Match,
    NotOnDisk,
    OtherName,
    Scanned,
    ScanProblem,
)

RACY_WINDOW_NS = 2_000_000_000
"""A file modified this close to when it was read may have changed since within one tick of its clock (FAT: 2 s)."""

Digest = Callable[[ImageFile], bytes | None]
"""Returns the SHA-256 of a file's content, or None if it cannot be read."""


@dataclass(slots=True)
class Plan:
    """What an update has to do; the lists hold only what differs, so that an unchanged million costs nothing."""

    new: list[ImageFile] = field(default_factory=list)
    changed: list[Match] = field(default_factory=list)
    """A known path with other content: it is embedded again."""
    moved: list[Match] = field(default_factory=list)
    """The content of a row whose file is gone: the row gets the new path."""
    copied: list[Match] = field(default_factory=list)
    """The content of a row whose file cannot be found just now: a new row gets the same vector."""
    touched: list[Match] = field(default_factory=list)
    """A known path and content with another time, or back after it was missing."""
    missing: list[KnownImage] = field(default_factory=list)
    unchanged: int = 0
    kept: int = 0
    """Rows below a directory that could not be read: nothing is known of their files, so nothing is done."""
    failed_before: int = 0
    failures_gone: list[bytes] = field(default_factory=list)
    """Paths of failures whose file is gone."""
    problems: list[ScanProblem] = field(default_factory=list)
    not_on_disk: int = 0
    """Files and directories in a cloud; what is known of them and below them stays as it is."""
    excluded: Counter[str] = field(default_factory=Counter)
    """How many directories the scan left out by default, for each `ExcludeReason`."""
    names: list[OtherName] = field(default_factory=list)
    """Further names of files that are in the index or in this plan: these are not embedded."""
    names_known: int = 0
    """Known other names that still lead to the file they did."""
    names_gone: list[bytes] = field(default_factory=list)
    """Known other names where nothing is any more, or another file."""
    names_in_doubt: list[tuple[ImageFile, bytes]] = field(default_factory=list)
    """Known other names at which size, time or inode are not those of the image, each with its main name."""
    renumbered: array[int] = field(default_factory=lambda: array("q"))
    """Ids of unchanged rows whose file has another inode, each followed by that inode: a file system may number its
    files anew whenever it is mounted, and then a million pairs take 16 MB."""

    def add(self, other: Plan) -> None:
        """Take in the plan of another root."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))

    @property
    def files_to_embed(self) -> Iterator[ImageFile]:
        """Yield the files whose content has no vector yet, in path order per kind."""
        yield from self.new
        yield from (match.file for match in self.changed)

    @property
    def embed_count(self) -> int:
        """Return how many files have to be embedded."""
        return len(self.new) + len(self.changed)


def plan_update(
    scanned: Iterable[Scanned],
    known: Iterable[KnownImage],
    failed: Mapping[bytes, tuple[int, int]] | None = None,
    *,
    retry_failed: bool = False,
    on_new: Callable[[ImageFile], None] = lambda _: None,
) -> Plan:
    """Compare one root's scan with its rows; both must come in the byte order of their paths.

    `failed` maps the path of an earlier failure to its (size, mtime_ns): such a file is not tried again until it
    changes, or with `retry_failed`. Rows below a `ScanProblem` are kept as they are, and so are those
    at and below what is `NotOnDisk`. `changed` holds every known file whose size or time differs, or that was read
    within `RACY_WINDOW_NS` of its modification; `settle_by_content` tells which really did.
    `on_new` is told of each new file as soon as it is met.
    """
    # A merge join: both sides come in path order, so that one pass compares them and neither is held in memory. A scan
    # of a million unchanged files takes as much memory as one of ten (decision 0004).
    plan = Plan()
    unseen_failures = dict(failed or {})
    rows = iter(known)
    row = next(rows, None)
    unseen: list[KnownImage] = []
    unread: set[bytes] = set()
    for item in scanned:
        path = item.path
        while row is not None and row.path < path:
            unseen.append(row)
            row = next(rows, None)
        if isinstance(item, ScanProblem):
            plan.problems.append(item)
            unread.add(path)
            continue
        if isinstance(item, ExcludedDirectory):
            plan.excluded[item.reason] += 1
            continue
        here = row if row is not None and row.path == path else None
        row = next(rows, None) if here else row
        if isinstance(item, NotOnDisk):
            _leave_in_cloud(plan, item, here)
            if item.file is None:
                unread.add(path)
            unseen_failures.pop(path, None)
        elif unseen_failures and unseen_failures.pop(path, None) == (item.size, item.mtime_ns) and not retry_failed:
            plan.failed_before += 1
        elif here:
            _compare(plan, item, here)
        else:
            plan.new.append(item)
            on_new(item)
    unseen += [row, *rows] if row is not None else []
    for image in unseen:
        _leave(plan, image, unread)
    plan.failures_gone = [path for path in unseen_failures if not _is_inside(path, unread)]
    return plan


def set_names_apart(scanned: Iterable[Scanned], names: Iterable[KnownName], plan: Plan) -> Iterator[Scanned]:
    """Yield what is scanned but for known other names of files; note in `plan` what has become of these.

    Both must come in the byte order of their paths. Names at or below a `ScanProblem` or what is `NotOnDisk` stay.
    """
    rest = iter(names)
    name = next(rest, None)
    unread: set[bytes] = set()
    unseen: list[bytes] = []
    for item in scanned:
        while name is not None and name.path < item.path:
            unseen.append(name.path)
            name = next(rest, None)
        if isinstance(item, ScanProblem | NotOnDisk):
            unread.add(item.path)
        elif isinstance(item, ImageFile) and name is not None and name.path == item.path:
            if name[2:] == item[1:]:  # size, time and inode
                plan.names_known += 1
            else:
                plan.names_in_doubt.append((item, name.main))
            name = next(rest, None)
            continue
        yield item
    unseen += [left.path for left in (name, *rest) if left is not None]
    plan.names_gone += [path for path in unseen if not _is_inside(path, unread)]


def keep_emptied_root(plan: Plan, root: bytes) -> Plan:
    """Return `plan`, or, where every picture of `root` is gone at once, one that keeps all its rows and says so.

    An empty mount point looks exactly like a directory whose files were all deleted; only a person can tell.
    """
    seen = plan.new or plan.changed or plan.unchanged or plan.failed_before or plan.kept or plan.not_on_disk
    count = len(plan.missing) + len(plan.names_gone)
    if seen or plan.names_known or plan.names_in_doubt or not count:
        return plan
    reason = f"none of its {count} pictures is left (not mounted?)"
    problems = [*plan.problems, ScanProblem(root, reason)]
    return Plan(kept=len(plan.missing), problems=problems, excluded=plan.excluded)


def _leave(plan: Plan, image: KnownImage, unread: set[bytes]) -> None:
    """Note a row whose file the scan did not yield; what lies in or at an `unread` path may still be there."""
    if _is_inside(image.path, unread):
        plan.kept += 1
    elif not image.missing:
        plan.missing.append(image)


def _leave_in_cloud(plan: Plan, item: NotOnDisk, image: KnownImage | None) -> None:
    """Note what is not on this disk; a missing row that has its size and time is back, as its content is known."""
    plan.not_on_disk += 1
    if image and image.missing and item.file and (item.file.size, item.file.mtime_ns) == (image.size, image.mtime_ns):
        plan.touched.append(Match(item.file, image))


def _is_inside(path: bytes, unread: set[bytes]) -> bool:
    """Tell whether `path` or a directory around it is among `unread`."""
    return bool(unread) and any(around in unread for around in (b"/", path, *directories_around(path)))


def _compare(plan: Plan, file: ImageFile, image: KnownImage) -> None:
    """Note a file that stands at the path of a row."""
    if file.size != image.size or file.mtime_ns != image.mtime_ns or is_racy(image):
        plan.changed.append(Match(file, image))
    elif image.missing:
        plan.touched.append(Match(file, image))
    else:
        plan.unchanged += 1
        if file.inode != image.inode:
            plan.renumbered.extend((image.id, file.inode))


def is_racy(image: KnownImage) -> bool:
    """Tell whether a write just after the row's read could have left the same modification time behind."""
    return abs(image.read_at_ns - image.mtime_ns) < RACY_WINDOW_NS


def settle_by_content(plan: Plan, digest: Digest) -> None:
    """Turn changed files whose content is still that of their row into touched ones: they keep their vectors."""
    changed: list[Match] = []
    for match in plan.changed:
        same = match.file.size == match.image.size and digest(match.file) == match.image.sha256
        (plan.touched if same else changed).append(match)
    plan.changed = changed


def settle_moves(plan: Plan, gone: Iterable[KnownImage], elsewhere: Iterable[KnownImage], digest: Digest) -> None:
    """Turn new or changed files that have the size and content of a row whose file is gone into moved ones.

    `gone` are missing rows, and rows the scan did not find: such a row moves to the new path. `elsewhere` are rows
    outside the scanned roots whose file cannot be found just now: they stay, and the file gets a copy of the vector.
    """
    pools = (_by_size(gone), _by_size(elsewhere))
    plan.new = [file for file in plan.new if not _settle_move(plan, file, pools, digest)]
    plan.changed = [match for match in plan.changed if not _settle_move(plan, match.file, pools, digest)]
    moved = {match.image.id for match in plan.moved}
    plan.missing = [image for image in plan.missing if image.id not in moved]


_BySize = dict[int, dict[bytes, list[KnownImage]]]


def _by_size(images: Iterable[KnownImage]) -> _BySize:
    """Group rows by size, then by content."""
    groups: _BySize = defaultdict(lambda: defaultdict(list))
    for image in images:
        groups[image.size][image.sha256].append(image)
    return groups


def _settle_move(plan: Plan, file: ImageFile, pools: tuple[_BySize, _BySize], digest: Digest) -> bool:
    """Find the row that `file` continues, note it, and tell whether there was one."""
    if not any(file.size in pool for pool in pools):
        return False
    content = digest(file)
    gone, elsewhere = (pool.get(file.size, {}).get(content or b"", []) for pool in pools)
    if gone:
        plan.moved.append(Match(file, gone.pop(0)))
        return True
    if elsewhere:
        plan.copied.append(Match(file, elsewhere[0]))
        return True
    return False
