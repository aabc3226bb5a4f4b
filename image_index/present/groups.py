"""Groups of the same picture as text, paths and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from image_index.present.jsonl import image_fields
from image_index.present.text import path_text, plain_table, render
from image_index.search.duplicates import Duplicate, Group


def group_line(group: Group) -> str:
    """Return one group: `pictures`, each with `image_fields`, `bytes`, `similarity` to the best, and `exact`."""
    pictures = [
        {
            **image_fields(member.image),
            "bytes": member.image.size,
            "similarity": round(member.similarity, 4),
            "exact": member.exact,
        }
        for member in group
    ]
    return json.dumps({"pictures": pictures}, ensure_ascii=False)


def path_lines(groups: Sequence[Group], *, null: bool, apart: bool) -> str:
    """Return the paths, each ended by a line end or a zero byte; one more ends a group, if they are to be `apart`."""
    end = "\0" if null else "\n"
    return "".join(
        "".join(os.fsdecode(member.image.path) + end for member in group) + (end if apart else "") for group in groups
    )


def groups_text(groups: Sequence[Group], first: int, *, width: int, colour: bool) -> str:
    """Return a table of each group, from its member `first` on: how near the best, size in pixels and bytes, path."""
    tables = []
    for group in groups:
        table = plain_table()
        for badge, member in list(zip(badges(group), group, strict=True))[first:]:
            image = member.image
            size = f"{image.picture.width}x{image.picture.height}, {kilobytes(member)}"
            table.add_row(badge, size, path_text(image.path))
        tables.append(render(table, width=width, colour=colour))
    return "\n".join(tables)


def badges(group: Group) -> list[str]:
    """Return how near each member of a group is to the best of it."""
    return ["best", *("equal" if member.exact else f"{member.similarity:.3f}" for member in group[1:])]


def kilobytes(member: Duplicate) -> str:
    """Return the size of a member's file."""
    return f"{member.image.size / 1000:.0f} kB"
