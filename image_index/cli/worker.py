"""`imgidx worker`: take training sessions from a queue and run them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from image_index.cli.options import QuietOption, common, extra_packages
from image_index.cli.train import train
from image_index.errors import UsageError
from image_index.settings import load_config

QUEUE_PACKAGES = {"redis", "rq"}
"""What the extra `queue` brings."""

RedisOption = Annotated[
    str,
    typer.Option(
        "--redis", metavar="URL", help="Where the queue is: redis://:PASSWORD@HOST:PORT, rediss:// or unix://."
    ),
]
QueuesOption = Annotated[
    str,
    typer.Option("--queues", metavar="NAME,...", help="What to take from; while one holds a job, those after it wait."),
]
AllowOpenRedisOption = Annotated[
    bool, typer.Option("--allow-open-redis", help="Use a Redis on another machine that asks for no password.")
]


def worker(
    redis: RedisOption = "redis://localhost:6379",
    queues: QueuesOption = "training-high,training-normal,training-low,default",
    allow_open_redis: AllowOpenRedisOption = False,
    quiet: QuietOption = False,
) -> int:
    """Run the sessions that imgidx serve --queue was asked for.

    It runs where the index is. SIGINT and SIGTERM end it: its session stores what is in flight, and the next worker
    goes on with it; a second one ends it at once. Needs the extra queue.

    Example: imgidx worker --redis redis://localhost:6379

    Exit codes: 0 ended by a signal, 2 wrong use, 8 ended by an error.
    """
    with extra_packages("imgidx worker", "queue", QUEUE_PACKAGES):
        from image_index.service.queue_worker import WorkerOptions, work

    names = tuple(name.strip() for name in queues.split(","))
    if not all(names):
        raise UsageError(f"--queues takes names with commas between them, not {queues!r}")
    common(None, quiet=quiet, verbose=True)
    work(WorkerOptions(redis, partial(train_here, quiet=quiet), names, allow_open=allow_open_redis, quiet=quiet))
    return 0


def train_here(arguments: list[str], *, quiet: bool) -> int:
    """Run `imgidx train` in this process, with the user's configuration; raise its errors, return its exit code."""
    trainer = typer.Typer(rich_markup_mode=None)
    trainer.command()(train)
    options = ["--quiet" if quiet else "--verbose", *arguments]
    defaults = load_config().get("train", {})
    return (
        typer.main.get_command(trainer).main(options, "imgidx train", standalone_mode=False, default_map=defaults) or 0
    )
