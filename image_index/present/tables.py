"""Tables and paths for a terminal."""

from __future__ import annotations

import io
import os
from urllib.parse import quote_from_bytes

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from image_index.paths import printable
from image_index.present.screen import Screen


def headed_table(*columns: str) -> Table:
    """Return a table with heads; columns of numbers are set to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in {"", "score", "sigma", "km", "dim", "MB"} else "left")
    return table


def plain_table() -> Table:
    """Return a table without heads and lines."""
    return Table(box=None, show_header=False, pad_edge=False)


def render(table: Table, screen: Screen) -> str:
    """Return a table as text."""
    buffer, colour = io.StringIO(), screen.colour
    console = Console(file=buffer, width=screen.width, force_terminal=colour, no_color=not colour, highlight=False)
    console.print(table)
    return buffer.getvalue()


def path_text(path: bytes) -> Text:
    """Return a path with its name set off, and a link to it."""
    directory, name = os.path.split(path)
    text = Text(printable(directory + b"/" * (directory != b"/")), style="dim", overflow="fold")
    text.append(printable(name), style="not dim")
    # rich writes the link for terminals that know OSC 8; others show the text alone. Quoted from bytes: a name that is
    # not UTF-8 leads to its file as well.
    text.stylize(Style(link=f"file://{quote_from_bytes(path)}"))
    return text


def fitted(text: str, width: int) -> str:
    """Return `text` in exactly `width` cells of a terminal: filled up with blanks, or cut with an ellipsis."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "\u2026"
