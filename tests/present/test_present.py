"""Results as JSON with pinned keys, and as text that no file name can harm."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import asdict
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from image_index.models.names import list_models
from image_index.present import jsonl, text
from image_index.records import (
    Counts,
    Failure,
    Hit,
    ImageFile,
    KnownFailure,
    KnownImage,
    KnownRun,
    Match,
    ModelFacts,
    Outcome,
    Preprocess,
    Root,
    ScanProblem,
    Stage,
    StageSeconds,
    Summary,
)
from image_index.training.pipeline import summary_record
from image_index.training.plan import Plan
from tests.support.records import hit, image_facts

MODEL = ModelFacts("starter", "0" * 64, "{}", Preprocess((8, 8), (0, 0, 0), (1, 1, 1)), 512)
RUN = KnownRun(0, 90, Outcome.DONE, summary={"embedded": 3, "seconds": 1.5})

paths = st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw).map(lambda raw: b"/" + raw)
texts = st.text(max_size=60)


def failure(path: bytes, reason: str = "the file is cut short") -> KnownFailure:
    """Return a failure as the catalog knows it."""
    return KnownFailure(Failure(ImageFile(path, 1, 1), Stage.DECODE, reason), 2, 0, 86_400)


# JSON


def test_hit_has_pinned_keys() -> None:
    """What it is worth, where it is, and what is known of it, in this order."""
    found = Hit(1, 0.25, 3.14159, image_facts(b"/photos/a.jpg", 7, taken_at_s=86_400, camera="Canon EOS 5D"))
    facts = '"date": "1970-01-02T00:00:00Z", "width": 4, "height": 3, "format": "jpeg", "camera": "Canon EOS 5D"}'
    line = '"rank": 1, "score": 0.25, "sigma": 3.142, "path": "/photos/a.jpg", ' + facts
    assert jsonl.hit_line(found) == "{" + line
    assert jsonl.hit_line(found, "a cat") == '{"query": "a cat", ' + line


def test_date_of_a_picture_without_exif_is_that_of_its_file() -> None:
    """Times that no calendar has are the nearest that it has."""
    dates = [jsonl.image_fields(image_facts(mtime_ns=at_s * 10**9))["date"] for at_s in (86_400, -(2**60), 2**60)]
    assert dates == ["1970-01-02T00:00:00Z", "0001-01-02T00:00:00Z", "9999-12-30T12:00:00Z"]
    unknown = json.loads(jsonl.hit_line(Hit(1, 0.5, None, image_facts())))
    assert (unknown["sigma"], unknown["camera"]) == (None, None)


def test_name_that_is_not_utf_8_stands_as_base64_under_another_key() -> None:
    """As in ripgrep, `path_bytes` takes the place of `path`."""
    record = json.loads(jsonl.hit_line(hit(1, 0.5, b"/photos/\xff.jpg", 7)))
    assert list(record)[:4] == ["rank", "score", "sigma", "path_bytes"]
    assert base64.b64decode(record["path_bytes"]) == b"/photos/\xff.jpg"


def test_failure_has_pinned_keys() -> None:
    """What, where, why, how often, and since when in UTC."""
    assert json.loads(jsonl.known_failure_line(failure(b"/a.jpg"))) == {
        "path": "/a.jpg",
        "stage": "decode",
        "reason": "the file is cut short",
        "attempts": 2,
        "first_failed_at": "1970-01-01T00:00:00Z",
        "last_failed_at": "1970-01-02T00:00:00Z",
    }


def test_status_has_pinned_keys() -> None:
    """One object with everything a script may ask."""
    roots = [Root(b"/photos", 60, None), Root(b"/\xff", None, "Permission denied")]
    assert json.loads(jsonl.status_line(Counts(3, 2, 1), roots, MODEL, 4096, RUN)) == {
        "images": 3,
        "missing": 2,
        "failures": 1,
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
            "embedded": 3,
            "seconds": 1.5,
        },
    }


def test_status_of_an_index_without_a_model_or_a_run_keeps_its_keys() -> None:
    """What is not there is null."""
    record = json.loads(jsonl.status_line(Counts(0, 0, 0), [], None, 0, None))
    assert (record["model"], record["dim"], record["last_run"], record["roots"]) == (None, None, None, [])


def test_summary_has_pinned_keys() -> None:
    """The last line of `train --json`."""
    stages = StageSeconds(scan=0.5, load=1, read=0.25, decode=2, forward=3, idle=0.125, store=0.75, index=4)
    summary = Summary(embedded=10, unchanged=1, moved=2, missing=3, failed=4, seconds=4.0, stages=stages)
    assert json.loads(jsonl.record_line(summary_record(summary))) == {
        "embedded": 10,
        "unchanged": 1,
        "moved": 2,
        "missing": 3,
        "failed": 4,
        "seconds": 4.0,
        "pictures_per_second": 2.5,
        "stage_seconds": asdict(stages),
    }


@given(paths)
def test_every_path_comes_back_from_its_json(path: bytes) -> None:
    """Any name the system allows survives, on one line of valid UTF-8."""
    line = jsonl.hit_line(hit(1, 0.5, path, 1))
    assert "\n" not in line
    record = json.loads(line.encode("utf-8"))
    assert (base64.b64decode(record["path_bytes"]) if "path_bytes" in record else record["path"].encode()) == path


# Text


def harmless(shown: str, lines: int | None = None) -> bool:
    """Tell whether a text holds nothing that a terminal acts on, but line ends; `lines` is how many those are."""
    bare = shown.replace("\n", "")
    return all(c.isprintable() for c in bare) and lines in (None, shown.count("\n"))


@given(st.lists(paths, max_size=4), st.integers(30, 120))
def test_hits_on_a_terminal_are_harmless_and_fit_its_width(found: list[bytes], width: int) -> None:
    """Whatever a file is called, no line of the table is too wide, and no control character gets through."""
    hits = [hit(rank, 0.123, path, rank) for rank, path in enumerate(found, 1)]
    shown = text.hits_table(hits, width=width, colour=False)
    assert harmless(shown)
    assert all(cell_len(line) <= width for line in shown.splitlines())


@given(paths)
def test_escaped_paths_are_harmless_and_one_a_line(path: bytes) -> None:
    """A terminal gets one line a path, newlines in names or not."""
    assert harmless(text.path_lines([hit(1, 0.5, path, 1)], end="\n", escaped=True), lines=1)


@given(st.lists(paths, max_size=4))
def test_paths_for_programs_are_byte_for_byte(found: list[bytes]) -> None:
    """What goes to xargs -0 is what the system calls the files."""
    lines = text.path_lines([hit(1, 0.5, path, 1) for path in found], end="\0", escaped=False)
    assert os.fsencode(lines) == b"".join(path + b"\0" for path in found)


@given(paths, texts)
def test_failures_are_harmless_and_one_a_line(path: bytes, reason: str) -> None:
    """Neither the name nor what a library says of the file reaches a terminal raw."""
    assert harmless(text.failure_text(failure(path, reason)), lines=1)


@given(paths, texts)
def test_problems_are_harmless(path: bytes, reason: str) -> None:
    """A directory's name is shown escaped."""
    assert harmless(text.problem_text(ScanProblem(path, reason)), lines=0)


@given(paths, texts)
def test_status_is_harmless_and_has_a_line_for_each_root(path: bytes, name: str) -> None:
    """Roots, problems and the model's name are shown escaped."""
    model = ModelFacts(name, "0" * 64, "{}", MODEL.preprocess, 3)
    roots = [Root(path, 0, None), Root(path + b"2", None, name)]
    assert harmless(text.status_text(Counts(1, 0, 0), roots, model, 10, None), lines=8)


def test_path_of_plain_letters_is_shown_as_it_is() -> None:
    """Letters of any script, spaces and quotes are not escaped."""
    path = "/fotos/Straße \"é\" 写真 'x'.jpg".encode()
    assert text.path_lines([hit(1, 0.5, path, 1)], end="\n", escaped=True) == path.decode() + "\n"


def test_markup_in_a_path_is_shown_not_obeyed() -> None:
    """Square brackets and colons in names mean nothing to the table."""
    hits = [hit(1, 0.5, b"/a/[red]x[/red] :smile: [link=x].jpg", 1)]
    assert "/a/[red]x[/red] :smile: [link=x].jpg" in text.hits_table(hits, width=100, colour=False)


def test_hits_table_shows_rank_score_sigma_path_and_date() -> None:
    """One row a hit, in the order given; a narrow terminal has no room for the date."""
    hits = [hit(1, 0.34567, b"/a.jpg", 1), Hit(2, -0.1, None, image_facts(b"/b.jpg", taken_at_s=10**9))]
    rows = [line.split() for line in text.hits_table(hits, width=80, colour=False).splitlines()]
    assert rows[-2:] == [["1", "0.346", "3.5", "/a.jpg", "2001-09-09"], ["2", "-0.100", "/b.jpg", "2001-09-09"]]
    rows = [line.split() for line in text.hits_table(hits, width=50, colour=False).splitlines()]
    assert rows[-2:] == [["1", "0.346", "3.5", "/a.jpg"], ["2", "-0.100", "/b.jpg"]]


@given(paths)
def test_a_path_links_to_its_file(path: bytes) -> None:
    """Whatever it is called, the link is one that a terminal takes back to the same bytes."""
    shown = text.hits_table([hit(1, 0.5, path)], width=200, colour=True)
    links = set(re.findall(r"\x1b]8;[^;]*;file://([!-~]+)\x1b", shown))
    assert {unquote_to_bytes(link) for link in links} == {path}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_models_table_fits_the_width_and_names_every_model(width: int) -> None:
    """A narrow terminal folds what does not fit."""
    models = list_models()
    shown = text.models_table(models, width=width, colour=False)
    assert all(cell_len(line) <= width for line in shown.splitlines())
    if width >= 200:
        assert all(model.name in shown for model in models)


def test_colour_is_used_only_where_asked_for() -> None:
    """Escape codes go to terminals alone."""
    hits = [hit(1, 0.5, b"/a.jpg", 1)]
    assert "\x1b[" not in text.hits_table(hits, width=80, colour=False)
    assert "\x1b[" in text.hits_table(hits, width=80, colour=True)


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        (None, "never"),
        (RUN, "1970-01-01T00:00:00Z, done, 3 embedded in 2 s"),
        (KnownRun(0, None, Outcome.RUNNING), "not finished: running, or killed"),
        (KnownRun(0, 9, Outcome.FAILED, "no model"), "Z, failed: no model"),
    ],
)
def test_status_says_how_the_last_run_went(run: KnownRun | None, shown: str) -> None:
    """A run that was killed is told from one that is done."""
    assert shown in text.status_text(Counts(3, 0, 0), [], MODEL, 10, run)


def test_status_without_failures_says_nothing_of_how_to_list_them() -> None:
    """The way to the failures is shown where there are some."""
    assert "imgidx failures" not in text.status_text(Counts(3, 0, 0), [], MODEL, 10, None)
    assert "imgidx failures" in text.status_text(Counts(3, 0, 1), [], MODEL, 10, None)


def test_summary_names_every_count_that_is_not_zero_and_no_other() -> None:
    """A run is told in one line, and where its time went in another."""
    summary = Summary(embedded=10, moved=2, failed=4, remaining=5, seconds=4.0, stages=StageSeconds(load=3.14, store=1))
    assert text.summary_text(summary) == (
        "embedded 10 in 4.0 s (2.5 pictures/s), 2 moved, 4 failed, 5 left to do\n"
        "seconds: scan 0.0, load 3.1, read 0.0, decode 0.0, forward 0.0, idle 0.0, store 1.0, index 0.0\n"
    )


def test_summary_of_an_index_up_to_date_says_that_no_child_was_started() -> None:
    """Nothing to do is worth saying."""
    assert text.summary_text(Summary(unchanged=7, seconds=0.5)) == (
        "nothing to embed, no child was started (0.5 s), 7 unchanged\n"
    )
    assert text.summary_text(Summary(unchanged=7, seconds=5, exported=True)) == (
        "nothing to embed, one child exported the text tower (5.0 s), 7 unchanged\n"
    )


def test_plan_says_what_would_be_done() -> None:
    """New and changed pictures are what would be embedded."""
    file = ImageFile(b"/b", 2, 2)
    changed = Match(file, KnownImage(1, b"/b", 1, 1, bytes(32), 1, missing=False))
    plan = Plan(new=[ImageFile(b"/a", 1, 1)], changed=[changed], unchanged=3)
    assert text.plan_text(plan) == "would embed 2: 1 new, 1 changed, 3 unchanged\n"
