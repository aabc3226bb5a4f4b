"""Watches the roots of an index and says what to bring up to date: `imgidx train --watch`.

What the system tells of changes is a hint where to look, and no more. What has become of a path is found out by a
survey, as in every training; and each hour, or where hints may have been lost, everything is looked at. So a hint that
never comes costs time, and no picture. This is the home of the library `watchfiles`.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import watchfiles
from watchfiles import Change

from image_index.catalog.reader import CatalogReader
from image_index.files.scan import IGNORE_FILE
from image_index.paths import below, directories_around, printable, resolve
from image_index.stop import StopRequest
from image_index.training.pipeline import UpdateRequest

STILL_S = 1.0
"""A file is taken once it has not changed for so long: it may be one that is just being written."""

MOST_WAIT_S = 10.0
"""How long what is still waits for what is not, and how long a storm of changes is left alone."""

MOST_CHANGES = 4096
"""Above so many changes everything is looked at. Linux drops all above 16,384 that nobody has fetched yet."""

RESCAN_S = 3600.0
"""How often everything is looked at, whatever the system tells."""

TICK_MS = 250
"""How often is looked whether to stop, and whether a file is still."""

logger = logging.getLogger(__name__)

_Facts = tuple[int, int, int] | None
_Identity = tuple[int, int] | None


def watch(request: UpdateRequest, stop: StopRequest, rescan_s: float = RESCAN_S) -> Iterator[UpdateRequest]:
    """Yield what to bring up to date, until `stop`: first all of `request`, then what changes, as it changes.

    Whoever takes a request carries it out before it takes the next. The lock of the index is held by each update alone,
    so that other runs may come between; from the second one on an update waits for them as long as they take.
    """
    due, survey, gone, said = request, request.survey, frozenset[bytes](), set[str]()
    while not stop():
        watched = _Watch(request, said)  # before the update: what changes while it looks is told afterwards
        roots = tuple(root for root in survey.roots if root not in gone & watched.gone)  # that it is gone was said
        if roots:
            yield replace(due, survey=replace(survey, roots=roots))
        due, gone = replace(request, wait_s=math.inf), watched.gone
        for changed in watched.batches(stop, time.monotonic() + rescan_s):
            yield replace(due, survey=replace(survey, changed=changed), register_roots=False)


class _Watch:
    """The roots as they are now: where one of them goes, comes or is mounted anew, a new watch has to begin."""

    def __init__(self, request: UpdateRequest, said: set[str]) -> None:
        """Begin to watch; `said` are the warnings that nobody has to read again."""
        self._roots, self._options, self._catalog = request.survey.roots, request.survey.scan, request.home.catalog
        self._home = below(resolve(request.home.path))
        self._identities = {root: _identity(root) for root in self._roots}
        self.gone = frozenset(root for root in self._roots if not self._identities[root])
        self._hints = _hints([root for root in self._roots if root not in self.gone], said)
        next(self._hints)

    def batches(self, stop: StopRequest, until: float) -> Iterator[frozenset[bytes]]:
        """Yield the paths that have changed, each batch once it is still, until everything is to be looked at."""
        pending = _Pending()
        for hints in self._hints:
            pending.note(filter(None, (self._place(change, os.fsencode(path)) for change, path in hints)))
            if stop() or time.monotonic() >= until or self._have_roots_changed():
                return
            if len(pending.looks) > MOST_CHANGES:
                break
            if matter := self._that_matter(pending.take()):
                yield matter
        # too many changes, or the system has lost some: more may be on their way, and files still be being written
        quiet_at = time.monotonic() + MOST_WAIT_S
        while not stop() and time.monotonic() < quiet_at:
            time.sleep(TICK_MS / 1000)

    def _have_roots_changed(self) -> bool:
        """Tell whether a root has gone, come, or become another directory or disk."""
        return any(_identity(root) != identity for root, identity in self._identities.items())

    def _place(self, change: Change, path: bytes) -> bytes | None:
        """Return where to look after a hint, None where no picture can be."""
        if below(path).startswith(self._home):  # every update writes there
            return None
        directory, _, name = path.rpartition(b"/")
        place = directory if name == IGNORE_FILE else path
        root = max((root for root in self._roots if path.startswith(below(root))), key=len, default=path)
        if not self._options.hidden and b"/." in place[len(root) :]:
            return None
        # Of what is no picture only directories matter that come or go; what changes in one is told itself.
        return place if place != path or change != Change.modified or self._is_named(path) else None

    def _is_named(self, path: bytes) -> bool:
        """Tell whether a file of this name is taken for a picture."""
        return path[path.rfind(b".") :].lower() in self._options.extensions or path in self._roots

    def _that_matter(self, paths: frozenset[bytes]) -> frozenset[bytes]:
        """Return those of `paths` where there is a picture or a directory, or where one is known to have been."""
        if not paths:
            return paths
        with CatalogReader(self._catalog) as catalog:
            return frozenset(
                path
                for path in paths
                if os.path.isdir(path) or (self._is_named(path) and os.path.lexists(path)) or catalog.knows(path)
            )


@dataclass(slots=True)
class _Pending:
    """Paths that have changed, each with what is there, and since when that is so."""

    looks: dict[bytes, tuple[_Facts, float]] = field(default_factory=dict)
    since: float = 0.0

    def note(self, paths: Iterable[bytes]) -> None:
        """Note paths that have changed just now."""
        now = time.monotonic()
        self.since = self.since if self.looks else now
        self.looks |= {path: (_facts(path), now) for path in paths}

    def take(self) -> frozenset[bytes]:
        """Take out what is still: once all of it is, or some has waited long enough.

        A directory waits for what is inside it, which would be taken with it.
        """
        now = time.monotonic()
        for path, (facts, _) in self.looks.items():
            if (new := _facts(path)) != facts:
                self.looks[path] = (new, now)
        moving = {path for path, (_, since) in self.looks.items() if now - since < STILL_S}
        if moving and now - self.since < MOST_WAIT_S:
            return frozenset()
        moving.update(*map(directories_around, moving))
        taken = frozenset(self.looks.keys() - moving)
        self.looks = {path: look for path, look in self.looks.items() if path in moving}
        self.since = now
        return taken


def _facts(path: bytes) -> _Facts:
    """Return size, time and inode of what is at `path`, None where nothing is."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _identity(root: bytes) -> _Identity:
    """Return device and inode of a root, None where it is not there."""
    try:
        status = os.stat(root)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _hints(roots: list[bytes], said: set[str]) -> Iterator[set[tuple[Change, str]]]:
    """Begin to watch and yield an empty set; then yield what the system tells, every `TICK_MS`, be it nothing.

    Ends where the system has lost something. Where it cannot watch at all, that is said once, and nothing is ever told.
    """
    has_begun = not roots
    try:
        for hints in _told_of(roots) if roots else ():
            has_begun = True
            yield hints
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: the library takes no path that is not UTF-8
        if has_begun:
            logger.info("Looking at everything, because a change may have been lost: %s", printable(str(error)))
            return
        text = _no_hints_text(str(error))
        if text not in said:
            logger.warning("%s", text)
            said.add(text)
    while True:
        yield set()
        time.sleep(TICK_MS / 1000)


def _told_of(roots: list[bytes]) -> Iterator[set[tuple[Change, str]]]:
    """Yield what the system tells of `roots`; a directory in them that may not be read is passed over."""
    try:
        yield from _watchfiles(roots, ignore_permission_denied=False)
    except PermissionError:
        # Not from the start: with this option watchfiles 1.3 passes over every error, that of too many watches too.
        yield from _watchfiles(roots, ignore_permission_denied=True)


def _watchfiles(roots: list[bytes], *, ignore_permission_denied: bool) -> Iterator[set[tuple[Change, str]]]:
    return watchfiles.watch(
        *map(os.fsdecode, roots),
        watch_filter=None,
        debounce=2 * TICK_MS,
        step=TICK_MS,
        rust_timeout=TICK_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=ignore_permission_denied,
    )


def _no_hints_text(reason: str) -> str:
    """Say that the system tells of no changes, and what to do about it."""
    text = f"the system does not tell of changes ({printable(reason)}); they are found when everything is looked at"
    if "limit" in reason:
        return f"{text}; to watch more directories: sudo sysctl fs.inotify.max_user_watches=1048576"
    return text
