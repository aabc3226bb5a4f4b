"""Groups of the same picture: as JSON, as tables, as paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from image_index.present.hits import image_record
from image_index.present.screen import Screen
from image_index.present.tables import path_text, plain_table, render
from image_index.search.duplicates import Duplicate, Group


def group_record(group: Group) -> dict[str, Any]:
    """Return one group: `pictures`, each with `image_record`, `bytes`, `similarity` to the best, and `exact`."""
    pictures = [
        {
            **image_record(member.image),
            "bytes": member.image.size,
            "similarity": round(member.similarity, 4),
            "exact": member.exact,
        }
        for member in group
    ]
    return {"pictures": pictures}


def path_lines(groups: Sequence[Group], *, null: bool, apart: bool) -> str:
    """Return the paths, each ended by a line end or a zero byte; one more ends a group, if they are to be `apart`."""
    end = "\0" if null else "\n"
    return "".join(
        "".join(os.fsdecode(member.image.path) + end for member in group) + (end if apart else "") for group in groups
    )


def group_tables(groups: Sequence[Group], first: int, screen: Screen) -> str:
    """Return a table of each group, from its member `first` on: how near the best, size in pixels and bytes, path."""
    tables = []
    for group in groups:
        table = plain_table()
        for badge, member in list(zip(badges(group), group, strict=True))[first:]:
            picture = member.image.picture
            size = f"{picture.width}x{picture.height}, {kilobytes(member)}"
            table.add_row(badge, size, path_text(member.image.path))
        tables.append(render(table, screen))
    return "\n".join(tables)


def badges(group: Group) -> list[str]:
    """Return how near each member of a group is to the best of it."""
    return ["best", *("equal" if member.exact else f"{member.similarity:.3f}" for member in group[1:])]


def kilobytes(member: Duplicate) -> str:
    """Return the size of a member's file."""
    return f"{member.image.size / 1000:.0f} kB"
