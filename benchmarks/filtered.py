"""Searches with filters, exact ones, and those of all hits: what `run_search.py query` times beside plain ones."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import numpy as np
from measure import timed
from vectors import Array

from image_index.catalog.catalog import Catalog
from image_index.search.ranking import OpenFiles, SearchOptions, search
from image_index.search.selection import make_filters


def searches(catalog: Catalog) -> dict[str, SearchOptions]:
    """Return what is timed, by its name: filters that leave many pictures and few, three together, and whole scans."""
    ids = np.array([catalog.read_last_id() // 2])
    (middle,) = catalog.facts_of(ids.tolist()).values()
    event = middle.path.rpartition(b"/")[0]
    beside = list(catalog.images(make_filters(under=event)))
    end_s = catalog.one("SELECT max(taken_at_s) FROM images")[0]
    filters = {
        "under an event": make_filters(under=event),
        "under a year": make_filters(under=event.rpartition(b"/")[0]),
        "not under a year": make_filters(exclude_under=event.rpartition(b"/")[0]),
        "glob *.png": make_filters(glob="*.png"),
        "glob of 1000 names": make_filters(glob="IMG_00001*"),
        "not glob *.jpg": make_filters(glob="!*.jpg"),
        "name beach": make_filters(name="beach"),
        "name of 200": make_filters(name=event.rpartition(b" ")[2].decode() + "/img"),
        "a list of 200 files": make_filters(files=[image.path for image in beside]),
        "the last month": make_filters(newer=datetime.fromtimestamp(end_s - 30 * 86_400)),
        "since 2015": make_filters(newer="2015"),
        "before 2006": make_filters(older="2006"),
        "on a day of any year": make_filters(on="05-31"),
        "near a place": make_filters(near=(48.86, 2.29, 500)),
        "has gps": make_filters(has_gps=True),
        "a common camera": make_filters(camera="canon"),
        "a rare camera": make_filters(camera="sony a 4"),
        "type jpeg": make_filters(type="jpeg"),
        "type raw": make_filters(type="raw"),
        "6000x4000": make_filters(min_size="6000x4000"),
        "square": make_filters(orientation="square"),
        "three wide ones": make_filters(newer="2015", type="jpeg", orientation="landscape"),
        "three narrow ones": make_filters(newer="2022", camera="sony a 4", type="png"),
    }
    timed_searches = {f"filter: {name}": SearchOptions(filters=one) for name, one in filters.items()}
    timed_searches["--top all --min-sigma 3"] = SearchOptions(None, min_sigma=3.0)
    return {**timed_searches, "--exact": SearchOptions(exact=True)}


MOST_S = 5.0
"""No search is repeated once its runs have taken this long."""


def time_searches(files: OpenFiles, catalog: Catalog, queries: Array) -> dict[str, dict[str, float]]:
    """Return for each search its milliseconds, how many pictures its filters choose, and how many it found."""
    record = {}
    for name, options in searches(catalog).items():
        found = len(search(files, catalog, queries[0], options))  # reads what is not in memory yet
        seconds: list[float] = []
        for query in queries:
            if sum(seconds) < MOST_S:
                seconds.append(timed(partial(search, files, catalog, query, options)))
        chooses = options.filters.chooses
        record[name] = {
            "chosen": len(catalog.ids_matching(options.filters)) if chooses else files.last_id,
            "found": found,
            "p50_ms": round(1e3 * float(np.median(seconds)), 2),
            "worst_ms": round(1e3 * max(seconds), 2),
        }
    return record
