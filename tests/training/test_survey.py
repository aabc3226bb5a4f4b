"""Scanning and planning together, over real directories and a catalog that knows them."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from image_index.errors import Interrupted
from image_index.files.scan import ScanOptions
from image_index.records import EmbeddedBatch, Failure, Progress, ScanProblem, Stage
from image_index.stop import StopRequest
from image_index.training.plan import Plan
from image_index.training.survey import EarlyStart, SurveyOptions, all_roots, plan_roots
from tests.support.records import LONG_AGO_NS, embedded_image
from tests.support.scanned import Scanned


def test_unchanged_library_needs_nothing(library: Scanned) -> None:
    """What is known is not read again."""
    assert library.plan() == Plan(unchanged=4)


def test_each_change_is_told_from_the_others(library: Scanned) -> None:
    """New, changed, touched, moved and missing files, in one survey."""
    library.write("a/0.jpg", "new")
    library.write("a/1.jpg", "other")
    os.utime(library.root / "a/2.jpg", ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    (library.root / "b/3.jpg").rename(library.root / "c.jpg")
    (library.root / "b/4.jpg").unlink()
    plan = library.plan()
    assert library.names(plan.new) == ["a/0.jpg"]
    assert library.names(match.file for match in plan.changed) == ["a/1.jpg"]
    assert library.names(match.file for match in plan.touched) == ["a/2.jpg"]
    assert [library.names([match.image, match.file]) for match in plan.moved] == [["b/3.jpg", "c.jpg"]]
    assert library.names(plan.missing) == ["b/4.jpg"]
    assert (plan.unchanged, plan.copied, plan.problems) == (0, [], [])


def test_survey_without_a_catalog_finds_everything_new(library: Scanned) -> None:
    """A dry run before the first update."""
    options = SurveyOptions((os.fsencode(library.root),))
    plan = plan_roots(None, options, lambda _: None, StopRequest())
    assert library.names(plan.new) == ["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"]


def test_root_inside_another_is_planned_once(library: Scanned) -> None:
    """Whether it is given beside the outer one or known from before."""
    assert library.plan("", "a", "b/3.jpg", "a").unchanged == 4
    library.catalog.note_scan(os.fsencode(library.root / "a"), None)
    library.write("a/5.jpg", "five")
    plan = library.plan()
    assert (plan.unchanged, library.names(plan.new)) == (4, ["a/5.jpg"])


def test_known_roots_inside_are_looked_at_while_they_are_there(library: Scanned) -> None:
    """A known root elsewhere is not, and one that was deleted is part of the one around it."""
    for name in ("a", "b", "a-", "gone"):
        library.catalog.note_scan(os.fsencode(library.root / name), None)
    inner = os.fsencode(library.root / "a")
    assert all_roots(library.catalog, SurveyOptions((inner,))) == [inner]
    outer = os.fsencode(library.root)
    assert all_roots(library.catalog, SurveyOptions((outer,))) == [outer, inner, os.fsencode(library.root / "b")]
    assert all_roots(None, SurveyOptions((outer,))) == [outer]


def test_other_roots_are_left_alone(library: Scanned) -> None:
    """What was not asked for is neither missing nor counted."""
    shutil.rmtree(library.root / "b")
    assert library.plan("a") == Plan(unchanged=2)


def test_picture_moved_between_roots_keeps_its_vector(library: Scanned) -> None:
    """Both roots are in the survey: the row moves."""
    (library.root / "a/1.jpg").rename(library.root / "b/1.jpg")
    plan = library.plan("a", "b")
    assert [library.names([match.image, match.file]) for match in plan.moved] == [["a/1.jpg", "b/1.jpg"]]
    assert (plan.missing, plan.embed_count) == ([], 0)


def test_picture_moved_from_a_root_not_scanned_gets_a_copy_of_its_vector(library: Scanned) -> None:
    """Nobody has looked whether the old place is only unmounted: its row stays."""
    (library.root / "a/1.jpg").rename(library.root / "b/1.jpg")
    plan = library.plan("b")
    assert [library.names([match.image, match.file]) for match in plan.copied] == [["a/1.jpg", "b/1.jpg"]]
    assert (plan.moved, plan.embed_count) == ([], 0)


def test_picture_missing_since_an_earlier_run_gives_its_vector_to_where_it_turns_up(library: Scanned) -> None:
    """A disk that was renamed: what was marked missing then is found now."""
    (library.root / "a/1.jpg").rename(library.root / "aside")
    library.catalog.mark_missing(library.plan().missing)
    (library.root / "aside").rename(library.root / "b/1.jpg")
    plan = library.plan()
    assert [library.names([match.image, match.file]) for match in plan.moved] == [["a/1.jpg", "b/1.jpg"]]


def test_copy_beside_its_original_is_new(library: Scanned) -> None:
    """The original is there, so nothing has moved."""
    shutil.copy(library.root / "a/1.jpg", library.root / "b/1.jpg")
    plan = library.plan()
    assert (library.names(plan.new), plan.moved, plan.copied) == (["b/1.jpg"], [], [])


def test_missing_picture_that_is_back_is_no_source_of_moves(library: Scanned) -> None:
    """It is needed where it is."""
    library.catalog.mark_missing(image for image in library.catalog.known(b"/") if image.path.endswith(b"1.jpg"))
    shutil.copy(library.root / "a/1.jpg", library.root / "b/1.jpg")
    plan = library.plan()
    assert library.names(match.file for match in plan.touched) == ["a/1.jpg"]
    assert (library.names(plan.new), plan.moved) == (["b/1.jpg"], [])


def test_emptied_or_missing_root_keeps_its_rows(library: Scanned) -> None:
    """An unmounted disk looks like either; the other root is planned as ever."""
    shutil.rmtree(library.root / "a")
    for is_mount_point in (False, True):
        if is_mount_point:
            (library.root / "a").mkdir()
        plan = library.plan("a", "b")
        assert (plan.kept, plan.missing, plan.unchanged) == (2, [], 2)
        assert library.names(plan.problems) == ["a"]


def test_unreadable_directory_keeps_its_rows_and_failures(library: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what could be looked at is changed."""
    library.write("a/broken.jpg", "broken")
    broken = Failure(library.file("a/broken.jpg"), Stage.DECODE, "broken")
    library.catalog.record(EmbeddedBatch((), np.zeros((0, 4), np.float32), (broken,)))
    (library.root / "b/3.jpg").unlink()
    scandir = os.scandir

    def refusing(path: bytes) -> Any:
        if path == os.fsencode(library.root / "a"):
            raise PermissionError(13, os.strerror(13), path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        plan = library.plan()
    assert (plan.kept, library.names(plan.missing), plan.failures_gone) == (2, ["b/3.jpg"], [])
    assert plan.problems == [ScanProblem(os.fsencode(library.root / "a"), os.strerror(13))]


def test_rows_of_what_is_left_out_by_default_are_as_of_any_exclude(library: Scanned) -> None:
    """They are missing, and back when a run takes them again; an emptied root keeps its rows, and the count."""
    photos = list(library.root.rglob("*.jpg"))
    library.write("@eaDir/b.jpg", "thumbnail")
    library.take_in()
    plan = library.plan()
    assert (library.names(plan.missing), plan.unchanged) == (["@eaDir/b.jpg"], len(photos))
    assert plan.excluded == {"thumbnails": 1}
    library.catalog.mark_missing(plan.missing)
    back = library.plan(scan=ScanOptions(default_excludes=False))
    assert (library.names(match.file for match in back.touched), back.excluded) == (["@eaDir/b.jpg"], {})
    for photo in photos:
        photo.unlink()
    emptied = library.plan()
    assert (emptied.kept, emptied.excluded) == (len(photos), {"thumbnails": 1})


def test_failure_is_tried_again_when_its_file_changes_or_on_request(library: Scanned) -> None:
    """And forgotten when its file is gone."""
    library.write("a/broken.jpg", "broken")
    broken = Failure(library.file("a/broken.jpg"), Stage.DECODE, "broken")
    library.catalog.record(EmbeddedBatch((), np.zeros((0, 4), np.float32), (broken,)))
    assert library.plan() == Plan(unchanged=4, failed_before=1)
    assert library.names(library.plan(retry_failed=True).new) == ["a/broken.jpg"]
    library.write("a/broken.jpg", "mended")
    os.utime(library.root / "a/broken.jpg", ns=(LONG_AGO_NS, LONG_AGO_NS + 1))
    assert library.names(library.plan().new) == ["a/broken.jpg"]
    (library.root / "a/broken.jpg").unlink()
    assert library.plan().failures_gone == [broken.file.path]


def test_picture_read_while_it_was_being_written_is_read_again(library: Scanned) -> None:
    """Same size, same time, other content: a write in the tick of the read is not lost."""
    row = embedded_image(library.file("a/1.jpg"), b"one")
    racy = replace(row, read_at_ns=row.file.mtime_ns + 1)
    library.catalog.record(EmbeddedBatch((racy,), np.ones((1, 4), np.float32)))
    assert library.names(match.file for match in library.plan().touched) == ["a/1.jpg"]
    library.write("a/1.jpg", "ONE")
    assert library.names(match.file for match in library.plan().changed) == ["a/1.jpg"]


def test_survey_changes_nothing(library: Scanned) -> None:
    """Neither rows nor failures nor roots: what is planned is recorded by others."""
    library.write("a/0.jpg", "new")
    (library.root / "b/3.jpg").rename(library.root / "b/5.jpg")
    before = "\n".join(library.catalog.connection.iterdump())
    library.plan()
    assert "\n".join(library.catalog.connection.iterdump()) == before


def test_stop_ends_the_scan(library: Scanned) -> None:
    """Nothing has been embedded yet, so nothing is lost: the run ends there and then."""
    options = SurveyOptions((os.fsencode(library.root),))
    with pytest.raises(Interrupted) as caught:
        plan_roots(library.catalog, options, lambda _: None, StopRequest(15))
    assert caught.value.exit_code == 128 + 15


def test_scan_reports_how_far_it_is(library: Scanned) -> None:
    """At once, so that a bar appears, and then every thousand files."""
    for number in range(1500):
        (library.root / f"{number}.jpg").touch()
    reports: list[Progress] = []
    plan_roots(library.catalog, SurveyOptions((os.fsencode(library.root),)), reports.append, StopRequest())
    assert [report.done for report in reports] == [0, 1000]
    assert {report.stage for report in reports} == {"scan"}


# Starting the children early


def starts(library: Scanned, files: int = 1) -> int:
    """Return how often a plan of the library asks for the children, who are to come for so many files."""
    asked: list[None] = []
    survey = SurveyOptions((os.fsencode(library.root),))
    plan_roots(library.catalog, survey, lambda _: None, StopRequest(), EarlyStart(lambda: asked.append(None), files))
    return len(asked)


def test_the_children_are_asked_for_once_while_the_scan_goes_on(library: Scanned) -> None:
    """At the first new file of a size that no row has: it will be embedded, whatever else is found."""
    library.write("a/5.jpg", "something longer")
    library.write("a/6.jpg", "something else, longer still")
    assert starts(library) == 1


@pytest.mark.parametrize("change", ["nothing", "moved", "touched", "gone"])
def test_no_child_is_asked_for_where_none_will_be_needed(library: Scanned, change: str) -> None:
    """Files that are known, or that may turn out to be moved ones, wait for the whole plan."""
    known = library.root / "a/1.jpg"
    match change:
        case "moved":
            known.rename(library.root / "b/0.jpg")
        case "touched":
            os.utime(known, ns=(LONG_AGO_NS + 1, LONG_AGO_NS + 1))
        case "gone":
            known.unlink()
    assert starts(library) == 0


def test_the_children_are_asked_for_once_there_is_enough_to_do(library: Scanned) -> None:
    """Two new files of one size are two; one whose size a row has may be a moved one, and is none."""
    library.write("a/5.jpg", "something longer")
    library.write("a/6.jpg", "something wider!")
    library.write("a/7.jpg", "something else, longer still")
    assert [starts(library, files) for files in (1, 2, 3, 4)] == [1, 1, 1, 0]


# Lists of files


def listed(library: Scanned, *names: str) -> Plan:
    """Plan an update of exactly these files."""
    return library.plan(files=tuple(sorted(os.fsencode(library.root / name) for name in names)))


def test_exactly_the_files_of_a_list_are_looked_at(library: Scanned) -> None:
    """New, changed, known and failed ones are told apart; a neighbour that is gone or new is nothing of theirs."""
    library.write("a/.0.txt", "new")
    library.write("a/00.jpg", "new neighbour")
    library.write("a/1.jpg", "other")
    library.write("broken.jpg", "broken")
    broken = Failure(library.file("broken.jpg"), Stage.DECODE, "broken")
    library.catalog.record(EmbeddedBatch((), np.zeros((0, 4), np.float32), (broken,)))
    (library.root / "b/4.jpg").unlink()
    plan = listed(library, "a/.0.txt", "a/1.jpg", "b/3.jpg", "broken.jpg")
    assert library.names(plan.new) == ["a/.0.txt"]
    assert library.names(match.file for match in plan.changed) == ["a/1.jpg"]
    assert (plan.unchanged, plan.failed_before, plan.missing, plan.problems) == (1, 1, [], [])


def test_a_listed_file_that_is_gone_keeps_its_row_and_is_said(library: Scanned) -> None:
    """As does a directory, which a list does not walk; what was known inside a file that was one stays too."""
    shutil.rmtree(library.root / "a")
    (library.root / "b/4.jpg").unlink()
    library.write("a", "a picture now")
    plan = listed(library, "a", "b", "b/4.jpg")
    assert (library.names(plan.new), library.names(plan.problems)) == (["a"], ["b", "b/4.jpg"])
    assert (plan.kept, plan.missing, plan.failures_gone) == (1, [], [])


def test_a_list_without_files_needs_nothing(library: Scanned) -> None:
    """A find that has found nothing."""
    assert listed(library) == Plan()


def test_a_listed_file_that_has_moved_keeps_its_vector(library: Scanned) -> None:
    """Where the old place is in no list, nobody has looked there as a scan does: it gets a copy."""
    (library.root / "a/1.jpg").rename(library.root / "c.jpg")
    plan = listed(library, "c.jpg")
    assert [library.names([match.image, match.file]) for match in plan.copied] == [["a/1.jpg", "c.jpg"]]


def test_a_listed_name_of_a_known_file_is_no_new_picture(library: Scanned) -> None:
    """A hard link is another name of its file; the list may have both, or the new one alone."""
    os.link(library.root / "a/1.jpg", library.root / "c.jpg")
    plan = listed(library, "c.jpg")
    assert (plan.embed_count, library.names(plan.names)) == (0, ["c.jpg"])


# What has changed


def test_only_what_has_changed_is_looked_at(library: Scanned) -> None:
    """A new, a changed, a moved and a deleted file among the changed paths; the rest is not touched."""
    library.write("a/0.jpg", "new")
    library.write("a/1.jpg", "other")
    (library.root / "a/2.jpg").rename(library.root / "c.jpg")
    (library.root / "b/3.jpg").unlink()
    library.write("b/5.jpg", "not among the changed paths")
    names = ("a/0.jpg", "a/1.jpg", "a/2.jpg", "c.jpg", "b/3.jpg", "gone/and/never/known.jpg")
    plan = changed(library, *names)
    assert library.names(plan.new) == ["a/0.jpg"]
    assert library.names(match.file for match in plan.changed) == ["a/1.jpg"]
    assert [library.names([match.image, match.file]) for match in plan.moved] == [["a/2.jpg", "c.jpg"]]
    assert library.names(plan.missing) == ["b/3.jpg"]
    assert (plan.unchanged, plan.problems) == (0, [])


def test_a_changed_directory_stands_for_all_inside(library: Scanned) -> None:
    """One that was moved in is new with its pictures, one that is gone is missing with them."""
    (library.root / "a").rename(library.root / "a2")
    plan = changed(library, "a", "a2")
    moved = [library.names([match.image, match.file]) for match in plan.moved]
    assert sorted(moved) == [["a/1.jpg", "a2/1.jpg"], ["a/2.jpg", "a2/2.jpg"]]


def test_roots_inside_each_other_each_see_what_has_changed_in_them(library: Scanned) -> None:
    """Where a directory around a root has changed, all of the root has."""
    library.catalog.note_scan(os.fsencode(library.root / "a"), None)
    library.write("a/0.jpg", "new")
    library.write("b/0.jpg", "new too")
    for paths in (("a/0.jpg", "b/0.jpg"), (".",)):
        assert sorted(library.names(changed(library, *paths).new)) == ["a/0.jpg", "b/0.jpg"]
    (library.root / "a/1.jpg").unlink()
    plan = changed(library, ".")
    assert (library.names(plan.missing), plan.unchanged) == (["a/1.jpg"], 3)


def test_the_last_picture_of_a_root_is_kept_but_not_the_last_of_a_batch(library: Scanned) -> None:
    """That nothing is left among the changed paths says nothing of the root."""
    (library.root / "a/1.jpg").unlink()
    plan = changed(library, "a/1.jpg")
    assert (library.names(plan.missing), plan.problems) == (["a/1.jpg"], [])
    shutil.rmtree(library.root / "a")
    shutil.rmtree(library.root / "b")
    plan = changed(library, "a", "b")
    assert (plan.kept, plan.missing, library.names(plan.problems)) == (4, [], ["."])


def changed(library: Scanned, *names: str) -> Plan:
    """Plan an update of what has changed."""
    return library.plan(changed=frozenset(os.path.normpath(os.fsencode(library.root / name)) for name in names))
