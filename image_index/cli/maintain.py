"""`imgidx forget`, `prune`, `backup` and `verify`: what is done to an index on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from image_index.cli.options import IndexOption, QuietOption, common, given_path, write

DryRunOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Print how many, and drop nothing.")]


def forget(
    paths: Annotated[
        list[Path], typer.Argument(parser=given_path, metavar="PATH...", help="Roots, directories or pictures.")
    ],
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    quiet: QuietOption = False,
) -> int:
    """Drop all that is known of a file or a directory.

    Pictures, vectors, failures and roots, at or inside each PATH. No file is touched.

    Example: imgidx forget /mnt/old-disk

    Exit codes: 0 done, 2 nothing known of a PATH, 4 no index, 7 another run is writing, 9 disk or catalog.
    """
    from image_index.upkeep import maintenance

    setup = common(index, quiet=quiet)
    count = maintenance.forget(setup.home, tuple(paths), dry_run=dry_run)
    return _say(f"{'would forget' if dry_run else 'forgot'} {count} pictures", quiet=quiet)


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="DURATION", help="How long the file must have been missing.")
    ] = "30d",
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    quiet: QuietOption = False,
) -> int:
    """Drop the pictures whose files have long been missing.

    Example: imgidx prune --older-than 90d --dry-run

    Exit codes: 0 done, 4 no index, 7 another run is writing, 9 disk or catalog.
    """
    from image_index.dates import duration_s
    from image_index.upkeep import maintenance

    setup = common(index, quiet=quiet)
    count = maintenance.prune(setup.home, duration_s(older_than, "--older-than"), dry_run=dry_run)
    return _say(f"{'would drop' if dry_run else 'dropped'} {count} missing pictures", quiet=quiet)


def backup(
    destination: Annotated[Path, typer.Argument(parser=given_path, metavar="DEST", help="A new or empty directory.")],
    index: IndexOption = None,
    quiet: QuietOption = False,
) -> int:
    """Copy the index to DEST, consistent even while a train runs.

    To restore it, use it as it is (--index DEST), or copy it back.

    Example: imgidx backup /backup/pictures-index

    Exit codes: 0 done, 2 DEST is not empty, 4 no index, 9 disk or catalog.
    """
    from image_index.upkeep import maintenance

    setup = common(index, quiet=quiet)
    copy = maintenance.backup(setup.home, destination)
    return _say(f"copied {copy.size_bytes() / 1e6:.1f} MB to {copy.path}", quiet=quiet)


def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild what is derived from the catalog.")] = False,
    index: IndexOption = None,
    quiet: QuietOption = False,
) -> int:
    """Check the whole index for damage; with --repair, mend it.

    SQLite's integrity, the vectors, the model's weights, the file of vectors against the catalog, and what the lists of
    a large index find against an exact search. What is derived from the catalog can be mended; the catalog itself comes
    back from a backup.

    Example: imgidx verify --repair

    Exit codes: 0 all is well, or mended; 4 no index; 7 another run is writing; 9 something is wrong.
    """
    from image_index.errors import StorageError
    from image_index.paths import printable
    from image_index.upkeep.verify import FROM_BACKUP
    from image_index.upkeep.verify import repair as rebuild
    from image_index.upkeep.verify import verify as check

    setup = common(index, quiet=quiet)
    problems = list(check(setup.home))
    if repair and any(problem.derived for problem in problems):
        rebuild(setup.home)
        problems = list(check(setup.home))
    for problem in problems:
        setup.console.print(f"imgidx: {printable(str(problem))}", soft_wrap=True)
    if not problems:
        return _say("all is well", quiet=quiet)
    step = "each line above says what to do"
    if all(problem.derived for problem in problems):
        step = "imgidx verify --repair mends that"
    elif any(problem.next_step == FROM_BACKUP for problem in problems):
        step = FROM_BACKUP
    raise StorageError(f"problems found in {setup.home.path}: {len(problems)}", step)


def _say(text: str, *, quiet: bool) -> int:
    if not quiet:
        write(text + "\n")
    return 0
