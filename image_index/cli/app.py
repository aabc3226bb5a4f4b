"""The command `imgidx`: its subcommands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import click
import typer

from image_index import __version__
from image_index.cli.models import models_app
from image_index.cli.search import search
from image_index.cli.status import failures, status
from image_index.cli.train import train
from image_index.errors import ImgidxError

app = typer.Typer(
    name="imgidx",
    help="Index directories of pictures and find them again by meaning.",
    epilog="Exit codes: 0 done or found, 1 nothing found, 2 wrong use, 3 done but something could not be read, "
    "4 no index, 5 other model or newer index, 6 no model, 7 index in use, 8 children keep dying, 9 disk or catalog.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(train)
app.command()(search)
app.command()(status)
app.command()(failures)
app.add_typer(models_app, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imgidx {__version__}")
        raise typer.Exit


@app.callback()
def imgidx(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Index directories of pictures and find them again by meaning."""


def main() -> None:
    """Run the command line and exit with the code of what happened."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command; print what went wrong as one line on stderr; return the exit code."""
    from image_index.settings import load_config

    try:
        command = typer.main.get_command(app)
        return command.main(arguments, "imgidx", standalone_mode=False, default_map=load_config()) or 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except ImgidxError as error:
        print(f"imgidx: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    main()
