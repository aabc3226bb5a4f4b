"""`imgidx status` and `imgidx failures`: what an index holds, and which pictures could not be indexed."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from image_index.cli.options import (
    Common,
    IndexOption,
    JsonOption,
    LogFileOption,
    QuietOption,
    VerboseOption,
    common,
    write,
)


def status(index: IndexOption = None, json: JsonOption = False) -> int:
    """Show what the index holds.

    Pictures, missing ones, failures, roots, model, size and the last run.

    Example: imgidx status --json | jq .images

    Exit codes: 0 shown, 4 no index, 5 a newer index, 9 disk or catalog.
    """
    from image_index.present.jsonl import json_line
    from image_index.present.status import status_record, status_text
    from image_index.upkeep.status import read_status

    found = read_status(common(index).home)
    write(json_line(status_record(found)) if json else status_text(found))
    return 0


def failures(
    retry: Annotated[bool, typer.Option("--retry", help="Try them again now.")] = False,
    json: JsonOption = False,
    index: IndexOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log_file: LogFileOption = None,
) -> int:
    """List the pictures that could not be indexed, and why.

    Also since when, and how often that was tried.

    Example: imgidx failures --retry

    Exit codes: 0 listed, or all well after a retry; 3 some failed again; 4 no index; 5 to 9 as for train.
    """
    from image_index.catalog.reader import CatalogReader
    from image_index.present.jsonl import json_line
    from image_index.present.status import failure_record, failure_text

    setup = common(index, quiet=quiet, verbose=verbose, log_file=log_file)
    with CatalogReader(setup.home.catalog) as catalog:
        known = list(catalog.failures())
    if retry:
        return _retry([failure.failure.file.path for failure in known], setup, as_json=json)
    write("".join(json_line(failure_record(one)) if json else failure_text(one) for one in known))
    return 0


def _retry(paths: list[bytes], setup: Common, *, as_json: bool) -> int:
    """Update the index with the failed files alone; those that are gone are forgotten."""
    from image_index.catalog.catalog import Catalog
    from image_index.catalog.lock import exclusive_lock
    from image_index.cli.train import run_update
    from image_index.training.pipeline import UpdateRequest
    from image_index.training.survey import SurveyOptions

    there = [path for path in paths if os.path.lexists(path)]
    gone = set(paths).difference(there)
    if gone:
        with exclusive_lock(setup.home.lock), Catalog(setup.home.catalog, write=True) as catalog:
            catalog.drop_failures(gone)
    # Each failed file is the root of its own scan, so that nothing else is walked; but it does not become a root of the
    # index, which later trainings would ask for.
    survey = SurveyOptions(tuple(there), retry_failed=True)
    request = UpdateRequest(setup.home, survey, register_roots=False, quiet=setup.quiet)
    return run_update(request, setup, as_json=as_json)
