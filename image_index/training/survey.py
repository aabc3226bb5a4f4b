"""Scan the roots and plan what to do, reading the catalog but changing nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from image_index.catalog.reader import CatalogReader
from image_index.errors import Interrupted
from image_index.files.read import hash_file
from image_index.files.scan import ScanOptions, scan, scan_files
from image_index.paths import Span, below, directories_around, only_at, spans
from image_index.records import ImageFile, KnownImage, Progress, Report, Scanned
from image_index.stop import StopRequest
from image_index.training.names import settle_names
from image_index.training.plan import (
    Plan,
    keep_emptied_root,
    plan_update,
    set_names_apart,
    settle_by_content,
    settle_moves,
)


@dataclass(frozen=True, slots=True)
class SurveyOptions:
    """Which roots to scan, and how.

    With `changed` only what is at or inside these paths is looked at, in the way in which all of a root is. With
    `files` the roots do not matter: these alone are looked at, absolute paths in byte order, and nothing is missing.
    """

    roots: tuple[bytes, ...]
    scan: ScanOptions = field(default_factory=ScanOptions)
    retry_failed: bool = False
    changed: frozenset[bytes] | None = None
    files: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class EarlyStart:
    """What to call once so many files are certain to be embedded."""

    start: Callable[[], None] = lambda: None
    files: int = 1


def plan_roots(
    catalog: CatalogReader | None,
    options: SurveyOptions,
    report: Report,
    stop: StopRequest,
    early: EarlyStart = EarlyStart(),
) -> Plan:
    """Scan every root and plan what to do; a root inside another is scanned on its own, once.

    `early` is called as soon as it is certain that so much has to be embedded, once or never, and the scan then goes
    on: the children load their model meanwhile.
    """
    plan = Plan()
    on_new = _count_new_sizes(catalog, early)
    has_names = catalog is not None and catalog.holds_names()
    for part in _parts(catalog, options):
        scanned = _watched(part.scanned, plan, report, stop)
        known = catalog.known_in(part.ranges) if catalog else ()
        failed = catalog.failed_in(part.ranges) if catalog else {}
        names = Plan()
        if catalog and has_names:
            scanned = set_names_apart(scanned, catalog.names_in(part.ranges), names)
        update = plan_update(scanned, known, failed, retry_failed=options.retry_failed, on_new=on_new)
        update.add(names)
        if part.root is not None and not (options.changed and _is_any_left(catalog, part.root, update)):
            update = keep_emptied_root(update, part.root)
        plan.add(update)
    settle_names(plan, catalog)

    def digest(file: ImageFile) -> bytes | None:
        return hash_file(file.path, fetch_cloud=options.scan.fetch_cloud)

    # Content comes last, for reading it is what costs: only files whose size or time differs from their row's are read,
    # and new ones only if a row whose file is gone has the same size.
    settle_by_content(plan, digest)
    if catalog and plan.embed_count:
        settle_moves(plan, _gone(catalog, plan), _elsewhere(catalog, plan), digest)
    if plan.names:  # a path that is another file's name now: the content that it had has gone, nothing is missing there
        taken = {name.path for name in plan.names}
        plan.missing = [image for image in plan.missing if image.path not in taken]
    return plan


def _count_new_sizes(catalog: CatalogReader | None, early: EarlyStart) -> Callable[[ImageFile], None]:
    """Return a callback for `plan_update`: it starts early once there are enough new files whose size no row has.

    Such a file cannot be a moved one, whose vector is known; one of a known size may be.
    """
    is_known: dict[int, bool] = {}
    count = 0

    def look(file: ImageFile) -> None:
        nonlocal count
        if count < early.files:
            if file.size not in is_known:
                is_known[file.size] = catalog is not None and any(catalog.images_of_size((file.size,)))
            count += not is_known[file.size]
            if count == early.files:
                early.start()

    return look


class _Part(NamedTuple):
    """What lies on the disk, and the ranges of paths in which the catalog is compared with it, both in path order.

    `root` is the one that it is, or that it is of; None for a list of files.
    """

    scanned: Iterator[Scanned]
    ranges: Sequence[Span]
    root: bytes | None = None


def _parts(catalog: CatalogReader | None, options: SurveyOptions) -> Iterator[_Part]:
    """Yield what a survey compares: its list of files, or each root, or of each what has changed there."""
    if options.files is not None:
        yield _Part(scan_files(options.files, options.scan), list(only_at(options.files)))
        return
    roots = all_roots(catalog, options)
    for root in roots:
        inner = frozenset(other for other in roots if other.startswith(below(root)) and other != root)
        if options.changed is None:
            yield _Part(scan(root, options.scan, inner), list(spans([root], inner)), root)
        elif changed := _changed_in(root, options.changed):
            yield _Part(scan(root, options.scan, inner, changed), list(spans(changed, inner)), root)


def _changed_in(root: bytes, changed: frozenset[bytes]) -> frozenset[bytes]:
    """Return what has changed in `root`: where that is a directory around it, the root itself."""
    if not changed.isdisjoint((root, *directories_around(root))):
        return frozenset([root])
    return frozenset(path for path in changed if path.startswith(below(root)))


def _is_any_left(catalog: CatalogReader | None, root: bytes, update: Plan) -> bool:
    """Tell whether `root` still has any known picture but those that the update of a part of it does not find."""
    gone = {image.id for image in update.missing}
    known = (image for image in (catalog.known(root) if catalog else ()) if not image.missing and image.id not in gone)
    return any(os.path.lexists(image.path) for image in known)


def all_roots(catalog: CatalogReader | None, options: SurveyOptions) -> list[bytes]:
    """Return the roots asked for and the known ones inside them that are still there, in path order."""
    known = [root.path for root in catalog.roots()] if catalog else []
    inside = {
        path for path in known if any(path.startswith(below(root)) for root in options.roots) and os.path.lexists(path)
    }
    return sorted({*options.roots, *inside})


def _watched(scanned: Iterable[Scanned], plan: Plan, report: Report, stop: StopRequest) -> Iterator[Scanned]:
    """Yield what a scan yields and report progress; raise `Interrupted` after a signal: nothing is lost yet."""
    seen = plan.embed_count + plan.unchanged + plan.failed_before
    for count, item in enumerate(scanned, seen):
        if count % 1000 == 0:
            report(Progress("scan", count))
            if stop.signal_number:
                raise Interrupted(stop.signal_number)
        yield item


def _gone(catalog: CatalogReader, plan: Plan) -> Iterator[KnownImage]:
    """Yield the rows whose file is gone: missing since this scan, or missing before and still not there."""
    yield from plan.missing
    back = {match.image.id for match in plan.touched}
    for image in catalog.missing_images():
        if image.id not in back and not os.path.lexists(image.path):
            yield image


def _elsewhere(catalog: CatalogReader, plan: Plan) -> Iterator[KnownImage]:
    """Yield rows outside the scanned roots with the size of a file to embed, whose own file is not there now."""
    missing = {image.id for image in plan.missing}
    for image in catalog.images_of_size({file.size for file in plan.files_to_embed}):
        if not image.missing and image.id not in missing and not os.path.lexists(image.path):
            yield image
