"""Duplicates, against every picture compared with every other by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.errors import UsageError
from image_index.grid import unpack_grids
from image_index.records import EmbeddedBatch, EmbeddedImage, ImageFacts, PictureFacts
from image_index.search.compare import agree_in_place
from image_index.search.duplicates import DuplicateOptions, Group, find_duplicates
from tests.support.records import LONG_AGO_NS, facts, image_file


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Give an empty catalog of vectors of four dimensions."""
    with Catalog(tmp_path / "catalog", write=True) as made:
        made.set_model(facts(4))
        yield made


def look(seed: int, changed: range = range(0)) -> bytes:
    """Return the grid of a grey photo of its own for each `seed`; the cells `changed` of 1024 are made brighter."""
    random = np.random.default_rng(seed)
    bright = np.kron(random.integers(0, 190, (8, 8), np.uint8), np.ones((4, 4), np.uint8))
    bright += random.integers(0, 10, (32, 32), np.uint8)
    bright.reshape(-1)[np.random.default_rng(99).permutation(1024)[changed]] += 55
    return bright.tobytes() + b"\x80" * 128


def picture(name: bytes, content: bytes, grid: bytes | None, size: tuple[int, int] = (4, 3)) -> EmbeddedImage:
    """Return a picture with that grid."""
    found = PictureFacts(*size, "jpeg")
    return EmbeddedImage(image_file(b"/" + name, len(content)), sha256(content).digest(), LONG_AGO_NS, found, grid)


def add(catalog: Catalog, *pictures: tuple[EmbeddedImage, float]) -> None:
    """Store pictures; each has a unit vector at that angle, in degrees."""
    angles = np.radians([angle for _, angle in pictures])
    vectors = np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles], axis=1).astype(np.float32)
    catalog.record(EmbeddedBatch(tuple(image for image, _ in pictures), vectors))


ONE, OTHER = look(1), look(2)


def names(groups: list[Group]) -> list[list[str]]:
    """Return the names of the groups' pictures."""
    return [[os.fsdecode(member.image.path[1:]) for member in group] for group in groups]


def test_equal_content_is_one_group_best_first(catalog: Catalog) -> None:
    """Whatever grids and vectors say; then with the same pixels and bytes the first path is first."""
    add(catalog, (picture(b"b", b"x", ONE), 0), (picture(b"a", b"x", None), 90), (picture(b"c", b"y", OTHER), 0))
    for exact in (True, False):
        (group,) = find_duplicates(catalog, Filters(), DuplicateOptions(exact=exact))
        assert names([group]) == [["a", "b"]]
        assert [(member.similarity, member.exact) for member in group] == [(1.0, True), (1.0, True)]


@pytest.mark.parametrize("names_of_it", ["symlink", "hard link", "directory"])
@pytest.mark.parametrize("link", ["a", "z"])
def test_other_names_of_a_file_are_no_copies_of_it(
    catalog: Catalog, tmp_path: Path, names_of_it: str, link: str
) -> None:
    """Only a real copy is a duplicate; of a file's names the one without a link stands for it."""
    (tmp_path / "m").mkdir()
    original, other, copy = tmp_path / "m/p.jpg", tmp_path / link / "p.jpg", tmp_path / "m/q.jpg"
    original.write_bytes(b"x")
    if names_of_it == "directory":
        (tmp_path / link).symlink_to(tmp_path / "m")
    else:
        other.parent.mkdir()
        (other.symlink_to if names_of_it == "symlink" else other.hardlink_to)(original)
    add(catalog, *((picture(os.fsencode(path)[1:], b"x", ONE), 0) for path in (original, other)))
    assert find_duplicates(catalog, Filters()) == []
    copy.write_bytes(b"x")
    add(catalog, (picture(os.fsencode(copy)[1:], b"x", ONE), 0))
    (group,) = find_duplicates(catalog, Filters())
    found = {Path(os.fsdecode(member.image.path)) for member in group}
    assert found == ({min(original, other), copy} if names_of_it == "hard link" else {original, copy})


def test_where_files_have_no_number_a_link_is_told_by_where_it_leads(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`st_ino` is 0 for every file: the link must not stand for the only real one."""
    original, link = tmp_path / "z.jpg", tmp_path / "a.jpg"
    original.write_bytes(b"x")
    link.symlink_to(original)
    add(catalog, *((picture(os.fsencode(path)[1:], b"x", ONE), 0) for path in (original, link)))
    status = os.stat_result((*os.stat(original)[:1], 0, *os.stat(original)[2:]))
    monkeypatch.setattr(os, "stat", lambda *_, **__: status)
    assert find_duplicates(catalog, Filters()) == []


def test_copies_agree_in_their_grids_and_if_asked_for_in_their_vectors(catalog: Catalog) -> None:
    """A text across the picture is no matter; without a vector only equal content counts."""
    add(
        catalog,
        (picture(b"best", b"1", ONE, (40, 30)), 0),
        (picture(b"near", b"2", look(1, range(60)), (20, 15)), 60),
        (picture(b"other", b"3", look(1, range(400)), (20, 15)), 0),
    )
    (group,) = find_duplicates(catalog, Filters())
    assert names([group]) == [["best", "near"]]
    assert (round(group[1].similarity, 2), group[1].exact) == (0.5, False)
    assert find_duplicates(catalog, Filters(), DuplicateOptions(exact=True)) == []
    assert len(find_duplicates(catalog, Filters(), DuplicateOptions(similarity=0.49))) == 1
    assert find_duplicates(catalog, Filters(), DuplicateOptions(similarity=0.51)) == []
    with catalog.transaction() as connection:
        connection.execute("DELETE FROM vectors WHERE image_id = 2")
    assert find_duplicates(catalog, Filters()) == []


def test_a_chain_of_similar_pictures_is_not_one_group(catalog: Catalog) -> None:
    """Each differs a little from the next, and the ends much: everybody in a group is near the best of it."""
    grids = [look(1, range(60 * n)) for n in range(9)]
    add(catalog, *((picture(b"%02d" % n, b"%d" % n, grid, (100 - n, 1)), 0) for n, grid in enumerate(grids)))
    groups = find_duplicates(catalog, Filters())
    assert names(groups) == [["00", "01"], ["02", "03"], ["04", "05"], ["06", "07"]]


def test_the_best_has_most_pixels_then_bytes_then_age(catalog: Catalog) -> None:
    """In this order."""
    small, heavy, light = (
        picture(b"small", b"1" * 99, ONE),
        picture(b"heavy", b"2" * 9, ONE, (9, 9)),
        picture(b"light", b"3", ONE, (9, 9)),
    )
    young = picture(b"a-young", b"4", ONE, (9, 9))
    young = replace(young, picture=young.picture._replace(taken_at_s=2 * LONG_AGO_NS // 10**9))
    add(catalog, *((image, 0) for image in (small, young, light, heavy)))
    assert names(find_duplicates(catalog, Filters())) == [["heavy", "light", "a-young", "small"]]


def test_very_many_copies_are_one_group(catalog: Catalog) -> None:
    """Each picture is compared with a few of its neighbours first; where all are copies, with more."""
    add(catalog, *((picture(b"%04d" % n, b"%d" % n, look(n % 3), (2000 - n, 1)), 0) for n in range(1200)))
    assert [len(group) for group in find_duplicates(catalog, Filters())] == [400] * 3


@pytest.mark.parametrize(
    "grid", [None, b"short", bytes(1152), b"\x7f\x80\x81" * 384], ids=["none", "bad", "flat", "noise"]
)
def test_pictures_without_structure_take_part_by_their_content(catalog: Catalog, grid: bytes | None) -> None:
    """Whoever has no grid, or a flat one, looks like nothing."""
    add(catalog, (picture(b"a", b"1", grid), 0), (picture(b"b", b"1", grid), 0), (picture(b"c", b"2", grid), 0))
    assert names(find_duplicates(catalog, Filters())) == [["a", "b"]]


def test_a_picture_without_a_grid_is_told_of(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    """Once, with their number; a flat one is nothing to tell of."""
    add(catalog, (picture(b"a", b"1", None), 0), (picture(b"b", b"2", None), 0), (picture(b"c", b"3", bytes(1152)), 0))
    find_duplicates(catalog, Filters())
    assert [record.message.split(" are ")[0] for record in caplog.records] == ["2 pictures"]


def test_filters_and_the_disk_decide_who_takes_part(catalog: Catalog) -> None:
    """A group of one is none; where the best is gone, the next is first."""
    add(
        catalog,
        *((picture(b"p/%d" % n, b"%d" % n, ONE, (10 - n, 1)), 0) for n in range(3)),
        (picture(b"q", b"9", ONE), 0),
    )
    assert names(find_duplicates(catalog, Filters(under=(b"/p",)))) == [["p/0", "p/1", "p/2"]]
    assert find_duplicates(catalog, Filters(under=(b"/q",))) == []

    def gone(image: ImageFacts) -> bool:
        return image.path != b"/p/0"

    assert names(find_duplicates(catalog, Filters(under=(b"/p",)), None, gone)) == [["p/1", "p/2"]]
    assert find_duplicates(catalog, Filters(), None, lambda image: image.path == b"/q") == []


def shot(name: bytes, content: bytes, kind: str, size: tuple[int, int]) -> tuple[EmbeddedImage, float]:
    """Return a picture of that format, which looks like every other."""
    image = picture(name, content, ONE, size)
    return replace(image, picture=image.picture._replace(format=kind)), 0


def test_raw_and_jpeg_of_one_shot_are_no_duplicates(catalog: Catalog) -> None:
    """Their copies are: those of the RAW file by content, and what was made of the shot beside the JPEG."""
    raw, jpeg = shot(b"p/1.nef", b"raw", "raw", (40, 30)), shot(b"p/1.jpg", b"jpeg", "jpeg", (40, 29))
    add(catalog, raw, jpeg)
    assert find_duplicates(catalog, Filters()) == []
    assert names(find_duplicates(catalog, Filters(), DuplicateOptions(pairs=True))) == [["p/1.nef", "p/1.jpg"]]
    add(catalog, shot(b"q/1.nef", b"raw", "raw", (40, 30)), shot(b"q/1.jpg", b"jpeg", "jpeg", (40, 29)))
    add(catalog, shot(b"small.jpg", b"small", "jpeg", (4, 3)))
    assert names(find_duplicates(catalog, Filters())) == [["p/1.jpg", "q/1.jpg", "small.jpg"], ["p/1.nef", "q/1.nef"]]
    assert names(find_duplicates(catalog, Filters(), DuplicateOptions(exact=True))) == [
        ["p/1.jpg", "q/1.jpg"],
        ["p/1.nef", "q/1.nef"],
    ]


def test_a_raw_file_whose_jpeg_is_not_asked_for_is_compared(catalog: Catalog) -> None:
    """Filters come first: nothing stands for it then."""
    add(catalog, shot(b"p/1.nef", b"1", "raw", (40, 30)), shot(b"p/1.jpg", b"2", "jpeg", (40, 29)))
    add(catalog, shot(b"p/2.dng", b"3", "raw", (4, 3)))
    assert names(find_duplicates(catalog, Filters(formats=("raw",)))) == [["p/1.nef", "p/2.dng"]]


@pytest.mark.parametrize("seed", range(10))
def test_groups_are_those_of_going_through_all_pictures_by_hand(catalog: Catalog, seed: int) -> None:
    """Best first, each takes all that are free and whose grids agree, whatever the descriptors propose."""
    random = np.random.default_rng(seed)
    grids = [look(int(random.integers(10)), range(int(random.integers(120)))) for _ in range(40)]
    angles = [float(random.integers(0, 360)) for _ in range(40)]
    images = [picture(b"%02d" % n, b"%d" % n, grid, (100 - n, 1)) for n, grid in enumerate(grids)]
    add(catalog, *zip(images, angles, strict=True))
    free, expected = list(range(40)), []
    while free:
        best = free.pop(0)
        near = [
            other
            for other in free
            if np.cos(np.radians(angles[best] - angles[other])) >= 0.507
            and agree_in_place(unpack_grids([grids[best]]), unpack_grids([grids[other]]))[0]
        ]
        free = [other for other in free if other not in near]
        expected.append([f"{n:02}" for n in (best, *near)])
    groups = [group for group in expected if len(group) > 1]
    found = names(find_duplicates(catalog, Filters(), DuplicateOptions(similarity=0.507)))
    assert len(found) > 2
    assert found == sorted(groups, key=lambda group: (-len(group), group[0]))


def test_kept_pictures_are_shown_when_something_about_them_is_new(catalog: Catalog) -> None:
    """A third copy, or one that changed; and all of them where they are asked for."""
    add(catalog, *((picture(b"%d" % n, b"%d" % n, ONE, (9 - n, 1)), 0) for n in (1, 2)))
    add(catalog, *((picture(b"x%d" % n, b"x", OTHER), 0) for n in (1, 2)))
    catalog.keep(catalog.ids_matching(Filters(globs=("[12]",))).tolist())
    catalog.keep(catalog.ids_matching(Filters(globs=("x?",))).tolist())
    assert find_duplicates(catalog, Filters()) == []
    assert names(find_duplicates(catalog, Filters(), DuplicateOptions(kept=True))) == [["1", "2"], ["x1", "x2"]]
    add(catalog, (picture(b"3", b"3", ONE, (1, 1)), 0))
    assert names(find_duplicates(catalog, Filters())) == [["1", "3"]]
    add(catalog, (picture(b"2", b"changed", ONE, (2, 1)), 0))
    assert names(find_duplicates(catalog, Filters())) == [["1", "2", "3"]]
    catalog.keep(catalog.ids_matching(Filters(globs=("x?",))).tolist(), kept=False)
    assert names(find_duplicates(catalog, Filters())) == [["1", "2", "3"], ["x1", "x2"]]


def test_what_is_like_a_kept_picture_alone_is_shown_with_it(catalog: Catalog) -> None:
    """The best of the two that are kept does not claim the other."""
    grids = [look(1, range(60 * n)) for n in range(3)]  # the first and the last are no copies of each other
    add(catalog, *((picture(b"%d" % n, b"%d" % n, grid, (9 - n, 1)), 0) for n, grid in enumerate(grids)))
    assert names(find_duplicates(catalog, Filters())) == [["0", "1"]]
    catalog.keep(catalog.ids_matching(Filters(globs=("[01]",))).tolist())
    assert names(find_duplicates(catalog, Filters())) == [["1", "2"]]


@pytest.mark.parametrize("similarity", [1.01, -2, float("nan")])
def test_a_cosine_that_there_is_not_is_wrong_use(similarity: float) -> None:
    """It would find nothing, or everything, and look like an answer."""
    with pytest.raises(UsageError, match="between -1 and 1"):
        DuplicateOptions(similarity)
