"""What an index holds and what it could not take in, as JSON with pinned keys and as text."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given

from image_index.present.status import failure_record, failure_text, status_record, status_text
from image_index.present.summary import summary_record
from image_index.records import (
    Counts,
    Failure,
    ImageFile,
    KnownFailure,
    KnownRun,
    ModelFacts,
    Outcome,
    Preprocess,
    Root,
    Stage,
    Summary,
)
from image_index.upkeep.status import IndexStatus
from tests.support.texts import harmless, paths, texts

MODEL = ModelFacts("starter", "0" * 64, "{}", Preprocess((8, 8), (0, 0, 0), (1, 1, 1)), 512)
SUMMARY = Summary(embedded=3, seconds=1.5)
RUN = KnownRun(0, 90, Outcome.DONE, summary=SUMMARY)
STATUS = IndexStatus(Counts(3, 0, 0), (), MODEL, 10, None)


def failure(path: bytes, reason: str = "the file is cut short") -> KnownFailure:
    """Return a failure as the catalog knows it."""
    return KnownFailure(Failure(ImageFile(path, 1, 1), Stage.DECODE, reason), 2, 0, 86_400)


def test_failure_has_pinned_keys() -> None:
    """What, where, why, how often, and since when in UTC."""
    assert failure_record(failure(b"/a.jpg")) == {
        "path": "/a.jpg",
        "stage": "decode",
        "reason": "the file is cut short",
        "attempts": 2,
        "first_failed_at": "1970-01-01T00:00:00Z",
        "last_failed_at": "1970-01-02T00:00:00Z",
    }


def test_status_has_pinned_keys() -> None:
    """One object with everything a script may ask."""
    roots = (Root(b"/photos", 60, None), Root(b"/\xff", None, "Permission denied"))
    assert status_record(IndexStatus(Counts(3, 2, 1), roots, MODEL, 4096, RUN)) == {
        "images": 3,
        "missing": 2,
        "failures": 1,
        "without_vector": 0,
        "roots": [
            {"path": "/photos", "scanned_at": "1970-01-01T00:01:00Z", "problem": None},
            {"path_bytes": base64.b64encode(b"/\xff").decode(), "scanned_at": None, "problem": "Permission denied"},
        ],
        "model": "starter",
        "dim": 512,
        "bytes": 4096,
        "last_run": {
            "started_at": "1970-01-01T00:00:00Z",
            "ended_at": "1970-01-01T00:01:30Z",
            "outcome": "done",
            "error": None,
            **summary_record(SUMMARY),
        },
    }


def test_status_of_an_index_without_a_model_or_a_run_keeps_its_keys() -> None:
    """What is not there is null."""
    record = status_record(IndexStatus(Counts(0, 0, 0), (), None, 0, None))
    assert (record["model"], record["dim"], record["last_run"], record["roots"]) == (None, None, None, [])


@given(paths, texts)
def test_failures_are_harmless_and_one_a_line(path: bytes, reason: str) -> None:
    """Neither the name nor what a library says of the file reaches a terminal raw."""
    assert harmless(failure_text(failure(path, reason)), lines=1)


@given(paths, texts)
def test_status_is_harmless_and_has_a_line_for_each_root(path: bytes, name: str) -> None:
    """Roots, problems and the model's name are shown escaped."""
    model = ModelFacts(name, "0" * 64, "{}", MODEL.preprocess, 3)
    roots = (Root(path, 0, None), Root(path + b"2", None, name))
    assert harmless(status_text(replace(STATUS, model=model, roots=roots)), lines=8)


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        (None, "never"),
        (RUN, "1970-01-01T00:00:00Z, done, 3 embedded in 2 s"),
        (KnownRun(0, None, Outcome.RUNNING), "1970-01-01T00:00:00Z, running"),
        (KnownRun(0, 9, Outcome.FAILED, "no model"), "Z, failed: no model"),
    ],
)
def test_status_says_how_the_last_run_went(run: KnownRun | None, shown: str) -> None:
    """A run that goes on is told from one that is done, and from one that failed."""
    assert shown in status_text(replace(STATUS, last_run=run))


def test_status_says_what_the_last_run_left_out_by_default() -> None:
    """And nothing of it where that was nothing."""
    run = replace(RUN, summary=replace(SUMMARY, excluded={"thumbnails": 3}))
    assert "   3 directories left out by default (thumbnails 3)\n" in status_text(replace(STATUS, last_run=run))
    assert "left out" not in status_text(replace(STATUS, last_run=RUN))


def test_status_says_what_the_last_run_left_in_a_cloud() -> None:
    """And how to have it."""
    run = replace(RUN, summary=replace(SUMMARY, not_on_disk=3))
    text = status_text(replace(STATUS, last_run=run))
    assert "   3 not on this disk (imgidx train --fetch-cloud downloads them)\n" in text
    assert "not on this disk" not in status_text(replace(STATUS, last_run=RUN))


def test_status_counts_pictures_without_a_vector_apart() -> None:
    """With a word on why; where there are none there is no such line."""
    assert "no vector  2   (the model sees nothing" in status_text(replace(STATUS, counts=Counts(3, 0, 0, 2)))
    assert "no vector" not in status_text(STATUS)


def test_status_without_failures_says_nothing_of_how_to_list_them() -> None:
    """The way to the failures is shown where there are some."""
    assert "imgidx failures" not in status_text(STATUS)
    assert "imgidx failures" in status_text(replace(STATUS, counts=Counts(3, 0, 1)))
