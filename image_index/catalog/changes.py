"""What has become of images since an earlier moment, for those who keep a copy of the index elsewhere.

New images are known by their ids, which only grow. Of the others the catalog notes in the table `changed` whenever one
is moved, goes missing, comes back, gets or loses another name, or is dropped; an image stands there once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from image_index.catalog.reader import CatalogReader
from image_index.records import Ids


class Moment(NamedTuple):
    """A moment in the life of a catalog: the last id and the last number of a change that had been given by then."""

    last_id: int
    change: int


def now(catalog: CatalogReader) -> Moment:
    """Return the present moment. What is read after it may be newer, and is then told again by `changed_since`."""
    given = dict(catalog.rows("SELECT name, seq FROM sqlite_sequence"))
    return Moment(int(given.get("images", 0)), int(given.get("changed", 0)))


def changed_since(catalog: CatalogReader, moment: Moment) -> Ids:
    """Return the ids (n,) of the images known at a moment that have changed or gone since, in ascending order."""
    sql = "SELECT image_id FROM changed WHERE number > ? AND image_id <= ? ORDER BY image_id"
    return np.fromiter((row[0] for row in catalog.rows(sql, (moment.change, moment.last_id))), np.int64)
