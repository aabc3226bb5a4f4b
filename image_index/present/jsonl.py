"""JSON lines. Every record that is printed, and so every pinned key, is made in this room by a `*_record`."""

from __future__ import annotations

import json
from collections.abc import Mapping


def json_line(record: Mapping[str, object]) -> str:
    """Return a record as one line, with its line end; names stay readable, in UTF-8."""
    return json.dumps(record, ensure_ascii=False) + "\n"
