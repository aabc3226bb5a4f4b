"""The words that choose pictures, made into filters."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from image_index.catalog.filters import Filters, Orientation
from image_index.errors import UsageError
from image_index.paths import resolve
from image_index.positions import Circle
from image_index.search.selection import make_filters


def test_nothing_said_is_no_filter() -> None:
    """Every way to say nothing is the same."""
    nothing: dict[str, Any] = {"under": None, "glob": [], "newer": None, "type": (), "missing": False}
    assert make_filters() == make_filters(**nothing) == Filters()


def test_everything_said_is_a_filter(tmp_path: Path) -> None:
    """Paths become absolute, dates seconds, formats the catalog's words."""
    found = make_filters(
        under=[tmp_path, "relative"],
        exclude_under=str(tmp_path / "x"),
        glob=["*.jpg", "!a*"],
        name='\u00c9t\u00e9 "New York" ete',
        newer=datetime(2024, 5, 31, tzinfo=UTC),
        older="2025-01-01T00:00Z",
        camera=" Canon ",
        type=["jpg", "HEIC", ".tif"],
        min_size="1920X1080",
        orientation="Portrait",
        missing=True,
        after_id=5,
        up_to_id=9,
    )
    assert found == Filters(
        under=(os.fsencode(tmp_path), resolve("relative")),
        exclude_under=(os.fsencode(tmp_path / "x"),),
        globs=("*.jpg", "!a*"),
        words=("ete", "new york"),
        newer_s=datetime(2024, 5, 31, tzinfo=UTC).timestamp(),
        older_s=datetime(2025, 1, 1, tzinfo=UTC).timestamp(),
        camera="Canon",
        formats=("jpeg", "mpo", "heif", "tiff"),
        min_size=(1920, 1080),
        orientation=Orientation.PORTRAIT,
        after_id=5,
        up_to_id=9,
        missing=True,
    )


def test_one_word_is_as_good_as_a_list_of_one() -> None:
    """A path in any of Python's forms."""
    assert make_filters(under="/p") == make_filters(under=[b"/p"]) == make_filters(under=Path("/p"))
    assert make_filters(glob="*.jpg", type="png", min_size=(1, 2)) == make_filters(
        glob=["*.jpg"], type=["png"], min_size="1x2"
    )


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"newer": "yesterday"}, "--newer"),
        ({"older": "2024-02-30"}, "--older"),
        ({"on": "yesterday"}, "--on takes a day of any year such as 05-31, or .* 2024-05-31, not 'yesterday'"),
        ({"on": "02-30"}, "--on"),
        ({"between": ["2024"]}, "--between takes two days, such as --between 2024-05-01"),
        ({"between": "2024"}, "--between takes two days"),
        ({"between": ["2024", "soon"]}, "--between"),
        ({"between": ["2024-05-31", "2024-05-30"]}, "--between takes the earlier day first"),
        ({"near": "Paris"}, "--near takes latitude and longitude, .* 48.8584,2.2945 .* not 'Paris'"),
        ({"near": "48.8584"}, "--near"),
        ({"near": "48.8584,2.2945,5,1"}, "--near"),
        ({"near": "91,2"}, "--near .*; degrees go to 90 and 180"),
        ({"near": (48, 181)}, "--near"),
        ({"near": "48,2,0"}, "--near"),
        ({"near": "48,2,-1"}, "--near"),
        ({"near": "nan,2"}, "--near"),
        ({"near": "48,2,inf"}, "--near"),
        ({"camera": " "}, "--camera"),
        ({"name": ' ""'}, "--name"),
        ({"type": "psd"}, "'psd'; there are: avif, bmp"),
        ({"type": ""}, "''; there are"),
        ({"min_size": "big"}, "--min-size"),
        ({"min_size": "100"}, "--min-size"),
        ({"min_size": "-1x5"}, "--min-size"),
        ({"orientation": "upside down"}, "--orientation"),
        ({"glob": ""}, "--glob"),
        ({"glob": "!"}, "--glob"),
    ],
)
def test_what_makes_no_sense_is_named(words: dict[str, Any], named: str) -> None:
    """With what could be."""
    with pytest.raises(UsageError, match=named):
        make_filters(**words)


def test_a_place_is_a_circle_of_one_kilometre_or_more() -> None:
    """Degrees and kilometres, in words or numbers."""
    assert make_filters(near=" -33.8569, 151.2152 ").near == Circle(-33.8569, 151.2152, 1000)
    assert make_filters(near="48.8584,2.2945,0.5") == make_filters(near=(48.8584, 2.2945, 0.5))
    assert make_filters(near=(48, 2, 20_100)).near == Circle(48, 2, 20_100_000)
    assert make_filters(near="90,-180", has_gps=True).has_gps


def test_days_limit_the_same_dates_as_newer_and_older() -> None:
    """All that is said has to hold."""
    assert make_filters(on="2024-05") == make_filters(newer="2024-05", older="2024-06")
    assert make_filters(on=date(2024, 5, 31)) == make_filters(on="2024-05-31")
    assert make_filters(between=("2024-05-01", "2024-05-31")) == make_filters(on="2024-05")
    assert make_filters(between=["2023", "2024-05"]) == make_filters(newer="2023", older="2024-06")
    assert make_filters(between=("2024", "2024"), newer="2024-05", older="2026") == make_filters(
        newer="2024-05", older="2025"
    )
    assert make_filters(on="02-29", newer="2024") == replace(make_filters(newer="2024"), month_day="02-29")
    assert make_filters(between=[]) == Filters()
