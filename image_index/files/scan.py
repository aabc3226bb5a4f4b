"""Directories to image files: a walk in path order.

It opens no file, follows no link unasked, and reports what it cannot read.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from image_index import dataless
from image_index.errors import UsageError
from image_index.files.default_excludes import default_exclude
from image_index.files.globs import Pattern, compile_pattern
from image_index.formats import readable_extensions
from image_index.paths import below, composed, directories_around
from image_index.records import ExcludedDirectory, ImageFile, NotOnDisk, Scanned, ScanProblem

IGNORE_FILE = b".imgidxignore"

_DirectoryId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan takes; `excludes` are gitignore patterns relative to each root.

    With `default_excludes` it leaves out what other programs keep beside pictures; see `files.default_excludes`. With
    `fetch_cloud` it takes files and directories that are not on this disk like all others, and so downloads them.
    """

    hidden: bool = False
    follow_symlinks: bool = False
    excludes: tuple[str, ...] = ()
    default_excludes: bool = True
    fetch_cloud: bool = False
    extensions: frozenset[bytes] = field(default_factory=readable_extensions)


@dataclass(frozen=True, slots=True)
class _Rules:
    """The patterns of one ignore file, last one first, relative to the directory it lies in."""

    base: bytes
    patterns: tuple[Pattern, ...]

    def verdict(self, path: bytes, *, is_directory: bool) -> bool | None:
        """Return True for ignored, False for taken back by a `!` pattern, None for not mentioned."""
        relative = _one_line(composed(os.fsdecode(path[len(self.base) :]))) + ("/" if is_directory else "")
        for regex, ignored in self.patterns:
            if regex.fullmatch(relative):
                return ignored
        return None


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory to walk: its path, the rules that hold in it (innermost first), and the directories it lies in."""

    path: bytes
    rules: tuple[_Rules, ...] = ()
    ancestors: frozenset[_DirectoryId] = frozenset()
    is_whole: bool = True
    """Whether all of it is walked, and not only the ways to what has changed."""


@dataclass(frozen=True, slots=True)
class _Walk:
    """What stays the same during one walk."""

    options: ScanOptions
    others: frozenset[bytes]
    excludes: tuple[_Rules, ...]
    changed: frozenset[bytes]
    ways: frozenset[bytes]
    """The directories around what has changed."""
    looks_for_cloud: bool

    def verdict(self, path: bytes, rules: Iterable[_Rules], *, is_directory: bool) -> bool | None:
        """Return what the first of `rules` that mentions `path` says of it; True too where another root begins."""
        if path in self.others:
            return True
        verdicts = (rule.verdict(path, is_directory=is_directory) for rule in rules)
        return next((verdict for verdict in verdicts if verdict is not None), None)


def scan(
    root: bytes,
    options: ScanOptions,
    others: frozenset[bytes] = frozenset(),
    changed: frozenset[bytes] | None = None,
) -> Iterator[Scanned]:
    """Yield the image files of `root` (an absolute directory or file) in the byte order of their paths.

    A `ScanProblem` stands in place of a directory that cannot be read, a `NotOnDisk` in place of a file or directory in
    a cloud, an `ExcludedDirectory` in place of one that is left out by default, and nothing in place of what the user's
    own patterns leave out. `others` are roots of their own: the walk leaves them out. Of a directory for which
    `changed` is given, only what is at or inside those paths is yielded, and the walk goes only there. Memory is
    bounded by the largest directory. A root that is a file is taken whatever its extension.
    """
    try:
        status = os.stat(root)
        if not stat.S_ISDIR(status.st_mode):
            yield _look_at(root, status, options)
        elif dataless.is_dataless(status) and not options.fetch_cloud:
            yield NotOnDisk(root)
        else:
            yield from _walk(root, options, others, changed)
    except OSError as error:
        yield ScanProblem(root, error.strerror or str(error))


def scan_files(paths: Iterable[bytes], options: ScanOptions) -> Iterator[Scanned]:
    """Yield the files at absolute `paths`, whatever their extensions, in the order in which these come.

    A `ScanProblem` stands in place of what is not there or no file: no directory is walked.
    """
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            yield ScanProblem(path, error.strerror or str(error))
            continue
        if stat.S_ISDIR(status.st_mode):
            yield ScanProblem(path, "a directory: name its files, or train it as a root")
        else:
            yield _look_at(path, status, options)


def _look_at(path: bytes, status: os.stat_result, options: ScanOptions) -> Scanned:
    """Return what the scan yields for what was named itself and is no directory."""
    if not stat.S_ISREG(status.st_mode):
        return ScanProblem(path, "neither a file nor a directory")
    file = ImageFile.of(path, status)
    return NotOnDisk(path, file) if dataless.is_dataless(status) and not options.fetch_cloud else file


def _walk(
    root: bytes, options: ScanOptions, others: frozenset[bytes], changed: frozenset[bytes] | None
) -> Iterator[Scanned]:
    """Walk depth first with a stack of our own: paths may be deeper than Python's recursion limit."""
    excludes = (_exclude_rules(root, options.excludes),) if options.excludes else ()
    looks_for_cloud = dataless.HAS_FLAG and not options.fetch_cloud
    changed = frozenset([root]) if changed is None else changed
    ways = frozenset(around for path in changed for around in directories_around(path))
    walk = _Walk(options, others, excludes, changed, ways, looks_for_cloud=looks_for_cloud)
    stack = [_visit(_Directory(root, is_whole=root in changed), walk)]
    while stack:
        for item in stack[-1]:
            if isinstance(item, _Directory):
                stack.append(_visit(item, walk))
                break
            yield item
        else:
            stack.pop()


def _visit(directory: _Directory, walk: _Walk) -> Iterator[Scanned | _Directory]:
    """Yield what one directory holds, subdirectories in their place, in the byte order of full paths."""
    follow = walk.options.follow_symlinks
    try:
        ancestors = _ancestors(directory) if follow else directory.ancestors
        if ancestors is None:
            return
        names, rules = _list(directory, walk)
    except FileNotFoundError:
        return  # it vanished after its parent was listed; a missing root is reported by scan()
    except OSError as error:
        yield ScanProblem(directory.path, error.strerror or str(error))
        return
    inside = below(directory.path)
    all_rules = walk.excludes + rules
    ruled = bool(walk.others or all_rules)
    for name in names:
        is_directory = name.endswith(b"/")
        path = inside + name.rstrip(b"/")
        verdict = walk.verdict(path, all_rules, is_directory=is_directory) if ruled else None
        if verdict:
            continue
        if is_directory:
            is_whole = directory.is_whole or path in walk.changed
            yield _in_its_place(path, walk, verdict) or _Directory(path, rules, ancestors, is_whole)
            continue
        try:
            status = os.stat(path, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ELOOP}:  # it vanished; a link to nowhere, or to itself
                yield ScanProblem(path, error.strerror or str(error))
            continue
        if stat.S_ISREG(status.st_mode):
            file = ImageFile.of(path, status)
            yield NotOnDisk(path, file) if walk.looks_for_cloud and dataless.is_dataless(status) else file


def _in_its_place(path: bytes, walk: _Walk, verdict: bool | None) -> Scanned | None:
    """Return what stands in place of a directory that is not walked, None for one that is; patterns gave `verdict`."""
    around, _, name = path.rpartition(b"/")
    # A pattern with ! in front, which takes something back, takes back what is left out by default too.
    if walk.options.default_excludes and verdict is None and (reason := default_exclude(name, around)):
        return ExcludedDirectory(path, reason)
    # To list a directory that is in a cloud would download the list, and make it a directory of this disk for good.
    return NotOnDisk(path) if walk.looks_for_cloud and _is_in_cloud(path) else None


def _is_in_cloud(path: bytes) -> bool:
    """Tell whether a directory is not on this disk; one that has vanished is noticed when it is listed."""
    try:
        return dataless.is_dataless(os.stat(path))
    except OSError:
        return False


def _ancestors(directory: _Directory) -> frozenset[_DirectoryId] | None:
    """Return the identities of this directory and all around it, or None if it lies inside itself (a symlink loop)."""
    status = os.stat(directory.path)
    identity = (status.st_dev, status.st_ino)
    return None if identity in directory.ancestors else directory.ancestors | {identity}


def _list(directory: _Directory, walk: _Walk) -> tuple[list[bytes], tuple[_Rules, ...]]:
    """Return the sorted names of a directory's candidates, subdirectories ending in a slash, and the rules inside it.

    The slash makes the walk's order the byte order of full paths: `a.jpg` before `a/b.jpg` before `a0.jpg`. Names
    alone are held, 100 bytes each: an `os.DirEntry` would take half a kilobyte.
    """
    names = []
    rules, options, inside = directory.rules, walk.options, below(directory.path)
    with os.scandir(directory.path) as listing:
        for entry in listing:
            name = entry.name
            if name == IGNORE_FILE:
                rules = _with_ignore_file(directory, rules)
            if name.startswith(b".") and not options.hidden:
                continue
            if not (directory.is_whole or (path := inside + name) in walk.changed or path in walk.ways):
                continue
            is_directory = _is_directory(entry, follow_symlinks=options.follow_symlinks)
            if is_directory:
                names.append(name + b"/")
            elif is_directory is None or name[name.rfind(b".") :].lower() in options.extensions:
                names.append(name)
    names.sort()
    return names, rules


def _is_directory(entry: os.DirEntry[bytes], *, follow_symlinks: bool) -> bool | None:
    """Tell whether an entry is a directory; None where that cannot be known, which must not cost its neighbours."""
    try:
        return entry.is_dir(follow_symlinks=follow_symlinks)
    except OSError:
        return None


def _with_ignore_file(directory: _Directory, rules: tuple[_Rules, ...]) -> tuple[_Rules, ...]:
    """Put the rules of the ignore file in `directory` before those of the directories around it.

    It is read even if it is in a cloud: it has a few bytes, and without it the scan would take what it forbids.
    """
    path = below(directory.path) + IGNORE_FILE
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return rules
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            return (_Rules(below(directory.path), tuple(_patterns(lines))[::-1]), *rules)
    except FileNotFoundError:  # a link to nowhere
        return rules


def check_excludes(excludes: tuple[str, ...]) -> None:
    """Raise `UsageError` for a pattern of `--exclude` that is none."""
    _exclude_rules(b"/", excludes)


def _exclude_rules(root: bytes, excludes: tuple[str, ...]) -> _Rules:
    """Return the rules of `excludes` relative to `root`; raise `UsageError` for one that is no pattern."""
    patterns = []
    for line in excludes:
        pattern = list(_patterns([line]))
        if not pattern:
            raise UsageError(f"--exclude {line!r} is not a gitignore pattern")
        patterns += pattern
    return _Rules(below(root), tuple(patterns[::-1]))


def _patterns(lines: Iterable[str]) -> Iterator[Pattern]:
    """Yield the gitignore patterns of some lines; what git discards is left out."""
    for line in lines:
        # the library's expressions for a last segment of stars do not tell a directory from what is inside it
        whole = re.sub(r"(^!?|/)\*(/?)\s*$", r"\1?*\2", re.sub(r"(^!?|/)\*\*(/?)\s*$", r"\1**/*\2", line))
        try:
            pattern = compile_pattern(_one_line(whole.removesuffix("\n")))
        except ValueError:
            continue
        if pattern is not None:
            yield pattern


def _one_line(text: str) -> str:
    """Put what no file name decodes to in place of newlines, which the `.` of a regular expression does not match."""
    return text.replace("\n", "\udc0a")
