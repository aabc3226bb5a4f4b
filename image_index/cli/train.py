"""`imgidx train`: bring an index up to date with directories of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from image_index.cli.options import (
    ClusterOption,
    Common,
    DeviceOption,
    EncoderOption,
    IndexOption,
    JsonOption,
    LogFileOption,
    MapOption,
    QuietOption,
    VerboseOption,
    common,
    extra_packages,
    given_path,
    path_map,
    write,
)
from image_index.errors import UsageError
from image_index.formats import Decoding
from image_index.workers.devices import EncoderKind, Precision

if TYPE_CHECKING:
    from image_index.records import Summary
    from image_index.stop import StopRequest
    from image_index.training.pipeline import MakePool, UpdateRequest


RootsArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        parser=given_path, metavar="[ROOT]...", help="Directories (or single pictures). None: those trained before."
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="fast, default, multilingual, best, NAME/PRETRAINED, NAME, starter, local-dir:DIR or hf-hub:ORG/NAME. "
        "Default: the index's own model, or for a new index the default one. See: imgidx models.",
    ),
]
RootsOfOption = Annotated[
    Path | None,
    typer.Option(
        "--roots-of",
        parser=given_path,
        metavar="DIR",
        help="Also take the directories that the index in DIR was trained with: for a second index with another model.",
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option("--exclude", "-E", metavar="GLOB", help="Skip files that match, by gitignore rules. May be repeated."),
]
NoDefaultExcludesOption = Annotated[
    bool,
    typer.Option(
        "--no-default-excludes",
        help="Also take thumbnails, trash and the like that other programs keep beside pictures.",
    ),
]
FetchCloudOption = Annotated[
    bool,
    typer.Option("--fetch-cloud", help="Also take pictures that are in a cloud and not on this disk: download them."),
]
HiddenOption = Annotated[bool, typer.Option("--hidden", help="Include hidden files and directories.")]
FollowOption = Annotated[
    bool, typer.Option("--follow-symlinks", "-L", help="Follow symbolic links; loops are detected.")
]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Try pictures again that failed before and have not changed.")
]
WaitOption = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="DURATION",
        help="Wait up to this long for another run on this index (5m). Default: not at all.",
    ),
]
TimeLimitOption = Annotated[
    str | None,
    typer.Option("--time-limit", metavar="DURATION", help="Stop cleanly after this time (2h); the next run continues."),
]
FilesFromOption = Annotated[
    Path | None,
    typer.Option(
        "--files-from",
        parser=given_path,
        metavar="FILE|-",
        help="Take exactly the files that FILE lists (- is stdin), one a line or each ended by a zero byte; look at no "
        "directory.",
    ),
]
NullOption = Annotated[
    bool, typer.Option("-0", "--null", help="With --files-from: each path ends in a zero byte, whatever it looks like.")
]
WatchOption = Annotated[
    bool,
    typer.Option("--watch", help="Then go on: take in what is new or changes, as it comes. Needs the extra watch."),
]
RescanOption = Annotated[
    str,
    typer.Option(
        "--rescan", metavar="DURATION", help="With --watch: look at everything this often, whatever the system tells."
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Print what would be done, and do nothing.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", "-j", min=1, metavar="N", help="Child processes. Default: what suits the machine."),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        metavar="N",
        help="Pictures that a child process takes at a time. Default: 16, or 64 on a GPU.",
    ),
]
MegapixelsOption = Annotated[
    str | None,
    typer.Option(
        "--max-megapixels", metavar="N|none", help="Pictures above N megapixels fail. Default: what the memory allows."
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option("--precision", help="Number format of the model; auto: the fastest that passes the self-test."),
]
DecodeOption = Annotated[
    Decoding,
    typer.Option(
        "--decode",
        help="exact: open_clip's own pixels, without shortcuts; slower for large pictures. preview: the small copy "
        "that some phones put into HEIC and JPEG; for a HEIC 27 to 53 times as fast, but another vector (cosine 0.91 "
        "to 0.99; 6 real photos).",
    ),
]


def train(
    roots: RootsArgument = None,
    model: ModelOption = None,
    roots_of: RootsOfOption = None,
    exclude: ExcludeOption = None,
    no_default_excludes: NoDefaultExcludesOption = False,
    hidden: HiddenOption = False,
    follow_symlinks: FollowOption = False,
    fetch_cloud: FetchCloudOption = False,
    retry_failed: RetryOption = False,
    files_from: FilesFromOption = None,
    null: NullOption = False,
    wait: WaitOption = None,
    time_limit: TimeLimitOption = None,
    watch: WatchOption = False,
    rescan: RescanOption = "1h",
    dry_run: DryRunOption = False,
    device: DeviceOption = "auto",
    encoder: EncoderOption = EncoderKind.AUTO,
    workers: WorkersOption = None,
    batch_size: BatchSizeOption = None,
    max_megapixels: MegapixelsOption = None,
    precision: PrecisionOption = Precision.AUTO,
    decode: DecodeOption = Decoding.FAST,
    cluster: ClusterOption = None,
    map: MapOption = None,  # noqa: A002  # the option's name
    json: JsonOption = False,
    index: IndexOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    log_file: LogFileOption = None,
) -> int:
    """Index pictures: embed what is new, follow what moved.

    Run it again whenever you like: only new and changed pictures are embedded. Whatever stops it, nothing that is
    embedded is lost.

    Example: imgidx train ~/Pictures --exclude '*.png'

    Exit codes: 0 done, 3 done but some pictures or directories could not be read, 5 another model, 6 no model,
    7 another run is writing, 8 children or machines keep dying, 9 disk, 128+N stopped by signal N.
    """
    from dataclasses import replace

    from image_index.dates import duration_s
    from image_index.files.scan import ScanOptions
    from image_index.settings import session_of_environment
    from image_index.training.request import make_update
    from image_index.workers.engine import Engine

    setup = common(index, quiet=quiet, verbose=verbose, log_file=log_file)
    scan = ScanOptions(
        hidden=hidden,
        follow_symlinks=follow_symlinks,
        excludes=tuple(exclude or ()),
        default_excludes=not no_default_excludes,
        fetch_cloud=fetch_cloud,
    )
    engine = Engine(
        device,
        workers,
        batch_size,
        max_pixels=_max_pixels(max_megapixels),
        precision=precision,
        encoder=encoder,
        decoding=decode,
    )
    make_pool = _make_pool(cluster, map)
    wait_s = duration_s(wait, "--wait") if wait else 0.0
    limit_s = duration_s(time_limit, "--time-limit") if time_limit else None
    rescan_s = duration_s(rescan, "--rescan")
    if watch and (dry_run or files_from):
        raise UsageError(
            f"--watch and {'--dry-run' if dry_run else '--files-from'} cannot be had at once", "choose one"
        )
    request = make_update(
        *(roots or ()),
        index=setup.home.path,
        model=model,
        roots_of=roots_of,
        scan=scan,
        engine=engine,
        retry_failed=retry_failed,
        files=_listed(files_from, null=null),
        wait_s=wait_s,
        quiet=quiet or not setup.console.is_terminal,
    )
    if dry_run:
        return _preview(request, setup, as_json=json)
    request = replace(request, session=session_of_environment(), make_pool=make_pool)
    if watch:
        return _watch(request, setup, rescan_s, as_json=json, time_limit_s=limit_s)
    return run_update(request, setup, as_json=json, time_limit_s=limit_s)


def _listed(files_from: Path | None, *, null: bool) -> Iterable[bytes] | None:
    """Return the paths that `--files-from` lists; None where the option is not given."""
    from image_index.files.lists import read_paths

    if files_from is None and null:
        raise UsageError("--null goes with --files-from FILE")
    return None if files_from is None else read_paths(files_from, null=null or None)


def _make_pool(cluster: str | None, pairs: list[str] | None) -> MakePool | None:
    """Return what makes the pool of a cluster; None for the children of this machine."""
    by = path_map(cluster, pairs)
    if cluster is None:
        return None
    from image_index.cluster.join import cluster_pool

    return partial(cluster_pool, cluster, by)


def _max_pixels(text: str | None) -> float | None:
    """Return the value of `--max-megapixels` in pixels: infinity for `none`, None where the option is not given."""
    if text is None:
        return None
    if text.lower() == "none":
        return math.inf
    try:
        megapixels = float(text)
    except ValueError:
        megapixels = 0
    if not megapixels > 0:
        raise UsageError(f"--max-megapixels takes a number above 0, or none; not {text!r}")
    return megapixels * 1e6


def _preview(request: UpdateRequest, setup: Common, *, as_json: bool) -> int:
    from image_index.paths import problem_text
    from image_index.present.jsonl import json_line
    from image_index.present.summary import plan_record, plan_text
    from image_index.records import INCOMPLETE
    from image_index.training.pipeline import preview_update

    plan = preview_update(request)
    for problem in plan.problems:
        setup.console.print(f"imgidx: {problem_text(problem.path, problem.reason)}", soft_wrap=True)
    write(json_line(plan_record(plan)) if as_json else plan_text(plan))
    return INCOMPLETE if plan.problems else 0


def run_update(request: UpdateRequest, setup: Common, *, as_json: bool, time_limit_s: float | None = None) -> int:
    """Update the index, show progress and the summary; return the exit code."""
    import signal

    from image_index.cli.signals import stop_on_signals
    from image_index.errors import Interrupted

    if request.session is not None:  # what its server ignores, as a background job of a shell does, it inherits
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with stop_on_signals(time_limit_s) as stop:
        summary = _update(request, setup, stop, as_json=as_json)
    if summary.stopped_by:
        raise Interrupted(summary.stopped_by)
    return summary.exit_code


def _watch(request: UpdateRequest, setup: Common, rescan_s: float, *, as_json: bool, time_limit_s: float | None) -> int:
    """Update the index, then as often as something changes, until a signal or the end of the time; return the code."""
    from image_index.cli.signals import stop_on_signals
    from image_index.errors import Interrupted
    from image_index.paths import printable

    with extra_packages("imgidx train --watch", "watch", ("watchfiles",)):
        from image_index.training.watch import watch
    if not setup.quiet:
        setup.console.print(
            f"Watching {', '.join(map(printable, request.survey.roots))}; Ctrl-C ends it", soft_wrap=True
        )
    with stop_on_signals(time_limit_s) as stop:
        for due in watch(request, stop, rescan_s):
            _update(due, setup, stop, as_json=as_json)
    if stop.signal_number:
        raise Interrupted(stop.signal_number)
    return 0


def _update(request: UpdateRequest, setup: Common, stop: StopRequest, *, as_json: bool) -> Summary:
    """Update the index once, show progress and the summary, and return it."""
    from image_index.present.jsonl import json_line
    from image_index.present.progress import progress_reporter
    from image_index.present.summary import summary_record, summary_text
    from image_index.training.pipeline import update_index

    with progress_reporter(setup.console, quiet=setup.quiet) as report:
        summary = update_index(request, report, stop)
    if as_json or not setup.quiet:
        write(json_line(summary_record(summary)) if as_json else summary_text(summary))
    return summary
