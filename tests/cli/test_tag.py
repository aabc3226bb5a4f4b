"""`imgidx tag` as users and scripts run it."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Trained
from tests.support.shell import Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LABELS = "dog,red car,something else"


def test_a_pipe_gets_lines_of_path_label_and_probability(searcher: Shell, library: Trained) -> None:
    """Byte for byte, one for each label."""
    done = searcher.run("tag", "--labels", LABELS, "--top", "2", "--glob", "!new*")
    assert (done.code, done.err) == (0, "")
    rows = [line.split(b"\t") for line in done.out.splitlines()]
    assert {path for path, _, _ in rows} == {path for path in set(library.good) if b"\n" not in path}
    assert {label.decode() for _, label, _ in rows} <= set(LABELS.split(","))
    first, second = rows[0], rows[1]
    assert first[0] == second[0]
    assert 1 >= float(first[2]) >= float(second[2]) > 0


def test_json_and_csv_say_the_same(searcher: Shell, library: Trained) -> None:
    """Every picture with all its labels; the probabilities of a picture add up to 1."""
    records = searcher.run("tag", "--labels", LABELS, "--top", "3", "--json").records
    assert len(records) == len(set(library.good))
    for record in records:
        assert set(record) <= {"path", "path_bytes", "labels"}
        assert [list(label) for label in record["labels"]] == [["label", "probability"]] * 3
        assert sum(label["probability"] for label in record["labels"]) == pytest.approx(1, abs=1e-5)
    done = searcher.run("tag", "--labels", LABELS, "--top", "3", "--csv")
    header, *rows = csv.reader(io.StringIO(done.out.decode(errors="surrogateescape"), newline=""))
    assert header == ["path", "label", "probability"]
    assert {os.fsencode(path) for path, _, _ in rows} == set(library.good)
    expected = [(label["label"], label["probability"]) for record in records for label in record["labels"]]
    assert [(label, float(probability)) for _, label, probability in rows] == expected


def test_labels_from_a_file_and_from_stdin_are_the_same(searcher: Shell, library: Trained) -> None:
    """One a line."""
    listed = searcher.run("tag", "--labels", LABELS)
    file = searcher.directory / "labels.txt"
    file.write_text(LABELS.replace(",", "\n"), encoding="utf-8")
    assert searcher.run("tag", "--labels", file) == listed
    with file.open("rb") as stdin:
        assert searcher.spawn("tag", "--labels", "-", stdin=stdin) == listed


def test_sentences_of_ones_own_change_the_probabilities(searcher: Shell, library: Trained) -> None:
    """They take the place of those that are built in."""
    usual, own = (
        searcher.run("tag", "--labels", LABELS, "--json", *options).records
        for options in ((), ("--prompt", "not a {} at all", "--prompt", "{}"))
    )
    assert [record["path"] for record in usual if "path" in record] == [each["path"] for each in own if "path" in each]
    assert usual != own


def test_nothing_probable_enough_is_exit_1(searcher: Shell, library: Trained) -> None:
    """And nothing is printed; CSV keeps its header."""
    labels = ",".join(f"thing {number}" for number in range(50))
    done = searcher.run("tag", "--labels", labels, "--min-prob", "1")
    assert (done.code, done.out, done.err) == (1, b"", "")
    assert searcher.run("tag", "--labels", labels, "--min-prob", "1", "--csv").out == b"path,label,probability\n"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--labels", "dog"), "two labels or more"),
        (("--labels", "dog,dog"), "'dog' is there 2 times"),
        (("--labels", LABELS, "--prompt", "no place"), "a prompt is a sentence"),
        (("--labels", LABELS, "--json", "--csv"), "--json and --csv"),
        (("--labels", LABELS, "--newer", "soon"), "soon"),
    ],
)
def test_what_makes_no_sense_is_exit_2(
    searcher: Shell, library: Trained, options: tuple[str, ...], complaint: str
) -> None:
    """One line that names it."""
    done = searcher.run("tag", *options)
    assert (done.code, done.out) == (2, b"")
    assert complaint in done.complaint


def test_no_index_is_exit_4(tmp_path: Path) -> None:
    """As for every command."""
    done = Shell(tmp_path).run("tag", "--labels", LABELS)
    assert (done.code, done.out) == (4, b"")
    assert "imgidx train" in done.complaint


def test_a_reader_that_leaves_early_hears_no_complaint(searcher: Shell, library: Trained) -> None:
    """As after `| head -1`."""
    read, written = os.pipe()
    os.close(read)
    done = searcher.spawn("tag", "--labels", LABELS, stdout=written)
    os.close(written)
    assert (done.code, done.err) == (0, "")


def test_a_disk_that_is_full_is_exit_9(searcher: Shell, library: Trained) -> None:
    """Half a list is no list."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("only Linux has /dev/full")
    with full.open("wb") as stdout:
        done = searcher.spawn("tag", "--labels", LABELS, stdout=stdout)
    assert done.code == 9
    assert "cannot write the results" in done.complaint


def test_tagging_needs_no_torch(searcher: Shell, library: Trained) -> None:
    """The exported text tower encodes the labels."""
    code = (
        "import sys\nfrom image_index.cli.app import run\ncode = run(sys.argv[1:])\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\nsys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "tag", "--labels", LABELS, "--json"],
        env=searcher.environment | {"COVERAGE_PROCESS_CONFIG": ""},  # coverage itself imports multiprocessing
        cwd=searcher.directory,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "multiprocessing", "PIL"} & set(done.stderr.split())
    assert "onnxruntime" in done.stderr.split()
