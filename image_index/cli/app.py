"""The command `imgidx`: its subcommands, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from image_index import __version__
from image_index.cli.doctor import doctor
from image_index.cli.dupes import dupes
from image_index.cli.export import export
from image_index.cli.maintain import backup, forget, prune, verify
from image_index.cli.models import models_app
from image_index.cli.search import search
from image_index.cli.show import show
from image_index.cli.status import failures, status
from image_index.cli.tag import tag
from image_index.cli.train import train
from image_index.errors import ImgidxError, UsageError
from image_index.paths import printable

WRONG_USE: type[Exception] = typer.BadParameter.__bases__[0]
"""click's UsageError; newer typers carry a click of their own, so that it can be had from typer alone."""

app = typer.Typer(
    name="imgidx",
    help="Index directories of pictures and find them again by meaning.",
    epilog="Exit codes: 0 done or found, 1 nothing found, 2 wrong use, 3 done but something could not be read, "
    "4 no index, 5 other model or newer index, 6 no model, 7 index in use, 8 children keep dying, 9 disk or catalog, "
    "128+N stopped by signal N.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(train)
app.command()(search)
app.command()(dupes)
app.command()(tag)
app.command()(show)
app.command()(export)
app.command()(status)
app.command()(failures)
app.command()(forget)
app.command()(prune)
app.command()(verify)
app.command()(backup)
app.command()(doctor)
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
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; print what went wrong as one line on stderr; return the exit code."""
    from image_index.settings import load_config

    try:
        command, config = typer.main.get_command(app), load_config()
        _check_config(config, command)
        return command.main(arguments, "imgidx", standalone_mode=False, default_map=config) or 0
    except WRONG_USE as error:
        error.show()  # type: ignore[attr-defined]  # every one of click's errors has it
        return UsageError.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except ImgidxError as error:
        print(f"imgidx: {printable(str(error))}", file=sys.stderr)
        return error.exit_code


def _check_config(config: dict[str, Any], command: Any) -> None:
    """Raise `UsageError` for a table of the configuration file that is no command, or a key that is no option of it."""
    for table, values in config.items():
        if table not in command.commands:
            raise UsageError(f"the configuration file has a table [{table}], and no command is called that")
        unknown = set(values) - {parameter.name for parameter in command.commands[table].params}
        if unknown:
            raise UsageError(f"the configuration file sets {min(unknown)!r} in [{table}]", f"see imgidx {table} --help")


if __name__ == "__main__":
    main()
