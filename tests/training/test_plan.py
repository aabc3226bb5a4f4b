"""Planning, against a model made of dictionaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_index.records import ImageFile, KnownImage, KnownName, Match, NotOnDisk, Scanned, ScanProblem
from image_index.training.plan import (
    RACY_WINDOW_NS,
    Plan,
    keep_emptied_root,
    plan_update,
    set_names_apart,
    settle_by_content,
    settle_moves,
)
from tests.support.records import LONG_AGO_NS, image_file, known_image

ROOT = b"/r"
NAMES = ("a", "a-", "a.jpg", "a.jpg-1.jpg", "a.jpg/x", "b", "b/c", "b/c-", "b/c/d", "b/c/e", "b0", "z")
PATHS = st.sampled_from([f"/r/{name}".encode() for name in NAMES])
SIGNS = st.tuples(st.integers(1, 2), st.sampled_from([LONG_AGO_NS, LONG_AGO_NS + 1]))
"""Size and modification time."""


@dataclass(frozen=True)
class Situation:
    """What the catalog knows and what a scan finds."""

    known: Mapping[bytes, KnownImage]
    on_disk: Mapping[bytes, tuple[int, int]]
    failed: Mapping[bytes, tuple[int, int]]
    problems: frozenset[bytes]
    files_with_problems: frozenset[bytes]

    def hides(self, path: bytes) -> bool:
        """Tell whether `path` lies in or at something that could not be read."""
        return any(path == problem or path.startswith(problem + b"/") for problem in self.problems)

    def scanned(self) -> list[ImageFile | ScanProblem]:
        """Return what a scan yields, in its order: a directory stands where its first file would."""
        keyed: list[tuple[bytes, ImageFile | ScanProblem]] = [
            (path, ImageFile(path, *sign)) for path, sign in self.on_disk.items() if not self.hides(path)
        ]
        for problem in self.problems:
            if not any(problem.startswith(other + b"/") for other in self.problems):
                key = problem if problem in self.files_with_problems else problem + b"/"
                keyed.append((key, ScanProblem(problem, "unreadable")))
        return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]

    def plan(self, **options: Any) -> Plan:
        """Plan."""
        rows = sorted(self.known.values(), key=lambda row: row.path)
        return plan_update(self.scanned(), rows, self.failed, **options)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Return a catalog and a disk that have something to do with each other."""
    rows = {}
    states = draw(st.dictionaries(PATHS, st.tuples(SIGNS, st.booleans(), st.booleans()), max_size=8))
    for number, (path, ((size, mtime_ns), missing, racy)) in enumerate(states.items(), 1):
        read_at_ns = mtime_ns + (RACY_WINDOW_NS - 1 if racy else RACY_WINDOW_NS)
        rows[path] = KnownImage(number, path, size, mtime_ns, b"", read_at_ns, missing)
    return Situation(
        rows,
        draw(st.dictionaries(PATHS, SIGNS, max_size=8)),
        draw(st.dictionaries(PATHS, SIGNS, max_size=4)),
        draw(st.frozensets(st.one_of(PATHS, st.just(b"/r/b/c"), st.just(ROOT)), max_size=2)),
        draw(st.frozensets(PATHS, max_size=3)),
    )


@settings(max_examples=300)
@given(situations(), st.booleans())
def test_plan_is_that_of_the_model(situation: Situation, retry_failed: bool) -> None:
    """Each path alone decides what becomes of it; the merge of two sorted streams gives the same."""
    seen = {path: sign for path, sign in situation.on_disk.items() if not situation.hides(path)}
    expected = Plan()
    for path, sign in sorted(seen.items()):
        file, row = ImageFile(path, *sign), situation.known.get(path)
        if situation.failed.get(path) == sign and not retry_failed:
            expected.failed_before += 1
        elif row is None:
            expected.new.append(file)
        elif sign != (row.size, row.mtime_ns) or row.read_at_ns - row.mtime_ns < RACY_WINDOW_NS:
            expected.changed.append(Match(file, row))
        elif row.missing:
            expected.touched.append(Match(file, row))
        else:
            expected.unchanged += 1
    unseen = [row for path, row in sorted(situation.known.items()) if path not in seen]
    expected.kept = sum(situation.hides(row.path) for row in unseen)
    expected.missing = [row for row in unseen if not situation.hides(row.path) and not row.missing]
    gone = (path for path in situation.failed if path not in seen and not situation.hides(path))
    plan = situation.plan(retry_failed=retry_failed)
    assert sorted(plan.failures_gone) == sorted(gone)
    assert replace(plan, failures_gone=[], problems=[]) == expected
    assert [problem for problem in situation.scanned() if isinstance(problem, ScanProblem)] == plan.problems


@given(situations())
def test_unreadable_paths_never_cost_a_row(situation: Situation) -> None:
    """Nothing in or at a problem is missing or forgotten, however the rows lie around it."""
    plan = situation.plan()
    assert not any(situation.hides(path) for path in (*(row.path for row in plan.missing), *plan.failures_gone))


@given(st.dictionaries(PATHS, SIGNS))
def test_same_state_changes_nothing(state: dict[bytes, tuple[int, int]]) -> None:
    """plan(x, x) has nothing to do."""
    rows = [
        KnownImage(1, path, *sign, b"", sign[1] + RACY_WINDOW_NS, missing=False) for path, sign in sorted(state.items())
    ]
    plan = plan_update([ImageFile(path, *sign) for path, sign in sorted(state.items())], rows)
    assert plan == Plan(unchanged=len(state))
    assert list(plan.files_to_embed) == []


def test_what_is_in_a_cloud_stays_as_it_is_known() -> None:
    """Rows and failures at it and, for a directory, below it: no picture is missing, new, changed or unchanged."""
    rows = [known_image(b"/r/a.jpg", 1), known_image(b"/r/b/c.jpg", 2), known_image(b"/r/d.jpg", 3)]
    files = [
        image_file(b"/r/a.jpg", 7),
        image_file(b"/r/d.jpg", 1),
        image_file(b"/r/e.jpg"),
        image_file(b"/r/f.jpg", 1),
    ]
    away, known, new, failed = (NotOnDisk(file.path, file) for file in files)
    failures = {b"/r/f.jpg": (1, 1), b"/r/b/g.jpg": (1, 1)}
    asked: list[ImageFile] = []
    plan = plan_update([away, NotOnDisk(b"/r/b"), known, new, failed], rows, failures, on_new=asked.append)
    assert plan == Plan(not_on_disk=5, kept=1)
    assert asked == []


@pytest.mark.parametrize(("size", "is_back"), [(1, True), (2, False)])
def test_a_missing_picture_that_is_in_a_cloud_is_back(size: int, is_back: bool) -> None:
    """If its size and time are those of the row: the content cannot be compared."""
    row = known_image(b"/r/a.jpg", missing=True)
    file = image_file(b"/r/a.jpg", size)
    plan = plan_update([NotOnDisk(file.path, file)], [row])
    assert plan == Plan(not_on_disk=1, touched=[Match(file, row)] if is_back else [])


def test_a_root_that_went_into_a_cloud_is_not_an_empty_one() -> None:
    """Nothing is wrong with it."""
    away, row = image_file(b"/r/a.jpg"), known_image(b"/r/b.jpg", 2)
    plan = plan_update([NotOnDisk(away.path, away)], [row])
    assert keep_emptied_root(plan, ROOT) == Plan(not_on_disk=1, missing=[row])


def test_unreadable_file_does_not_cost_its_neighbour() -> None:
    """A file that cannot be looked at sorts before `name-1`, but a directory of its name after."""
    rows = [known_image(b"/r/x.jpg", 1), known_image(b"/r/x.jpg-1.jpg", 2)]
    plan = plan_update([ScanProblem(b"/r/x.jpg", "unreadable"), image_file(b"/r/x.jpg-1.jpg")], rows)
    assert (plan.kept, plan.unchanged, plan.missing, plan.new) == (1, 1, [], [])


def test_time_before_modification_is_racy_too() -> None:
    """A clock that went back must not hide a change: reading and writing within the window is not trusted."""
    row = known_image(b"/r/a")._replace(read_at_ns=LONG_AGO_NS - RACY_WINDOW_NS + 1)
    plan = plan_update([image_file(b"/r/a")], [row])
    assert [match.image for match in plan.changed] == [row]


def test_plans_of_two_roots_add_up() -> None:
    """Every count and list of the second is taken in."""
    file, row = image_file(b"/r/a"), known_image(b"/r/b")
    matches = [Match(file, row)]
    problems = [ScanProblem(b"/r/d", "why")]
    plan = Plan([file], matches, matches, matches, matches, [row], 1, 2, 3, [b"/r/c"], problems)
    total = Plan()
    total.add(plan)
    assert total == plan
    total.add(plan)
    assert (len(total.new), total.kept, total.failed_before, len(total.problems)) == (2, 4, 6, 2)
    assert total.embed_count == len(list(total.files_to_embed)) == 4


# Roots that are suddenly empty


@given(situations())
def test_emptied_root_keeps_its_rows_and_no_other_does(situation: Situation) -> None:
    """Only where rows would go and nothing at all is left is the plan replaced by one that does nothing."""
    plan = situation.plan()
    kept = keep_emptied_root(situation.plan(), ROOT)
    seen = [path for path in situation.on_disk if not situation.hides(path)]
    if plan.missing and not seen and not plan.kept:
        assert kept.kept == len(plan.missing)
        assert replace(kept, kept=0, problems=[]) == Plan()
        assert kept.problems[-1].path == ROOT
    else:
        seen_nothing = not (plan.new or plan.changed or plan.unchanged or plan.failed_before or plan.kept)
        assert kept == plan or (seen_nothing and plan.touched)


# What content settles


def digest_of(contents: Mapping[bytes, bytes]) -> Any:
    """Return a digest that looks contents up by path; a file that is not there cannot be read."""

    def digest(file: ImageFile) -> bytes | None:
        return sha256(contents[file.path]).digest() if file.path in contents else None

    return digest


CONTENTS = st.sampled_from([b"x", b"y", b"xx", b"yy"])


@given(st.dictionaries(PATHS, st.tuples(CONTENTS, CONTENTS | st.none())))
def test_only_changed_content_is_changed(states: dict[bytes, tuple[bytes, bytes | None]]) -> None:
    """A touched file keeps its vector; one with other content, or that cannot be read, does not."""
    now = {path: new for path, (_, new) in states.items() if new is not None}
    changed = [
        Match(image_file(path, len(new or old)), known_image(path, content=old)) for path, (old, new) in states.items()
    ]
    plan = Plan(changed=list(changed))
    settle_by_content(plan, digest_of(now))
    same = [match for match in changed if now.get(match.file.path) == states[match.file.path][0]]
    assert plan == Plan(touched=same, changed=[match for match in changed if match not in same])


@st.composite
def moves(draw: st.DrawFn) -> tuple[Plan, list[KnownImage], list[KnownImage], dict[bytes, bytes]]:
    """Return a plan, gone rows, rows elsewhere, and what the plan's files contain."""
    new = draw(st.lists(CONTENTS | st.none(), max_size=5))
    changed = draw(st.lists(CONTENTS, max_size=3))
    missing, before, elsewhere = (draw(st.lists(CONTENTS, max_size=3)) for _ in range(3))
    plan, contents = Plan(), {}
    for number, content in enumerate(new):
        file = image_file(f"/r/new{number}".encode(), len(content or b"x"))
        plan.new.append(file)
        if content is not None:
            contents[file.path] = content
    for number, content in enumerate(changed):
        file = image_file(f"/r/changed{number}".encode(), len(content))
        plan.changed.append(Match(file, known_image(file.path, 100 + number, content=b"before")))
        contents[file.path] = content
    rows = [
        [
            known_image(f"/{kind}/{number}".encode(), base + number, content=content)
            for number, content in enumerate(all_)
        ]
        for kind, base, all_ in (("r", 200, missing), ("r/before", 300, before), ("else", 400, elsewhere))
    ]
    plan.missing = rows[0]
    return plan, [*rows[0], *rows[1]], rows[2], contents


@given(moves())
def test_moves_use_each_gone_row_once_and_leave_no_match_over(
    case: tuple[Plan, list[KnownImage], list[KnownImage], dict[bytes, bytes]],
) -> None:
    """As many files as there are gone rows of their content move; the rest is copied from elsewhere, or embedded."""
    plan, gone, elsewhere, contents = case
    missing, files = list(plan.missing), Counter(plan.files_to_embed)
    settle_moves(plan, gone, elsewhere, digest_of(contents))
    digests = {path: sha256(content).digest() for path, content in contents.items()}
    settled = [*plan.moved, *plan.copied]
    assert all(digests[match.file.path] == match.image.sha256 for match in settled)
    assert {match.image.id for match in plan.copied} <= {row.id for row in elsewhere}
    assert Counter([*plan.files_to_embed, *(match.file for match in settled)]) == files
    per_content = Counter(digests.values())
    rows_per_content = Counter(row.sha256 for row in gone)
    moved = Counter(match.image.sha256 for match in plan.moved)
    assert moved == per_content & rows_per_content
    assert max(Counter(match.image.id for match in plan.moved).values(), default=0) <= 1
    assert plan.missing == [row for row in missing if row.id not in {match.image.id for match in plan.moved}]
    known_elsewhere = {row.sha256 for row in elsewhere}
    assert not any(digests.get(file.path) in known_elsewhere for file in plan.files_to_embed)


def test_changed_file_that_is_a_moved_one_keeps_the_moved_vector() -> None:
    """`mv a.jpg b.jpg` over another picture moves row a to b; nothing is embedded."""
    a, b = known_image(b"/r/a.jpg", 1, content=b"aa"), known_image(b"/r/b.jpg", 2, content=b"bb")
    file = image_file(b"/r/b.jpg", 2, LONG_AGO_NS + 1)
    plan = plan_update([file], [a, b])
    digest = digest_of({b"/r/b.jpg": b"aa"})
    settle_by_content(plan, digest)
    settle_moves(plan, plan.missing, [], digest)
    assert plan == Plan(moved=[Match(file, a)])


def test_only_files_of_a_known_size_are_read_for_moves() -> None:
    """A new library is not hashed twice."""
    read = []

    def digest(file: ImageFile) -> bytes:
        read.append(file.path)
        return b""

    plan = Plan(new=[image_file(b"/r/1", 1), image_file(b"/r/7", 7)])
    settle_moves(plan, [known_image(b"/r/gone", content=b"1234567")], [], digest)
    assert read == [b"/r/7"]


# Known other names


@given(situations(), st.dictionaries(PATHS, SIGNS, max_size=6))
def test_names_are_set_apart_as_each_path_alone_decides(
    situation: Situation, names: dict[bytes, tuple[int, int]]
) -> None:
    """A name that is as its image was is known, another one in doubt; one not seen is gone or out of sight."""
    known = [KnownName(path, b"/r/main", *sign, 0) for path, sign in sorted(names.items())]
    plan, scanned = Plan(), situation.scanned()
    rest = list(set_names_apart(scanned, known, plan))
    files = [item for item in scanned if isinstance(item, ImageFile)]
    here = [file for file in files if file.path in names]
    assert rest == [item for item in scanned if item not in here]
    assert plan.names_known == sum(names[file.path] == file[1:3] for file in here)
    assert plan.names_in_doubt == [(file, b"/r/main") for file in here if names[file.path] != file[1:3]]
    seen = {file.path for file in here}
    assert plan.names_gone == [path for path in sorted(names) if path not in seen and not situation.hides(path)]


def test_a_name_in_a_cloud_is_neither_gone_nor_looked_at() -> None:
    """Nor is one in a directory that is not on this disk."""
    known = [KnownName(path, b"/r/main", 1, LONG_AGO_NS, 0) for path in (b"/r/a.jpg", b"/r/b/c.jpg", b"/r/d.jpg")]
    away: list[Scanned] = [NotOnDisk(b"/r/a.jpg", image_file(b"/r/a.jpg")), NotOnDisk(b"/r/b")]
    plan = Plan()
    assert list(set_names_apart([*away, image_file(b"/r/d.jpg")], known, plan)) == away
    assert plan == Plan(names_known=1)


def test_another_inode_is_noted_and_nothing_else() -> None:
    """The picture is unchanged: its path, size and time are."""
    rows = [known_image(b"/r/%d" % number, number)._replace(inode=number) for number in range(1, 4)]
    files = [image_file(row.path)._replace(inode=row.inode + (row.id == 2)) for row in rows]
    plan = plan_update(files, rows)
    assert (plan.unchanged, plan.renumbered.tolist()) == (3, [2, 3])
