"""What to bring up to date, as people say it: the roots and options of `imgidx train`, made into an `UpdateRequest`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from image_index.catalog.reader import CatalogReader
from image_index.catalog.schema import is_there
from image_index.errors import UsageError
from image_index.files.scan import ScanOptions
from image_index.paths import AnyPath, printable, resolve, resolve_each
from image_index.settings import IndexHome, index_home
from image_index.training.pipeline import UpdateRequest
from image_index.training.survey import SurveyOptions
from image_index.workers.engine import Engine


def make_update(  # noqa: PLR0913  # keywords, one for each kind of option
    *roots: AnyPath,
    index: str | os.PathLike[str] | None = None,
    model: str | None = None,
    roots_of: str | os.PathLike[str] | None = None,
    scan: ScanOptions | None = None,
    engine: Engine | None = None,
    retry_failed: bool = False,
    files: Iterable[bytes] | None = None,
    wait_s: float = 0.0,
    quiet: bool = True,
) -> UpdateRequest:
    """Return the request for `update_index` to bring the directories or files `roots` up to date.

    Without `roots` these are the ones that the index knows. `index` is the directory of the index: by default
    `$IMGIDX_INDEX`, else that of the user. `model` is a name as `imgidx train --model` takes it: by default the index's
    own. `roots_of` is the directory of another index, whose roots are taken too. `scan` says which files to look at,
    `engine` what to compute with, `retry_failed` that pictures which failed before are tried again, `wait_s` how many
    seconds to wait for another run that is writing. Unless `quiet`, a download of the model shows its progress on a
    terminal.

    With `files` there are no roots: these paths alone are looked at, whatever `scan` would leave out. None becomes a
    root, and nothing is marked as missing.

    Raises `UsageError` where no root is given or known, or none of them exists, or where roots are given with `files`,
    and `IndexNotFound` where there is no index in `roots_of`.
    """
    home = index_home(None if index is None else Path(index))
    scan = scan or ScanOptions()
    if roots_of is not None:
        roots = (*roots, *_roots_of(index_home(Path(roots_of))))
    if files is None:
        survey = SurveyOptions(_choose_roots(home, roots), scan, retry_failed)
    elif roots:
        raise UsageError("directories and a list of files cannot be trained at once", "run imgidx train for each")
    else:
        survey = SurveyOptions((), scan, retry_failed, files=resolve_each(files))
    engine = replace(engine or Engine(), fetch_cloud=scan.fetch_cloud)
    return UpdateRequest(home, survey, model, engine, quiet=quiet, wait_s=wait_s)


def _choose_roots(home: IndexHome, named: tuple[AnyPath, ...]) -> tuple[bytes, ...]:
    """Return the roots that are `named`, or else those the index knows; one of them must be there or known."""
    asked = tuple(resolve(root) for root in named)
    if any(os.path.exists(root) for root in asked):
        return asked
    known = _roots_of(home) if is_there(home.catalog) else ()
    if not asked and not known:
        raise UsageError("name a directory of pictures, for example: imgidx train ~/Pictures")
    if asked and not any(root in known for root in asked):
        raise UsageError(f"no such directory: {', '.join(map(printable, asked))}")
    return asked or known


def _roots_of(home: IndexHome) -> tuple[bytes, ...]:
    """Return the roots that an index knows; raise `IndexNotFound` where there is none."""
    with CatalogReader(home.catalog) as catalog:
        return tuple(root.path for root in catalog.roots())
