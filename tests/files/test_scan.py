"""Scanning real directories, against `os.walk` and git."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from image_index.errors import UsageError
from image_index.files.scan import ScanOptions, scan, scan_files
from image_index.paths import below
from image_index.records import ExcludedDirectory, ExcludeReason, ImageFile, NotOnDisk, ScanProblem
from tests.support.cloud import send_to_cloud

JPEGS = ScanOptions(extensions=frozenset({b".jpg"}))
EVERY_JPEG = ScanOptions(hidden=True, extensions=frozenset({b".jpg"}))
GIT_ENVIRONMENT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}

NAMES = st.sampled_from([b"a", b"a.jpg", b"a-.jpg", b"a0.jpg", b"a.JPG", b"b\n.jpg", b".h", b".h.jpg", b"c.txt"]) | (
    st.binary(min_size=1, max_size=5).map(lambda name: name.replace(b"\0", b"_").replace(b"/", b"_") + b".jpg")
)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none(), lambda inside: st.dictionaries(NAMES, inside, max_size=5), max_leaves=20
)

_opened: list[Any] = []
sys.addaudithook(lambda event, arguments: _opened.append(arguments[0]) if event == "open" else None)


def make_tree(directory: bytes, tree: dict[bytes, Any] | None) -> None:
    """Write a tree of files (None) and directories, as far as the system allows their names."""
    for name, inside in (tree or {}).items():
        path = os.path.join(directory, name)
        with suppress(OSError):
            if inside is None:
                with open(path, "wb") as file:
                    file.write(name)
            else:
                os.mkdir(path)
                make_tree(path, inside)


def make_files(directory: Path, *names: str) -> None:
    """Write empty files, and the directories they lie in."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(directory: Path, options: ScanOptions = JPEGS) -> list[str]:
    """Return the relative paths of what a scan finds, in its order; there must be no problem."""
    root = os.fsencode(directory)
    items = list(scan(root, options))
    assert [item for item in items if isinstance(item, ScanProblem)] == []
    return [os.fsdecode(os.path.relpath(item.path, root)) for item in items]


@settings(max_examples=60)
@given(TREES, st.booleans())
def test_scan_finds_what_os_walk_finds_in_path_order(tree: Any, hidden: bool) -> None:
    """The order is that of the full paths as bytes, and each file comes once with its size and time."""
    with tempfile.TemporaryDirectory() as temporary:
        root = os.fsencode(temporary)
        make_tree(root, tree)
        expected = []
        for directory, _, names in os.walk(root):
            for path in (os.path.join(directory, name) for name in names):
                is_hidden = any(part.startswith(b".") for part in os.path.relpath(path, root).split(b"/"))
                if path.lower().endswith(b".jpg") and (hidden or not is_hidden):
                    expected.append(ImageFile.of(path, os.stat(path)))
        expected.sort(key=lambda file: file.path)
        assert list(scan(root, ScanOptions(hidden=hidden, extensions=frozenset({b".jpg"})))) == expected


@settings(max_examples=60)
@given(TREES, st.data())
def test_a_scan_of_what_has_changed_is_that_part_of_the_whole(tree: Any, data: st.DataObject) -> None:
    """The same items by the same rules, also where directories above hide or exclude them, and none beside them."""
    with tempfile.TemporaryDirectory() as temporary:
        root = os.fsencode(temporary)
        make_tree(root, tree)
        every = [os.path.join(directory, name) for directory, inside, files in os.walk(root) for name in inside + files]
        for directory in data.draw(st.sets(st.sampled_from([root, *filter(os.path.isdir, every)]), max_size=2)):
            Path(os.fsdecode(directory), ".imgidxignore").write_text(
                data.draw(st.sampled_from(["a*", "*.jpg\n!a.jpg"]))
            )
        changed = data.draw(st.frozensets(st.sampled_from([root, root + b"/gone/x.jpg", *every]), max_size=4))
        options = ScanOptions(excludes=("b*",), extensions=frozenset({b".jpg"}))
        whole = scan(root, options)
        part = [item for item in whole if any(below(item.path).startswith(below(path)) for path in changed)]
        assert list(scan(root, options, changed=changed)) == part


def test_a_scan_of_what_has_changed_lists_no_other_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One new picture in a large tree costs the directories on the way to it."""
    make_files(tmp_path, "a/deep/1.jpg", "a/deep/er/2.jpg", "b/3.jpg")
    root, listed, scandir = os.fsencode(tmp_path), [], os.scandir

    def list_directory(path: bytes) -> Any:
        listed.append(os.path.relpath(path, root))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", list_directory)
    assert len(list(scan(root, JPEGS, changed=frozenset([root + b"/a/deep/1.jpg"])))) == 1
    assert listed == [b".", b"a", b"a/deep"]


def test_files_of_a_list_are_taken_as_they_are(tmp_path: Path) -> None:
    """No rule leaves one out, no directory is walked, and what is not there is said in its place."""
    make_files(tmp_path, ".hidden.jpg", "b.txt", "d/c.jpg")
    os.mkfifo(tmp_path / "fifo")
    paths = [os.fsencode(tmp_path / name) for name in (".hidden.jpg", "b.txt", "d", "fifo", "none.jpg")]
    *files, directory, fifo, none = scan_files(iter(paths), ScanOptions(excludes=("*",)))
    assert files == [ImageFile.of(path, os.stat(path)) for path in paths[:2]]
    for problem, reason in ((directory, "a directory"), (fifo, "neither a file"), (none, "No such file")):
        assert isinstance(problem, ScanProblem)
        assert problem.reason.startswith(reason)


def test_a_listed_file_in_a_cloud_is_left_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is to be downloaded."""
    make_files(tmp_path, "a.jpg")
    path = os.fsencode(tmp_path / "a.jpg")
    send_to_cloud(monkeypatch, tmp_path / "a.jpg")
    assert [type(item) for item in scan_files([path], ScanOptions())] == [NotOnDisk]
    assert [type(item) for item in scan_files([path], ScanOptions(fetch_cloud=True))] == [ImageFile]


def test_default_extensions_are_taken_in_any_case(tmp_path: Path) -> None:
    """Cameras write .JPG; text files are not pictures; a name that is all extension is hidden, not a picture."""
    make_files(tmp_path, "a.JPG", "b.jpg", "c.Jpeg", "d.txt", "e", "jpg", ".jpg", "f.jpg.part", "g.HeIc")
    assert found(tmp_path, ScanOptions()) == ["a.JPG", "b.jpg", "c.Jpeg", "g.HeIc"]


def test_any_name_the_system_allows_is_found(tmp_path: Path) -> None:
    """Newlines, quotes, spaces and invalid UTF-8 come through as the bytes they are."""
    root = os.fsencode(tmp_path)
    names = [b" .jpg", b"\n.jpg", b"'\".jpg", b"\\x.jpg", b"-n.jpg", b"\xff\xfe.jpg", "ü.jpg".encode(), b"new\nline"]
    make_tree(root, dict.fromkeys(names) | {b"new\nline": {b"in.jpg": None}})
    paths = [item.path for item in scan(root, JPEGS)]
    listed = [name for name in os.listdir(root) if name.endswith(b".jpg")] + [b"new\nline/in.jpg"]
    assert len(listed) >= 7
    assert paths == sorted(os.path.join(root, name) for name in listed)


def test_hidden_root_is_scanned(tmp_path: Path) -> None:
    """What a user names is not hidden."""
    make_files(tmp_path, ".album/a.jpg", ".album/.b.jpg")
    assert found(tmp_path / ".album") == ["a.jpg"]


def test_directory_deeper_than_the_recursion_limit_is_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth costs no stack."""
    deep = "d/" * 200 + "a.jpg"
    make_files(tmp_path, deep)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        items = list(scan(os.fsencode(tmp_path), JPEGS))
    finally:
        sys.setrecursionlimit(limit)
    assert [item.path for item in items] == [os.fsencode(tmp_path / deep)]


def test_other_roots_are_left_out(tmp_path: Path) -> None:
    """A root inside a root, a directory or a file, is scanned on its own."""
    make_files(tmp_path, "a.jpg", "b.jpg", "in/c.jpg", "in/deep/d.jpg", "inn/e.jpg")
    others = frozenset(os.fsencode(tmp_path / name) for name in ("b.jpg", "in"))
    assert [item.path for item in scan(os.fsencode(tmp_path), JPEGS, others)] == [
        os.fsencode(tmp_path / name) for name in ("a.jpg", "inn/e.jpg")
    ]


# Roots that are no directories


def test_root_that_is_a_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    """Who names a file means it."""
    path = tmp_path / "scan-without-extension"
    path.write_bytes(b"1234")
    assert list(scan(os.fsencode(path), JPEGS)) == [ImageFile.of(os.fsencode(path), path.stat())]


def test_root_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    """An unmounted disk is reported, not taken for an empty one."""
    root = os.fsencode(tmp_path / "gone")
    (problem,) = scan(root, JPEGS)
    assert problem == ScanProblem(root, os.strerror(2))


def test_root_that_is_a_fifo_is_a_problem(tmp_path: Path) -> None:
    """A FIFO is not opened, not even when it is named."""
    os.mkfifo(tmp_path / "fifo.jpg")
    (problem,) = scan(os.fsencode(tmp_path / "fifo.jpg"), JPEGS)
    assert isinstance(problem, ScanProblem)


# What is not opened, and what cannot be


def test_scan_opens_no_picture_and_no_special_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIFOs, sockets and devices are passed over, and even pictures are not opened: Python's audit hook saw nothing."""
    make_files(tmp_path, "a.jpg", "in/b.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    os.mkfifo(tmp_path / ".imgidxignore")
    (tmp_path / "null.jpg").symlink_to(os.devnull)
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        _opened.clear()
        for follow in (False, True):
            options = ScanOptions(hidden=True, follow_symlinks=follow, extensions=JPEGS.extensions)
            assert found(tmp_path, options) == ["a.jpg", "in/b.jpg"]
    assert [path for path in _opened if str(tmp_path) in str(path)] == []


def test_audit_hook_sees_what_is_opened(tmp_path: Path) -> None:
    """The test above can fail: an ignore file, which is opened, is seen."""
    (tmp_path / ".imgidxignore").touch()
    _opened.clear()
    found(tmp_path)
    assert [os.fsdecode(path) for path in _opened if isinstance(path, bytes)] == [str(tmp_path / ".imgidxignore")]


def refuse(monkeypatch: pytest.MonkeyPatch, *directories: Path) -> None:
    """Let listing these directories fail as it does for a user without the right to; root may list all."""
    refused = {os.fsencode(directory) for directory in directories}
    scandir = os.scandir

    def refusing(path: bytes) -> Any:
        if path in refused:
            raise PermissionError(13, os.strerror(13), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_unreadable_directory_is_a_problem_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem stands where its pictures would: after `in-.jpg`, before `in0.jpg`."""
    make_files(tmp_path, "in-.jpg", "in/a.jpg", "in/deep/b.jpg", "in0.jpg")
    refuse(monkeypatch, tmp_path / "in")
    root = os.fsencode(tmp_path)
    items = list(scan(root, JPEGS))
    assert [item.path for item in items] == [root + b"/in-.jpg", root + b"/in", root + b"/in0.jpg"]
    assert items[1] == ScanProblem(root + b"/in", os.strerror(13))


def test_unreadable_root_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that cannot be listed is reported by its own path."""
    refuse(monkeypatch, tmp_path)
    assert list(scan(os.fsencode(tmp_path), JPEGS)) == [ScanProblem(os.fsencode(tmp_path), os.strerror(13))]


def test_ignored_directory_is_never_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Excluding what cannot be read is the way to be rid of its warning."""
    make_files(tmp_path, "a.jpg", "in/b.jpg", ".hidden/c.jpg")
    refuse(monkeypatch, tmp_path / "in", tmp_path / ".hidden")
    assert found(tmp_path, ScanOptions(excludes=("in/",))) == ["a.jpg"]


def test_what_vanishes_during_the_scan_is_no_problem(tmp_path: Path) -> None:
    """Files and directories may go away between being listed and being looked at."""
    make_files(tmp_path, "a.jpg", "b.jpg", "c/d.jpg", "e.jpg")
    items = scan(os.fsencode(tmp_path), JPEGS)
    next(items)
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c/d.jpg").unlink()
    (tmp_path / "c").rmdir()
    assert [item.path for item in items] == [os.fsencode(tmp_path / "e.jpg")]


# Symlinks

FOLLOW = ScanOptions(follow_symlinks=True, extensions=JPEGS.extensions)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Give a root with links to a directory and a picture outside it."""
    make_files(tmp_path, "root/a.jpg", "outside/b.jpg")
    (tmp_path / "root/directory").symlink_to(tmp_path / "outside")
    (tmp_path / "root/file.jpg").symlink_to(tmp_path / "outside/b.jpg")
    return tmp_path / "root"


def test_links_are_not_followed_unasked(linked: Path) -> None:
    """Neither links to directories nor links to pictures."""
    assert found(linked) == ["a.jpg"]


def test_links_are_followed_on_request(linked: Path) -> None:
    """What lies behind a link is found under the link's name."""
    assert found(linked, FOLLOW) == ["a.jpg", "directory/b.jpg", "file.jpg"]


def test_link_loops_end(tmp_path: Path) -> None:
    """Links to oneself, upwards and to each other end, and what stands beside them is found."""
    make_files(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "b/a").symlink_to("../a")
    (tmp_path / "b/itself").symlink_to("itself")
    (tmp_path / "b/itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "b/nowhere.jpg").symlink_to("nothing")
    assert found(tmp_path, FOLLOW) == ["a/b/y.jpg", "a/x.jpg", "b/a/x.jpg", "b/y.jpg"]


def test_link_that_cannot_be_looked_at_costs_only_itself(tmp_path: Path) -> None:
    """It is reported, as a directory might lie behind it; its neighbours are found."""
    make_files(tmp_path, "a.jpg", "z.jpg")
    (tmp_path / "link").symlink_to("n" * 300)  # ENAMETOOLONG, even for root
    root = os.fsencode(tmp_path)
    items = list(scan(root, FOLLOW))
    assert [item.path for item in items] == [root + b"/a.jpg", root + b"/link", root + b"/z.jpg"]
    assert [type(item) for item in items] == [ImageFile, ScanProblem, ImageFile]


# Ignore files and excludes


@pytest.mark.parametrize("pattern", ["caf\u00e9*", "cafe\u0301*"], ids=["composed", "decomposed"])
def test_a_pattern_means_a_name_however_it_is_composed(tmp_path: Path, pattern: str) -> None:
    """macOS decomposes what keyboards type composed."""
    for number, name in enumerate(("caf\u00e9", "cafe\u0301", "cafe")):
        (tmp_path / f"{name}{number}.jpg").touch()
    assert found(tmp_path, ScanOptions(excludes=(pattern,))) == ["cafe2.jpg"]
    (tmp_path / ".imgidxignore").write_text(pattern, encoding="utf-8")
    assert found(tmp_path) == ["cafe2.jpg"]


SEGMENTS = st.sampled_from(
    ["a", "b", "ab", "*", "**", "f.jpg", "*.jpg", "?", "[ab]", "[!a]", "a*", "*b", "a**b", "x*", "\\a", "sp ace"]
)
ODD_PATTERNS = st.sampled_from(
    ["", " ", "#a", "\\#a", "!", "\\!a", "/", "\\", "a\\", "[z-a]", "*.jpg  ", "a\\ ", "b\r", ".*", "!.*", "n*"]
)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Return a gitignore pattern."""
    body = "/".join(draw(st.lists(SEGMENTS, min_size=1, max_size=3)))
    return (
        draw(st.sampled_from(["", "", "!"]))
        + draw(st.sampled_from(["", "/"]))
        + body
        + draw(st.sampled_from(["", "/"]))
    )


PATTERN_LISTS = st.lists(patterns() | ODD_PATTERNS, max_size=4)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a git repository of pictures, two directories deep."""
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet", root], check=True, env=os.environ | GIT_ENVIRONMENT)
    directories = ["", *"ab", "ab", "x\ny", *(f"{one}/{two}" for one in "ab" for two in ("a", "b", "sp ace")), "a/b/a"]
    for directory in directories:
        make_files(root / directory, "f.jpg", "a.jpg", "b.x.jpg", "n\nl.jpg", ".h.jpg")
    return root


def kept_by_git(repository: Path) -> list[str]:
    """Return the pictures that git does not ignore, in path order."""
    paths = sorted(os.fsencode(path.relative_to(repository)) for path in repository.rglob("*.jpg"))
    command = ["git", "-C", str(repository), "check-ignore", "-z", "--stdin", "--no-index"]
    answer = subprocess.run(
        command, input=b"\0".join(paths), capture_output=True, check=False, env=os.environ | GIT_ENVIRONMENT
    )
    assert answer.returncode in {0, 1}, answer.stderr
    ignored = set(answer.stdout.split(b"\0"))
    return [os.fsdecode(path) for path in paths if path not in ignored]


@settings(max_examples=80)
@given(contents=st.tuples(PATTERN_LISTS, PATTERN_LISTS, PATTERN_LISTS))
@example(contents=(["*.jpg"], ["!b/"], []))  # a directory taken back takes back nothing in it
@example(contents=(["a/**", "!a/f.jpg", "!b/**"], [], []))  # what lies in a directory is not the directory
@example(contents=(["*", "!*/", "!f.jpg"], ["f.jpg"], ["!f.jpg"]))
@example(contents=(["/*", "!/a/", "x*/f.jpg"], ["/*/", "!/b"], ["**/a/"]))
def test_ignore_files_mean_what_git_means(repository: Path, contents: tuple[list[str], ...]) -> None:
    """Whatever stands in nested ignore files, `git check-ignore` ignores the same pictures."""
    for directory, lines in zip(("", "a", "a/b"), contents, strict=True):
        for name in (".gitignore", ".imgidxignore"):
            (repository / directory / name).write_text("".join(f"{line}\n" for line in lines), newline="")
    assert found(repository, EVERY_JPEG) == kept_by_git(repository)


@settings(max_examples=40)
@given(st.lists(patterns(), max_size=4))
def test_excludes_mean_what_git_means(repository: Path, lines: list[str]) -> None:
    """`--exclude` patterns are those of an ignore file in the root."""
    for directory in ("", "a", "a/b"):
        (repository / directory / ".imgidxignore").unlink(missing_ok=True)
        (repository / directory / ".gitignore").unlink(missing_ok=True)
    (repository / ".gitignore").write_text("".join(f"{line}\n" for line in lines), newline="")
    options = ScanOptions(hidden=True, excludes=tuple(lines), extensions=JPEGS.extensions)
    assert found(repository, options) == kept_by_git(repository)


def test_excludes_win_over_ignore_files(tmp_path: Path) -> None:
    """What the command line excludes no file brings back, however deep it lies."""
    make_files(tmp_path, "a.jpg", "b.jpg", "in/a.jpg", "in/b.jpg")
    for directory in (tmp_path, tmp_path / "in"):
        (directory / ".imgidxignore").write_text("!a.jpg\n")
    assert found(tmp_path, ScanOptions(excludes=("a.jpg",))) == ["b.jpg", "in/b.jpg"]


def test_ignore_files_hold_with_hidden_files_too(tmp_path: Path) -> None:
    """`--hidden` shows hidden pictures but not the ignored ones among them."""
    make_files(tmp_path, ".a.jpg", ".b.jpg")
    (tmp_path / ".imgidxignore").write_text(".b*\n")
    assert found(tmp_path, EVERY_JPEG) == [".a.jpg"]


def test_byte_order_mark_of_an_ignore_file_is_not_a_pattern(tmp_path: Path) -> None:
    """Windows editors write one; git skips it."""
    make_files(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / ".imgidxignore").write_bytes("\ufeffa.jpg\r\n".encode())
    assert found(tmp_path) == ["b.jpg"]


def test_ignore_file_that_is_a_dead_link_ignores_nothing(tmp_path: Path) -> None:
    """Its directory is scanned all the same."""
    make_files(tmp_path, "in/a.jpg")
    (tmp_path / "in/.imgidxignore").symlink_to("nothing")
    assert found(tmp_path) == ["in/a.jpg"]


@pytest.mark.parametrize("pattern", ["", "!", "\\", "[z-a]"])
def test_exclude_that_is_no_pattern_is_wrong_use(tmp_path: Path, pattern: str) -> None:
    """A typing error on the command line is said, not ignored."""
    make_files(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match="--exclude"):
        list(scan(os.fsencode(tmp_path), ScanOptions(excludes=(pattern,))))


# In a cloud


def test_what_is_in_a_cloud_is_neither_opened_nor_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is told with its size and time, a directory as one thing; each in its place."""
    make_files(tmp_path, "a.jpg", "b.jpg", "c/d.jpg", "e.jpg", "f.txt")
    root = os.fsencode(tmp_path)
    b, f = ImageFile.of(root + b"/b.jpg", os.stat(tmp_path / "b.jpg")), tmp_path / "f.txt"
    with monkeypatch.context() as patch:
        send_to_cloud(patch, tmp_path / "b.jpg", tmp_path / "c", f)
        items = list(scan(root, JPEGS))
    assert [item.path for item in items] == [root + name for name in (b"/a.jpg", b"/b.jpg", b"/c", b"/e.jpg")]
    assert items[1:3] == [NotOnDisk(root + b"/b.jpg", b), NotOnDisk(root + b"/c")]


def test_what_is_in_a_cloud_is_taken_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is a file like all others."""
    make_files(tmp_path, "a.jpg", "b.jpg")
    send_to_cloud(monkeypatch, tmp_path / "b.jpg")
    assert found(tmp_path, ScanOptions(fetch_cloud=True)) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("name", ["a.jpg", "in"])
def test_a_root_that_is_in_a_cloud_is_left_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A nightly run has the same roots as the first one: naming it is not asking for a download."""
    make_files(tmp_path, "a.jpg", "in/b.jpg")
    send_to_cloud(monkeypatch, tmp_path / name)
    (item,) = scan(os.fsencode(tmp_path / name), JPEGS)
    assert isinstance(item, NotOnDisk)
    assert (item.path, item.file is None) == (os.fsencode(tmp_path / name), name == "in")


# What other programs keep


def test_directories_of_other_programs_are_left_out_and_said(tmp_path: Path) -> None:
    """Each stands where its pictures would; what is hidden anyway is not counted."""
    make_files(
        tmp_path, "@eaDir/a.jpg", "b.photoslibrary/originals/1/c.jpg", "b.photoslibrary/resources/d.jpg", "z.jpg"
    )
    make_files(tmp_path, "#recycle/e.jpg", ".Trash/f.jpg")
    root = os.fsencode(tmp_path)
    assert [(os.fsdecode(item.path[len(root) + 1 :]), getattr(item, "reason", "")) for item in scan(root, JPEGS)] == [
        ("#recycle", "trash"),
        ("@eaDir", "thumbnails"),
        ("b.photoslibrary/originals/1/c.jpg", ""),
        ("b.photoslibrary/resources", "library"),
        ("z.jpg", ""),
    ]
    assert ExcludedDirectory(root + b"/.Trash", ExcludeReason.TRASH) in list(scan(root, EVERY_JPEG))
    everything = ScanOptions(hidden=True, default_excludes=False, extensions=JPEGS.extensions)
    assert len(found(tmp_path, everything)) == 6


@pytest.mark.parametrize("inside", ["@eaDir", "a.photoslibrary/resources/derivatives", "#snapshot/2024/photos"])
def test_a_root_is_taken_whatever_its_name(tmp_path: Path, inside: str) -> None:
    """Who names a directory means it; a root around it leaves it to its own scan."""
    make_files(tmp_path, f"{inside}/a.jpg")
    assert found(tmp_path / inside) == ["a.jpg"]
    others = frozenset([os.fsencode(tmp_path / inside)])
    assert [item for item in scan(os.fsencode(tmp_path), JPEGS, others) if isinstance(item, ImageFile)] == []
    if "/" not in inside:
        assert list(scan(os.fsencode(tmp_path), JPEGS, others)) == []


def test_a_pattern_takes_back_what_is_left_out_by_default(tmp_path: Path) -> None:
    """On the command line or in an ignore file; what a pattern leaves out is not said."""
    make_files(tmp_path, "@eaDir/a.jpg", "b/@eaDir/c.jpg")
    take_back = ScanOptions(excludes=("!@eaDir/",), extensions=JPEGS.extensions)
    assert found(tmp_path, take_back) == ["@eaDir/a.jpg", "b/@eaDir/c.jpg"]
    leave_out = ScanOptions(excludes=("@eaDir/",), extensions=JPEGS.extensions)
    assert list(scan(os.fsencode(tmp_path), leave_out)) == []
    (tmp_path / "b/.imgidxignore").write_text("!@eaDir\n")
    assert [item.path for item in scan(os.fsencode(tmp_path), JPEGS)] == [
        os.fsencode(tmp_path / name) for name in ("@eaDir", "b/@eaDir/c.jpg")
    ]


def test_unreadable_ignore_file_is_a_problem_of_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rules nobody can tell what is wanted: nothing is taken, and nothing is forgotten."""
    make_files(tmp_path, "a.jpg", "in/b.jpg", "in/.imgidxignore")

    def refuse_open(path: Any, *_: Any, **__: Any) -> Iterator[str]:
        raise PermissionError(13, os.strerror(13), path)

    with monkeypatch.context() as patch:
        patch.setattr("image_index.files.scan.open", refuse_open, raising=False)
        items = list(scan(os.fsencode(tmp_path), JPEGS))
    assert [(item.path, type(item)) for item in items] == [
        (os.fsencode(tmp_path / "a.jpg"), ImageFile),
        (os.fsencode(tmp_path / "in"), ScanProblem),
    ]
