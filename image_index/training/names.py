"""Which scanned files are one file under several names: it is one image, and not embedded again for each.

A scan and the catalog only say which paths may lead to one file, for they had the same inode; `files.identity` looks at
them as they are now. So an inode that was given to another file, or numbers that a file system gives anew with each
mount, never make two different files one.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.reader import CatalogReader
from image_index.files.identity import find_file, group_by_file, is_link, is_one_file
from image_index.records import ImageFile, KnownImage, Match, OtherName
from image_index.training.plan import Plan, is_racy

MANY = 1000
"""Above so many inodes, those of all rows are read once, in place of a question for each."""


def settle_names(plan: Plan, catalog: CatalogReader | None) -> None:
    """Find the names in `plan` that lead to one file, and leave one of them; the others are noted as its names.

    The main name is one that is no symbolic link, rather one that has a row already, and the first in path order. An
    image whose own path has gone, or has become another file, goes on under one of its other names.
    """
    confirmed = _settle_doubt(plan, catalog)
    suspects = _Suspects(plan, catalog, confirmed)
    for paths in suspects.paths():
        for group in group_by_file(sorted(paths)):
            suspects.unite(group)
    suspects.leave_names_out()
    if catalog and catalog.holds_names():
        _replace_missing(plan, catalog, {file.path for file in confirmed})
        _replace_changed(plan, catalog)


def _settle_doubt(plan: Plan, catalog: CatalogReader | None) -> list[ImageFile]:
    """Look again at names whose file is not as it was: another file at such a path is a new one.

    So is the file itself if nothing stands at its main path any more, as where a file that failed is left out now.
    Returns the names that lead where their main path leads: there may be another file than there was, too.
    """
    confirmed, released = [], []
    planned = _planned_among({main for _, main in plan.names_in_doubt}, plan)
    for file, main in plan.names_in_doubt:
        row = catalog.image_at(main) if catalog else None
        has_failed = _has_failed(plan, catalog, file, main)
        stands = main in planned or has_failed or (row is not None and not row.missing)
        if not stands or not is_one_file(file.path, main):
            released.append(file)
        elif not has_failed:
            confirmed.append(file)
    plan.names_gone += [file.path for file in released]
    plan.new += released
    plan.names_known += len(plan.names_in_doubt) - len(released)
    plan.names_in_doubt = []
    return confirmed


def _planned_among(paths: set[bytes], plan: Plan) -> set[bytes]:
    """Return those of `paths` of which a plan says what is done there."""
    matches = (match.file for match in chain(plan.changed, plan.touched))
    lost = (image.path for image in plan.missing)
    return paths.intersection(chain((file.path for file in chain(plan.new, matches)), lost))


def _has_failed(plan: Plan, catalog: CatalogReader | None, file: ImageFile, main: bytes) -> bool:
    """Tell whether a file has failed, under its main path, as it is now."""
    known = catalog.failure_at(main) if catalog else None
    if known is None or main in plan.failures_gone:
        return False
    return (known.failure.file.size, known.failure.file.mtime_ns) == (file.size, file.mtime_ns)


class _Suspects:
    """The paths of a plan that may lead to one file: the same inode stands beside them in scan or catalog.

    Only these are looked at: of a million new files that have an inode each, nothing is held but the numbers.
    """

    def __init__(self, plan: Plan, catalog: CatalogReader | None, confirmed: list[ImageFile]) -> None:
        self._plan, self._catalog, self._confirmed = plan, catalog, confirmed
        self._new: set[bytes] = set()
        self._changed: set[bytes] = set()
        self._missing = {image.path for image in plan.missing}
        self._lost = {image.id for image in chain(plan.missing, (match.image for match in plan.changed))}
        self._gone = set(plan.names_gone)
        self._settled: set[bytes] = set()
        self._moved: set[int] = set()

    def paths(self) -> list[set[bytes]]:
        """Return the sets of paths that had one inode when they were last looked at."""
        plan, catalog = self._plan, self._catalog
        changed = [match.file for match in (*plan.changed, *plan.touched)] + self._confirmed
        scanned = np.fromiter((file.inode for file in chain(plan.new, changed)), np.int64)
        known = catalog.shared_inodes() if catalog else np.empty(0, np.int64)
        every = np.concatenate([scanned, np.array(plan.renumbered, np.int64)[1::2], known])
        inodes, counts = np.unique(every, return_counts=True)
        paths: dict[int, set[bytes]] = {inode: set() for inode in inodes[counts > 1].tolist() if inode}
        if catalog and catalog.read_last_id():
            self._add_known(catalog, inodes, paths)
        for files, suspects in ((plan.new, self._new), (changed, self._changed)):
            for file in files:
                if file.inode in paths:
                    paths[file.inode].add(file.path)
                    suspects.add(file.path)
        return [group for group in paths.values() if len(group) > 1]

    def _add_known(self, catalog: CatalogReader, inodes: NDArray[np.int64], paths: dict[int, set[bytes]]) -> None:
        """Add to `paths`, by inode, those that the catalog knows of these inodes."""
        if len(inodes) > MANY:
            inodes = np.intersect1d(inodes, catalog.inodes(), assume_unique=True)
        for inode in filter(None, inodes.tolist()):
            for image in catalog.images_of_inode(inode):
                paths.setdefault(inode, set()).update(catalog.names_at(image.path))
        for file in self._confirmed:
            paths.setdefault(file.inode, set()).update(catalog.names_at(file.path))
        for image_id, inode in zip(self._plan.renumbered[::2], self._plan.renumbered[1::2], strict=True):
            found = catalog.image_of_id(image_id) if inode in paths else None
            if found:
                paths[inode].update(catalog.names_at(found.path))

    def unite(self, group: list[bytes]) -> None:
        """Choose the main name of one file among its paths, and note the others as its names."""
        rows = self._rows(group)
        # a row whose path this scan leaves out, or an earlier one did, gives its vector to a name that is taken in
        names = [path for path in group if self._is_taken_in(path, rows.get(path))]
        if len(group) == 1 or not names:
            return
        main = min(names, key=lambda path: (is_link(path), path not in rows, path in self._changed, path))
        file = find_file(main)
        if file is None:  # gone meanwhile
            return
        if main not in rows:
            self._continue(file, [row for path, row in sorted(rows.items()) if path not in self._changed])
        elif main not in self._changed and file[1:3] != (rows[main].size, rows[main].mtime_ns):
            self._plan.changed.append(Match(file, rows[main]))  # this scan has met it under other names alone
        others = [path for path in names if path != main]
        self._settled.update(others)
        self._plan.missing += [row for path, row in rows.items() if path in others and self._is_lost(row, group)]
        self._plan.names += [OtherName(path, main) for path in others if not self._is_known(path, main)]

    def leave_names_out(self) -> None:
        """Take the other names out of what has to be done."""
        plan = self._plan
        if self._settled or self._moved:
            plan.new = [file for file in plan.new if file.path not in self._settled]
            plan.changed = [match for match in plan.changed if match.file.path not in self._settled]
            plan.touched = [match for match in plan.touched if match.file.path not in self._settled]
            plan.missing = [image for image in plan.missing if image.id not in self._moved]

    def _rows(self, group: list[bytes]) -> dict[bytes, KnownImage]:
        """Return the rows that stand at paths themselves."""
        found = ((path, self._catalog.image_at(path)) for path in group) if self._catalog else ()
        return {path: image for path, image in found if image and image.path == path}

    def _is_taken_in(self, path: bytes, row: KnownImage | None) -> bool:
        """Tell whether a path is one that the index takes in."""
        if path in self._new or path in self._changed:
            return True
        left_out = path in self._missing or (row is not None and row.missing)
        return not left_out and path not in self._gone

    def _is_lost(self, row: KnownImage, group: list[bytes]) -> bool:
        """Tell whether the file of a row, whose path now leads to that of `group`, is or may be under other names."""
        if row.id in self._moved or self._catalog is None:
            return False
        return row.path in self._changed or any(name not in group for name in self._catalog.other_names(row.path))

    def _is_known(self, path: bytes, main: bytes) -> bool:
        """Tell whether the catalog knows a path as another name of `main`."""
        return self._catalog is not None and path != main and main in self._catalog.names_at(path)[:1]

    def _continue(self, file: ImageFile, rows: list[KnownImage]) -> None:
        """Let one of `rows` go on as that of `file`, which has none; where none has its content, it is a new file."""
        for row in rows:
            if (row.size, row.mtime_ns) == (file.size, file.mtime_ns):
                self._plan.moved.append(Match(file, row))
                self._moved.add(row.id)
                self._settled.add(file.path)
                return
        if file.path not in self._new and not self._is_heir(file.path):
            self._plan.new.append(file)

    def _is_heir(self, path: bytes) -> bool:
        """Tell whether a path is a known name of an image that has lost its own path: it goes on there, see below."""
        image = self._catalog.image_at(path) if self._catalog else None
        return image is not None and image.id in self._lost and path not in self._changed


def _replace_missing(plan: Plan, catalog: CatalogReader, confirmed: set[bytes]) -> None:
    """Let images whose path is gone go on under another name.

    No file is looked into: what is known at the other name is what was known at the path. It may be on a disk that is
    not mounted now; then the image is kept as all pictures there are.
    """
    taken = _names_taken(plan) | confirmed
    gone = []
    for image in plan.missing:
        names = [name for name in catalog.other_names(image.path) if name not in taken]
        there = [file for name in names if is_racy(image) and (file := find_file(name))]
        if there:  # what was known need not be true: it is read again, which tells whether it has moved there
            plan.new.append(there[0])
            plan.names_gone.append(there[0].path)
            plan.names += [OtherName(name, there[0].path) for name in names if name != there[0].path]
            gone.append(image)
        elif names:
            name = min(names, key=lambda path: (find_file(path) is None, is_link(path), path))
            plan.moved.append(Match(_as_known(image, name), image))
        else:
            gone.append(image)
    plan.missing = gone


def _replace_changed(plan: Plan, catalog: CatalogReader) -> None:
    """Let images whose path has become another file go on under a name that still leads to the old one."""
    taken = _names_taken(plan)
    changed = []
    for match in plan.changed:
        names = [name for name in catalog.other_names(match.image.path) if name not in taken]
        others = [name for name in names if not is_one_file(name, match.file.path)]
        there = {name: file for name in others if (file := find_file(name))}
        same = [name for name, file in there.items() if file == _as_known(match.image, name)]
        plan.names_gone += [name for name in there if name not in same]
        if same:
            plan.moved.append(Match(there[min(same, key=is_link)], match.image))
            plan.names += [OtherName(name, match.file.path) for name in names if name not in others]
            plan.new.append(match.file)
        else:
            changed.append(match)
    plan.changed = changed


def _names_taken(plan: Plan) -> set[bytes]:
    """Return the names of which it is known already what becomes of them."""
    return {name.path for name in plan.names} | set(plan.names_gone)


def _as_known(image: KnownImage, path: bytes) -> ImageFile:
    """Return the file of an image under another of its names."""
    return ImageFile(path, image.size, image.mtime_ns, image.inode)
