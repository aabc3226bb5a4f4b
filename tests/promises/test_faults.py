"""Four attacks of `tests.faults`, at a small scale; `make faults` runs all of them at full length, nightly."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import cluster, kill_parent, machines, poison, queue
from tests.faults.__main__ import heading, line, name_of, skipped
from tests.faults.photo_library import Row, agrees, compare, library
from tests.faults.tally import Attack, Skipped, Tally
from tests.support.vector_files import flip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SCALE = 0.03


@pytest.mark.parametrize("attack", [kill_parent.attack, poison.attack, cluster.attack, queue.attack], ids=name_of)
def test_an_attack_does_no_harm(attack: Attack, sample_photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost, nothing is embedded twice, nothing hangs, and nothing is wrong."""
    with caplog.at_level(logging.ERROR, logger="tests.faults"):
        tally = attack(1, SCALE)
    assert tally.is_clean, (tally, caplog.messages)


def test_the_harness_sees_what_is_lost_or_embedded_again() -> None:
    """A picture that is gone counts as lost; one with a new id has been embedded twice."""
    before = {name: Row(number, b"", b"") for number, name in enumerate((b"kept", b"again", b"gone"))}
    after = {b"kept": before[b"kept"], b"again": replace(before[b"again"], image_id=9)}
    assert compare(before, after) == Tally("", lost=1, embedded_twice=1)


def test_the_harness_sees_an_index_that_differs(sample_photos: Path) -> None:
    """Another vector, a missing picture and a damaged file of vectors are each wrong."""
    with library(12, seed=1) as made:
        made.run()
        rows = made.rows()
        assert agrees(made, rows) == Tally("")
        path, row = next(iter(rows.items()))
        assert agrees(made, {**rows, path: replace(row, vector=b"")}).wrong == 1
        assert agrees(made, {**rows, b"another": row}) == Tally("", lost=1, wrong=1)
        flip(made.home.vectors, 10)
        assert agrees(made, rows).wrong >= 1


def test_a_run_that_overruns_its_deadline_is_a_hang(sample_photos: Path) -> None:
    """It is killed with all its children, so that the attacks go on."""
    with library(12, seed=1) as made:
        outcome = made.start(pause_s=30).finish(1)
    assert outcome.hung


def test_an_attack_that_cannot_be_made_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not counted as one that did no harm."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Skipped, match="no ip"):
        machines.attack(1, SCALE)
    assert skipped("machines", "no ip", as_json=False) == "machines: skipped, no ip"
    assert json.loads(skipped("machines", "no ip", as_json=True)) == {"fault": "machines", "skipped": "no ip"}


def test_the_table_has_a_column_for_each_count() -> None:
    """A person reads the table, a program the JSON."""
    tally = Tally("something", 5, 0, 1, 2, 3)
    assert line(tally, 1.5, as_json=False).split() == ["something", "5", "0", "1", "2", "3", "1.5"]
    assert heading().split() == ["fault", "tried", "lost", "embedded", "twice", "hangs", "wrong", "seconds"]
    assert json.loads(line(tally, 1.5, as_json=True))["embedded_twice"] == 1
