"""How the hits of a search leave the program: a table, paths, JSON, a template, previews, a contact sheet, files."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from image_index.cli.options import given_path, screen, write
from image_index.errors import UsageError

if TYPE_CHECKING:
    from image_index.present.template import Template
    from image_index.records import Hit

logger = logging.getLogger(__name__)

NullOption = Annotated[bool, typer.Option("-0", "--null", help="Print paths, each ended by a zero byte.")]
HtmlOption = Annotated[
    Path | None,
    typer.Option(
        "--html", parser=given_path, metavar="FILE", help="Write a contact sheet: one HTML file with everything inside."
    ),
]
LinkToOption = Annotated[
    Path | None,
    typer.Option(
        "--link-to", parser=given_path, metavar="DIR", help="Also put a link to each hit into DIR: 001-cat.jpg, ..."
    ),
]
CopyToOption = Annotated[
    Path | None,
    typer.Option("--copy-to", parser=given_path, metavar="DIR", help="Also put a copy of each hit into DIR."),
]
OpenOption = Annotated[bool, typer.Option("--open", help="With --html: open the page.")]


@dataclass(slots=True)
class Output:
    """The form in which hits are printed; a contact sheet can be written beside any form.

    Raises `UsageError` for forms that exclude each other.
    """

    json: bool = False
    paths: bool = False
    null: bool = False
    template: Template | None = None
    preview: bool = False
    html: Path | None = None
    open_page: bool = False
    link_to: Path | None = None
    copy_to: Path | None = None
    is_incomplete: bool = False
    """Whether the file of a hit could not be linked or copied."""
    _pages: list[tuple[str, list[Hit]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        forms = {"--json": self.json, "--paths": self.paths, "--format": self.template, "--preview": self.preview}
        chosen = [name for name, wanted in forms.items() if wanted]
        if self.null and (self.json or self.preview):
            chosen.append("--null")
        if len(chosen) > 1:
            raise UsageError(f"{chosen[0]} and {chosen[1]} cannot be had at once", "choose one")
        if self.link_to and self.copy_to:
            raise UsageError("--link-to and --copy-to cannot be had at once", "choose one")
        if self.open_page and self.html is None:
            raise UsageError("--open goes with --html FILE")
        # Control sequences in a file or a pipe are of no use to anybody.
        if self.preview and not sys.stdout.isatty():
            raise UsageError("--preview needs a terminal", "elsewhere use --html FILE")

    def show(self, hits: list[Hit], name: str | None) -> bool:
        """Print the hits of one query; link or copy their files first. Return False if the reader has closed the pipe.

        What cannot be linked or copied is said on stderr.
        """
        directory = self.link_to or self.copy_to
        if directory is not None:
            self._put_files(hits, directory)
        if self.html is not None:
            self._pages.append((name or "", hits))
        text = self._text(hits, name)
        return write(text) if text else True

    def _put_files(self, hits: list[Hit], directory: Path) -> None:
        """Put links or copies of the hits' files into a directory."""
        from image_index.upkeep.hit_files import put_files

        for problem in put_files(hits, directory, copies=self.copy_to is not None):
            self.is_incomplete = True
            logger.warning("%s", problem)

    def finish(self, title: str) -> None:
        """Write the page, if one is wanted, and open it."""
        if self.html is None:
            return
        from image_index.present.sheet import write_hits

        write_hits(self.html, title, self._pages)
        if self.open_page:
            open_page(self.html)

    def _text(self, hits: list[Hit], name: str | None) -> str:
        """Return what is printed of the hits of one query."""
        from image_index.present.hits import hit_record, hits_table, path_lines
        from image_index.present.jsonl import json_line

        shown_on, end = screen(), "\0" if self.null else "\n"
        if self.json:
            return "".join(json_line(hit_record(hit, name)) for hit in hits)
        if self.template is not None:
            return self.template.render(hits, name, end=end, escaped=shown_on.terminal)
        # A contact sheet takes the place of the table, unless paths are asked for beside it.
        if not hits or (self.html is not None and not (self.paths or self.null)):
            return ""
        if self.paths or self.null or not shown_on.terminal:
            return path_lines(hits, end=end, escaped=shown_on.terminal and not self.null)
        return _previews(hits, shown_on.width) if self.preview else hits_table(hits, shown_on)


def open_page(path: Path) -> None:
    """Show a page in the user's browser."""
    import webbrowser

    webbrowser.open(path.absolute().as_uri())


def _previews(hits: list[Hit], width: int) -> str:
    """Return the pictures of hits, as this terminal shows them."""
    from image_index.present.preview import previews

    return previews(hits, width=width)
