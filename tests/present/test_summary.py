"""What an update did or would do, as JSON with pinned keys and as text."""

from __future__ import annotations

from dataclasses import asdict, replace

from image_index.present.summary import plan_text, summary_record, summary_text
from image_index.records import ImageFile, KnownImage, MachineShare, Match, StageSeconds, Summary
from image_index.training.plan import Plan


def test_summary_has_pinned_keys() -> None:
    """The last line of `train --json`."""
    stages = StageSeconds(scan=0.5, load=1, read=0.25, decode=2, forward=3, idle=0.125, store=0.75, index=4)
    summary = Summary(
        embedded=10,
        unchanged=1,
        moved=2,
        missing=3,
        failed=4,
        not_on_disk=5,
        excluded={"trash": 2},
        seconds=4.0,
        stages=stages,
        machines=(MachineShare("one", 6, 1.23456),),
    )
    assert summary_record(summary) == {
        "embedded": 10,
        "unchanged": 1,
        "moved": 2,
        "missing": 3,
        "failed": 4,
        "not_on_disk": 5,
        "excluded": {"trash": 2},
        "seconds": 4.0,
        "pictures_per_second": 2.5,
        "machines": [{"name": "one", "pictures": 6, "pictures_per_second": 1.235}],
        "stage_seconds": asdict(stages),
    }


def test_summary_names_the_machines_of_a_cluster() -> None:
    """Who did how much, and how fast."""
    machines = (MachineShare("one", 600, 62.25), MachineShare("two", 400, 41.0))
    assert summary_text(Summary(embedded=1000, seconds=20.0, machines=machines)).splitlines()[-1] == (
        "machines: one 600 (62.2 pictures/s), two 400 (41.0 pictures/s)"
    )


def test_summary_names_every_count_that_is_not_zero_and_no_other() -> None:
    """A run is told in one line, and where its time went in another."""
    summary = Summary(planned=19, embedded=10, moved=2, failed=4, seconds=4.0, stages=StageSeconds(load=3.14, store=1))
    assert summary_text(summary) == (
        "embedded 10 in 4.0 s (2.5 pictures/s), 2 moved, 4 failed, 5 left to do\n"
        "seconds: scan 0.0, load 3.1, read 0.0, decode 0.0, forward 0.0, idle 0.0, store 1.0, index 0.0\n"
    )


def test_summary_of_an_index_up_to_date_says_that_no_child_was_started() -> None:
    """Nothing to do is worth saying."""
    assert summary_text(Summary(unchanged=7, seconds=0.5)) == (
        "nothing to embed, no child was started (0.5 s), 7 unchanged\n"
    )
    assert summary_text(Summary(unchanged=7, seconds=5, exported=True)) == (
        "nothing to embed, one child was started to export the towers (5.0 s), 7 unchanged\n"
    )


def test_plan_says_what_would_be_done() -> None:
    """New and changed pictures are what would be embedded."""
    file = ImageFile(b"/b", 2, 2)
    changed = Match(file, KnownImage(1, b"/b", 1, 1, bytes(32), 1, missing=False))
    plan = Plan(new=[ImageFile(b"/a", 1, 1)], changed=[changed], unchanged=3)
    assert plan_text(plan) == "would embed 2: 1 new, 1 changed, 3 unchanged\n"
    assert ", 5 not on this disk\n" in plan_text(replace(plan, not_on_disk=5))
    assert summary_text(Summary(not_on_disk=5)).endswith(", 5 not on this disk\n")
    plan.excluded["trash"] = 2
    assert plan_text(plan).splitlines()[1:] == ["2 directories left out by default (trash 2)"]
