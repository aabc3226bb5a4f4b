"""Files that have several names, over real links and a catalog; the vectors come from no model."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from image_index.catalog.catalog import Catalog
from image_index.files.scan import ScanOptions, scan
from image_index.records import EmbeddedBatch, Failure, ImageFile, Stage
from image_index.training.pipeline import record_plan
from image_index.training.plan import Plan
from tests.support.records import LONG_AGO_NS, embedded_image, facts
from tests.support.scanned import Scanned

FOLLOW = ScanOptions(follow_symlinks=True)


@pytest.fixture
def library(library: Scanned) -> Scanned:
    """Give the library of four known pictures, of which `a/1.jpg` is the one that gets names."""
    library.update()
    return library


def known(library: Scanned) -> dict[str, list[str]]:
    """Return the other names of each image that is not missing, by its own, relative to the library."""

    def relative(path: bytes) -> str:
        return os.path.relpath(os.fsdecode(path), library.root)

    rows = library.catalog.known(b"/")
    return {
        relative(row.path): [relative(name) for name in library.catalog.other_names(row.path)]
        for row in rows
        if not row.missing
    }


def named(library: Scanned) -> dict[str, list[str]]:
    """Return the images that have several names, with the others."""
    return {path: names for path, names in known(library).items() if names}


def id_of(library: Scanned, name: str) -> int:
    """Return the id of the image of a file."""
    image = library.catalog.image_at(os.fsencode(library.root / name))
    assert image is not None
    return image.id


def embedded(library: Scanned, plan: Plan) -> list[str]:
    """Return the names of the files that a plan embeds."""
    return library.names(plan.files_to_embed)


def link_file(library: Scanned, name: str) -> None:
    """Make a symbolic link to the picture."""
    (library.root / name).parent.mkdir(exist_ok=True)
    (library.root / name).symlink_to(library.root / "a/1.jpg")


def link_hard(library: Scanned, name: str) -> None:
    """Give the picture a second directory entry."""
    (library.root / name).parent.mkdir(exist_ok=True)
    (library.root / name).hardlink_to(library.root / "a/1.jpg")


LINKS = pytest.mark.parametrize("link", [link_file, link_hard])
Link = Callable[[Scanned, str], None]


# Names that are found


@LINKS
@pytest.mark.parametrize("name", ["a/0.jpg", "z.jpg"])
def test_another_name_of_a_known_picture_is_not_embedded(library: Scanned, link: Link, name: str) -> None:
    """Whatever comes first in path order, the picture that is known stays where it is."""
    before = id_of(library, "a/1.jpg")
    link(library, name)
    plan = library.update(scan=FOLLOW)
    assert (embedded(library, plan), plan.unchanged) == ([], 4)
    assert named(library) == {"a/1.jpg": [name]}
    assert id_of(library, name) == id_of(library, "a/1.jpg") == before
    assert library.update(scan=FOLLOW) == Plan(unchanged=4, names_known=1)


@pytest.mark.parametrize(
    ("link", "main"), [(link_file, "a/1.jpg"), (link_hard, "a/0.jpg")], ids=["symbolic link", "hard link"]
)
def test_one_of_several_new_names_is_embedded(library: Scanned, link: Link, main: str) -> None:
    """It is no link if there is one that is none, else the first."""
    library.catalog.forget(os.fsencode(library.root))
    link(library, "a/0.jpg")
    link(library, "z.jpg")
    plan = library.update(scan=FOLLOW)
    assert sorted(embedded(library, plan)) == [main, "a/2.jpg", "b/3.jpg", "b/4.jpg"]
    assert named(library) == {main: sorted({"a/0.jpg", "a/1.jpg", "z.jpg"} - {main})}


def test_a_linked_directory_holds_other_names(library: Scanned) -> None:
    """Also where the link is a root's only way to it, and inside a root of its own."""
    (library.root / "0").symlink_to(library.root / "a")
    assert embedded(library, library.update(scan=FOLLOW)) == []
    assert named(library) == {"a/1.jpg": ["0/1.jpg"], "a/2.jpg": ["0/2.jpg"]}


def test_roots_that_share_files_share_images(library: Scanned) -> None:
    """Trained one after the other; either alone finds nothing to do."""
    link_hard(library, "c/1.jpg")
    assert embedded(library, library.update("c")) == []
    assert named(library) == {"a/1.jpg": ["c/1.jpg"]}
    assert library.update("a") == Plan(unchanged=2)
    assert library.update("c") == Plan(names_known=1)
    assert library.update("a", "c") == Plan(unchanged=2, names_known=1)


def test_the_real_file_takes_the_image_over_from_a_link(library: Scanned) -> None:
    """A link out of the root was followed, and later the place where it leads to is trained."""
    outside = library.write("../outside/o.jpg", "outside")
    (library.root / "a/link.jpg").symlink_to(outside)
    (library.root / "b/link.jpg").symlink_to(outside)
    library.update(scan=FOLLOW)
    before = id_of(library, "a/link.jpg")
    assert embedded(library, library.update("", "../outside", scan=FOLLOW)) == []
    assert named(library) == {"../outside/o.jpg": ["a/link.jpg", "b/link.jpg"]}
    assert id_of(library, "b/link.jpg") == before


def test_a_file_trained_in_two_roots_that_were_never_there_at_once_is_one_image(library: Scanned) -> None:
    """The disk of one was not mounted when the other was trained first."""
    link_hard(library, "c/1.jpg")
    before = id_of(library, "a/1.jpg")
    (library.root / "a").rename(library.root / "away")
    assert library.names(match.file for match in library.update("a", "c").copied) == ["c/1.jpg"]
    (library.root / "away").rename(library.root / "a")
    assert embedded(library, library.update("a", "c")) == []
    assert named(library) == {"a/1.jpg": ["c/1.jpg"]}
    assert id_of(library, "c/1.jpg") == before
    assert library.update("a", "c") == Plan(unchanged=2, names_known=1)


@pytest.mark.parametrize("same_time", [True, False])
def test_copies_that_were_made_one_file_become_one_image(library: Scanned, same_time: bool) -> None:
    """As programs do that save space by replacing copies with hard links; the older row stays."""
    shutil.copy2(library.root / "a/1.jpg", library.root / "b/1.jpg")
    if not same_time:
        os.utime(library.root / "b/1.jpg", ns=(LONG_AGO_NS, LONG_AGO_NS + 5))
    assert embedded(library, library.update()) == ["b/1.jpg"]
    before = id_of(library, "a/1.jpg")
    (library.root / "b/1.jpg").unlink()
    link_hard(library, "b/1.jpg")
    plan = library.update()
    assert (embedded(library, plan), plan.missing) == ([], [])
    assert named(library) == {"a/1.jpg": ["b/1.jpg"]}
    assert id_of(library, "b/1.jpg") == before


def fail(library: Scanned, *names: str) -> Plan:
    """Update the library, in which the files of these names are broken."""
    plan = library.plan()
    assert embedded(library, plan) == [*names]
    record_plan(library.catalog, plan)
    failures = tuple(Failure(library.file(name), Stage.DECODE, "broken") for name in names)
    library.catalog.record(EmbeddedBatch((), np.zeros((0, 4), np.float32), failures))
    return plan


@pytest.mark.parametrize("was_good", [True, False])
def test_names_of_a_file_that_fails_are_not_tried(library: Scanned, was_good: bool) -> None:
    """However many there are, it fails once: the next run tries none of them, or with `retry_failed` one."""
    library.write("c/1.jpg", "good")
    for name in ("c/2.jpg", "c/3.jpg"):
        (library.root / name).hardlink_to(library.root / "c/1.jpg")
    if was_good:
        library.update()
        library.write("c/1.jpg", "broken")
    fail(library, "c/1.jpg")
    assert library.update() == Plan(unchanged=4, failed_before=1, names_known=2)
    assert embedded(library, library.plan(retry_failed=True)) == ["c/1.jpg"]


def test_a_file_that_failed_goes_on_under_another_name_where_its_own_is_left_out(library: Scanned) -> None:
    """It is tried there, and when it has been mended it is an image."""
    library.write("c/1.jpg", "broken")
    (library.root / "c/2.jpg").hardlink_to(library.root / "c/1.jpg")
    fail(library, "c/1.jpg")
    library.write("c/2.jpg", "mended")
    assert embedded(library, library.update(scan=ScanOptions(excludes=("1.jpg",)))) == ["c/2.jpg"]


def test_a_run_that_ended_before_it_embedded_changes_nothing(library: Scanned) -> None:
    """The names are noted first: the next run embeds one of them all the same."""
    library.write("c/1.jpg", "new")
    (library.root / "c/2.jpg").hardlink_to(library.root / "c/1.jpg")
    record_plan(library.catalog, library.plan())
    assert embedded(library, library.update()) == ["c/1.jpg"]
    assert named(library) == {"c/1.jpg": ["c/2.jpg"]}


def test_a_name_is_embedded_where_the_one_chosen_by_a_run_that_ended_is_left_out(library: Scanned) -> None:
    """The names were noted, but nothing was read."""
    library.write("c/1.jpg", "new")
    (library.root / "c/2.jpg").hardlink_to(library.root / "c/1.jpg")
    record_plan(library.catalog, library.plan())
    assert embedded(library, library.update(scan=ScanOptions(excludes=("c/1.jpg",)))) == ["c/2.jpg"]


# What becomes of names


@LINKS
def test_a_name_that_is_gone_is_dropped(library: Scanned, link: Link) -> None:
    """The image stays: its own path is there."""
    link(library, "z.jpg")
    library.update(scan=FOLLOW)
    (library.root / "z.jpg").unlink()
    plan = library.update(scan=FOLLOW)
    assert (plan.unchanged, plan.missing, named(library)) == (4, [], {})


def test_a_name_that_is_left_out_comes_back(library: Scanned) -> None:
    """A run that does not follow links sees none."""
    link_file(library, "z.jpg")
    library.update(scan=FOLLOW)
    assert library.update().unchanged == 4
    assert named(library) == {}
    assert embedded(library, library.update(scan=FOLLOW)) == []
    assert named(library) == {"a/1.jpg": ["z.jpg"]}


@pytest.mark.parametrize("roots", [("",), ("a",), ("a", "c"), ("c", "a")])
def test_where_the_main_name_goes_another_takes_the_image_over(library: Scanned, roots: tuple[str, ...]) -> None:
    """It keeps its id, also where the other name lies in a root that this run does not scan."""
    link_hard(library, "c/1.jpg")
    link_hard(library, "c/2.jpg")
    library.update("", "c")
    before = id_of(library, "a/1.jpg")
    (library.root / "a/1.jpg").unlink()
    plan = library.update(*roots)
    assert (embedded(library, plan), plan.missing) == ([], [])
    assert named(library) == {"c/1.jpg": ["c/2.jpg"]}
    assert id_of(library, "c/1.jpg") == before
    assert library.update("", "c") == Plan(unchanged=4, names_known=1)


def test_an_image_goes_on_where_its_file_was_moved_and_linked(library: Scanned) -> None:
    """`mv p new; ln -s new p`: the new place is no link, so the image follows."""
    before = id_of(library, "a/1.jpg")
    (library.root / "a/1.jpg").rename(library.root / "b/1.jpg")
    (library.root / "a/1.jpg").symlink_to(library.root / "b/1.jpg")
    assert embedded(library, library.update(scan=FOLLOW)) == []
    assert named(library) == {"b/1.jpg": ["a/1.jpg"]}
    assert id_of(library, "a/1.jpg") == before


def test_a_file_changed_in_place_is_embedded_once(library: Scanned) -> None:
    """Every name has the new content."""
    link_hard(library, "z.jpg")
    library.update()
    library.write("z.jpg", "something else")
    assert embedded(library, library.update()) == ["a/1.jpg"]
    assert named(library) == {"a/1.jpg": ["z.jpg"]}
    os.utime(library.root / "z.jpg", ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    plan = library.update()
    assert (embedded(library, plan), library.names(match.file for match in plan.touched)) == ([], ["a/1.jpg"])
    assert named(library) == {"a/1.jpg": ["z.jpg"]}


@pytest.mark.parametrize("name", ["c/1.jpg", "c/2.jpg"], ids=["known name", "new name"])
def test_a_file_changed_in_place_is_embedded_where_only_its_other_name_is_scanned(library: Scanned, name: str) -> None:
    """Its row stands in a root that this run does not look at."""
    link_hard(library, "c/1.jpg")
    library.update("a", "c")
    if name == "c/2.jpg":
        library.catalog.drop_names([os.fsencode(library.root / "c/1.jpg")])
        (library.root / "c/1.jpg").rename(library.root / name)
    library.write(name, "something else")
    assert embedded(library, library.update("c")) == ["a/1.jpg"]
    assert named(library) == {"a/1.jpg": [name]}
    assert library.update("a", "c") == Plan(unchanged=2, names_known=1)


def test_a_path_that_becomes_another_file_leaves_its_image_to_the_other_name(library: Scanned) -> None:
    """As editors save: the new content under the old path, while a hard link keeps the old content."""
    link_hard(library, "z.jpg")
    library.update()
    before = id_of(library, "a/1.jpg")
    (library.root / "a/1.jpg").unlink()
    library.write("a/1.jpg", "saved again")
    assert embedded(library, library.update()) == ["a/1.jpg"]
    assert (named(library), id_of(library, "z.jpg")) == ({}, before)
    assert id_of(library, "a/1.jpg") != before


def test_a_name_that_becomes_another_file_is_an_image_of_its_own(library: Scanned) -> None:
    """Or another name of another image."""
    link_file(library, "z.jpg")
    library.update(scan=FOLLOW)
    (library.root / "z.jpg").unlink()
    library.write("z.jpg", "a file of its own")
    assert embedded(library, library.update(scan=FOLLOW)) == ["z.jpg"]
    (library.root / "z.jpg").unlink()
    (library.root / "z.jpg").symlink_to(library.root / "a/2.jpg")
    assert embedded(library, library.update(scan=FOLLOW)) == []
    assert named(library) == {"a/2.jpg": ["z.jpg"]}
    (library.root / "z.jpg").unlink()
    (library.root / "z.jpg").symlink_to(library.root / "b/3.jpg")
    assert embedded(library, library.update(scan=FOLLOW)) == []
    assert named(library) == {"b/3.jpg": ["z.jpg"]}


@pytest.mark.parametrize("is_mount_point", [False, True])
def test_a_root_that_is_not_mounted_costs_no_name(library: Scanned, is_mount_point: bool) -> None:
    """Neither one of other names alone, nor the one with the main names."""
    link_hard(library, "c/1.jpg")
    library.update("a", "c")
    for root, count in (("c", 0), ("a", 2)):
        (library.root / root).rename(library.root / "away")
        if is_mount_point:
            (library.root / root).mkdir()
        plan = library.update("a", "b", "c")
        assert (plan.missing, plan.names_gone, plan.kept, len(plan.problems)) == ([], [], count, 1)
        assert named(library) == {"a/1.jpg": ["c/1.jpg"]}
        shutil.rmtree(library.root / root, ignore_errors=True)
        (library.root / "away").rename(library.root / root)
    assert library.update("a", "b", "c") == Plan(unchanged=4, names_known=1)


def test_an_image_goes_on_under_a_name_on_a_disk_that_is_not_mounted(library: Scanned) -> None:
    """The main name was deleted; the other is kept, and so is the image."""
    link_hard(library, "c/1.jpg")
    library.update("a", "c")
    before = id_of(library, "a/1.jpg")
    (library.root / "c").rename(library.root / "away")
    (library.root / "a/1.jpg").unlink()
    plan = library.update("a", "c")
    assert (plan.missing, library.names(match.file for match in plan.moved)) == ([], ["c/1.jpg"])
    (library.root / "away").rename(library.root / "c")
    assert library.update("a", "c") == Plan(unchanged=2)
    assert id_of(library, "c/1.jpg") == before


def test_a_picture_that_was_read_as_it_was_written_is_read_again_under_its_other_name(library: Scanned) -> None:
    """Size and time do not tell whether the content that is known is the last: what was written then is embedded."""
    path = library.write("c/1.jpg", "first")
    for name in ("c/2.jpg", "c/3.jpg"):
        (library.root / name).hardlink_to(path)
    library.update()
    row = replace(embedded_image(library.file("c/1.jpg"), b"first"), read_at_ns=LONG_AGO_NS + 1)
    library.catalog.record(EmbeddedBatch((row,), np.ones((1, 4), np.float32)))
    path.unlink()
    plan = library.plan()
    assert (embedded(library, plan), library.names(match.file for match in plan.moved)) == ([], ["c/2.jpg"])
    library.write("c/2.jpg", "FIRST")
    assert embedded(library, library.update()) == ["c/2.jpg"]
    assert named(library) == {"c/2.jpg": ["c/3.jpg"]}


# Inodes that cannot be relied on


def fake_inodes(monkeypatch: pytest.MonkeyPatch, number: Callable[[os.stat_result], int]) -> None:
    """Let the system say that regular files have other inodes."""
    real = os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        status = real(path, **options)
        fields = list(status[:10])
        if S_ISREG(status.st_mode):
            fields[1] = number(status)
        kept = {"st_atime_ns": status.st_atime_ns, "st_mtime_ns": status.st_mtime_ns, "st_ctime_ns": status.st_ctime_ns}
        return os.stat_result((*fields, *status[7:10]), kept)

    monkeypatch.setattr(os, "stat", stat)


def test_without_inodes_each_name_is_an_image(library: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system numbers nothing: 0 tells no file from another."""
    fake_inodes(monkeypatch, lambda _: 0)
    link_hard(library, "z.jpg")
    assert embedded(library, library.update()) == ["z.jpg"]
    assert named(library) == {}


def test_one_number_for_all_makes_no_two_files_one(library: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four files of the library differ in content only, two and two: size, time and number are the same."""
    fake_inodes(monkeypatch, lambda _: 7)
    library.catalog.forget(os.fsencode(library.root))
    assert len(embedded(library, library.update())) == 4
    link_file(library, "z.jpg")
    assert embedded(library, library.update(scan=FOLLOW)) == []
    assert named(library) == {"a/1.jpg": ["z.jpg"]}
    library.write("a/9.jpg", "eno")
    assert embedded(library, library.update(scan=FOLLOW)) == ["a/9.jpg"]
    assert len(known(library)) == 5


def test_numbers_given_anew_with_each_mount_cost_nothing(library: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is embedded or forgotten, and a link that is made then is another name as ever."""
    link_hard(library, "y.jpg")
    library.update()
    before = known(library)
    for mount in range(1, 3):
        with monkeypatch.context() as patch:
            fake_inodes(patch, lambda status, mount=mount: status.st_ino + mount)  # type: ignore[misc]
            plan = library.update()
            assert (embedded(library, plan), plan.unchanged, plan.names_known) == ([], 4, 1)
            assert known(library) == before
            assert library.update() == Plan(unchanged=4, names_known=1)
    with monkeypatch.context() as patch:
        fake_inodes(patch, lambda status: status.st_ino ^ 1)
        link_hard(library, "z.jpg")
        assert embedded(library, library.update()) == []
    assert named(library) == {"a/1.jpg": ["y.jpg", "z.jpg"]}


def test_an_inode_that_another_file_has_now_makes_no_name(library: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a deleted picture is given to the next file; size and time may even be the same."""
    freed = library.file("a/1.jpg").inode
    (library.root / "a/1.jpg").unlink()
    path = library.write("c.jpg", "ONE")
    fake_inodes(monkeypatch, lambda status: freed if os.path.samestat(status, lstat(path)) else status.st_ino)
    plan = library.update()
    assert (embedded(library, plan), library.names(plan.missing)) == (["c.jpg"], ["a/1.jpg"])
    assert named(library) == {}


def lstat(path: Path) -> os.stat_result:
    """Return the status of a file, past every fake."""
    return os.lstat(path)


def test_a_second_mount_is_told_by_what_is_in_the_files(library: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no link, and one inode under two paths; a file of another content is none of it, whatever its inode."""
    shutil.copytree(library.root / "a", library.root / "mount")
    library.write("mount/2.jpg", "TWO")
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: real(mounted(path), **options))
    assert embedded(library, library.update()) == ["mount/2.jpg"]
    assert named(library) == {"a/1.jpg": ["mount/1.jpg"]}


def mounted(path: Any) -> Any:
    """Return the path of which a file below `mount` is the second name."""
    return path.replace(b"/mount/", b"/a/") if isinstance(path, bytes) else path


# Whatever happens between two runs

NAMES = st.sampled_from(["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "c.jpg"])
STEPS = st.tuples(st.sampled_from(["write", "edit", "remove", "rename", "hard link", "link"]), NAMES, NAMES)


def change(library: Scanned, step: tuple[str, str, str], number: int) -> None:
    """Do one thing to the files of a library, if it can be done; `number` makes its content one that never was."""
    kind, name, other = step
    path, target = library.root / name, library.root / other
    path.parent.mkdir(exist_ok=True)
    if kind == "edit" and path.is_file():
        path.write_text(f"edited {number}")
        os.utime(path, ns=(LONG_AGO_NS + number, LONG_AGO_NS + number))
    elif kind == "remove":
        path.unlink(missing_ok=True)
    elif kind == "rename" and os.path.lexists(path):
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    elif kind == "write":
        path.unlink(missing_ok=True)
        path.write_text(f"written {number}")
        os.utime(path, ns=(LONG_AGO_NS + number, LONG_AGO_NS + number))
    elif target.is_file() and name != other and "link" in kind:
        path.unlink(missing_ok=True)
        (path.hardlink_to if kind == "hard link" else path.symlink_to)(target)


@settings(max_examples=150)
@example([[("write", "a/1.jpg", ""), ("hard link", "a/2.jpg", "a/1.jpg")], [("rename", "a/1.jpg", "b/1.jpg")]])
@example(
    [
        [("write", "a/2.jpg", ""), ("write", "c.jpg", ""), ("hard link", "b/1.jpg", "a/2.jpg")],
        [("link", "a/1.jpg", "a/2.jpg")],
        [("hard link", "a/2.jpg", "c.jpg")],
    ]
)
@example(
    [
        [("write", "b/1.jpg", ""), ("hard link", "b/2.jpg", "b/1.jpg"), ("link", "a/2.jpg", "b/2.jpg")],
        [("rename", "a/2.jpg", "b/1.jpg"), ("write", "b/2.jpg", "")],
    ]
)
@given(st.lists(st.lists(STEPS, min_size=1, max_size=4), max_size=8))
def test_after_any_changes_one_file_is_one_image(runs: list[list[tuple[str, str, str]]]) -> None:
    """The names of each image are those of one inode; and where one thing happens at a time, nothing is read twice."""
    with tempfile.TemporaryDirectory() as scratch, Catalog(Path(scratch) / "catalog", write=True) as catalog:
        catalog.set_model(facts())
        library = Scanned(Path(os.path.realpath(scratch)) / "photos", catalog)
        library.write("keep.jpg", "so that the root is never empty")
        contents: Counter[bytes] = Counter()
        number = 0
        for steps in runs:
            for step in steps:
                number += 1
                change(library, step, number)
            plan = library.update(scan=FOLLOW)
            contents.update(Path(os.fsdecode(file.path)).read_bytes() for file in plan.files_to_embed)
            assert groups_known(library) == groups_there(library)
        if all(len(steps) == 1 for steps in runs):
            assert max(contents.values(), default=1) == 1


def groups_there(library: Scanned) -> set[frozenset[str]]:
    """Return the names of each file that a scan finds."""
    files: dict[int, set[str]] = defaultdict(set)
    for item in scan(os.fsencode(library.root), FOLLOW):
        assert isinstance(item, ImageFile)
        files[item.inode].add(os.path.relpath(os.fsdecode(item.path), library.root))
    return set(map(frozenset, files.values()))


def groups_known(library: Scanned) -> set[frozenset[str]]:
    """Return the names of each image that is not missing."""
    return {frozenset([main, *names]) for main, names in known(library).items()}


def test_nothing_is_said_of_links_where_nothing_is_linked(library: Scanned) -> None:
    """Plans of a library without links are those that they were."""
    library.write("c.jpg", "new")
    plan = library.plan()
    assert replace(plan, new=[]) == Plan(unchanged=4)
