"""What a session is asked to do, checked before anything is queued."""

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from image_index.catalog.reader import CatalogReader
from image_index.dates import duration_s
from image_index.errors import UsageError
from image_index.files.scan import check_excludes
from image_index.paths import below, printable
from image_index.records import Priority
from image_index.service.requests import Word, Words
from image_index.service.sessions_command import real_directory
from image_index.settings import IndexHome
from image_index.training.request import make_update


class NotAllowed(UsageError):
    """The directory is none that this server may train."""


class TrainingRequest(BaseModel):
    """A session: the options of `imgidx train` under their names, `_` for `-`. Without a directory: all roots."""

    model_config = ConfigDict(extra="forbid")

    training_directory: Annotated[Word | None, Field(description="An absolute path; null for all roots.")] = None
    priority: Priority = Priority.NORMAL
    exclude: Words = []
    retry_failed: bool = False
    time_limit: Annotated[Word | None, Field(description="A duration such as 90s, 5m or 2h.")] = None

    def check(self, home: IndexHome, allowed: tuple[bytes, ...]) -> None:
        """Raise what keeps this from being trained.

        That is `NotAllowed` for a directory that is neither in a root nor below one of `allowed`, real paths, and
        `UsageError` with the sentence of the command line for what makes no sense.
        """
        roots = []
        if self.training_directory is not None:
            directory = real_directory(self.training_directory)
            _check_place(directory, home, allowed)
            roots = [directory]
        check_excludes(tuple(self.exclude))
        if self.time_limit is not None:
            duration_s(self.time_limit, "--time-limit")
        make_update(*roots, index=home.path, retry_failed=self.retry_failed)


def _check_place(directory: bytes, home: IndexHome, allowed: tuple[bytes, ...]) -> None:
    """Refuse a directory, a real path, that this server has not been allowed to train."""
    with CatalogReader(home.catalog) as catalog:
        places = (*(root.path for root in catalog.roots()), *allowed)
    if not any(below(directory).startswith(below(place)) for place in places):
        shown = printable(directory)
        step = f"start the server with it: imgidx serve --allow {shlex.quote(shown)}"
        raise NotAllowed(f"{shown} is in no root of the index, nor below a directory that is allowed", step)
