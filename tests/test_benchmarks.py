"""The benchmarks run and report what they promise; how fast anything is, no test says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def end_to_end(sample_photos: Path) -> tuple[dict[str, Any], str]:
    """Return the JSON and the table of a tiny run of the end-to-end benchmark."""
    script = [sys.executable, str(REPOSITORY / "benchmarks/end_to_end.py")]
    options = ["--photos", str(sample_photos), "--model", "starter", "--count", "3", "--repeat", "1"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([*script, *options], env=environment, capture_output=True, text=True, timeout=240, check=True)
    return json.loads(done.stdout), done.stderr


def test_both_sides_embed_every_picture(end_to_end: tuple[dict[str, Any], str]) -> None:
    """A ratio compares equal work."""
    record, _ = end_to_end
    assert (
        [record[side]["embedded"] for side in ("imgidx", "naive")] == [record["pictures"], record["pictures"]] == [3, 3]
    )


def test_the_record_has_rates_stages_and_ratios(end_to_end: tuple[dict[str, Any], str]) -> None:
    """Each side has seconds per stage and two rates, and each rate a ratio."""
    record, _ = end_to_end
    rates = {"pictures_per_second", "embedding_pictures_per_second"}
    for side in (record["imgidx"], record["naive"]):
        assert set(side) == {"embedded", "seconds", "embedding_seconds", "stage_seconds"} | rates
        assert set(side["stage_seconds"]) == {"read", "decode", "forward"}
        assert all(seconds >= 0 for seconds in side["stage_seconds"].values())
        assert side["embedding_seconds"] < side["seconds"]
    assert set(record["ratio"]) == rates
    assert all(ratio > 0 for ratio in record["ratio"].values())


def test_the_table_shows_the_ratios(end_to_end: tuple[dict[str, Any], str]) -> None:
    """What people read is what the JSON says."""
    record, table = end_to_end
    for ratio in record["ratio"].values():
        assert f"{ratio:.2f}" in table
