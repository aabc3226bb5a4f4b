"""The command `imgidx`: its subcommands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from image_index import __version__
from image_index.errors import ImgidxError, UsageError
from image_index.paths import message_line

WRONG_USE: type[Exception] = typer.BadParameter.__bases__[0]
"""click's UsageError. Newer typers vendor click, so this is the only way to the class that typer raises."""

COMMANDS = {
    "Everyday": ("train", "search", "dupes", "tag", "show", "serve", "worker", "mcp"),
    "Upkeep": ("status", "failures", "forget", "prune", "verify", "backup", "export"),
    "About": ("models", "doctor"),
}
"""The commands in the groups and the order in which `imgidx --help` lists them."""

NAMES = tuple(name for names in COMMANDS.values() for name in names)

MODULES = {"failures": "status", **dict.fromkeys(("forget", "prune", "verify", "backup"), "maintain")}
"""Which module of this room a command is in, where that has not the command's own name."""


class _Groups(TyperGroup):
    """Lists the commands in groups; typer's own panels need rich's markup, which would eat brackets in help texts."""

    def format_commands(self, _: Any, formatter: Any) -> None:
        """Write each group under its heading, each command with the first sentence of its help."""
        longest = max(map(len, self.commands))
        room = formatter.width - longest - 4  # two blanks before a command's name and two behind it
        for heading, names in COMMANDS.items():
            with formatter.section(heading):
                rows = [(f"{name:<{longest}}", self.commands[name].get_short_help_str(room)) for name in names]
                formatter.write_dl(rows)


def program(names: Iterable[str] = NAMES) -> typer.Typer:
    """Return the command line with the commands of these names.

    To import all of them and to read their options takes 40 ms, a third of what `imgidx --version` takes in all.
    """
    app = typer.Typer(
        name="imgidx",
        cls=_Groups,
        help="Index directories of pictures and find them again by meaning.",
        epilog="Exit codes: 0 done or found, 1 nothing found, 2 wrong use, 3 done but something could not be read, "
        "4 no index, 5 other model or newer index, 6 no model, 7 index in use, 8 children keep dying, "
        "9 disk or catalog, 128+N stopped by signal N.",
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(imgidx)
    # A command imports what it needs inside its function: `--help` and a slip of the fingers answer before numpy could
    # be loaded. tests/test_architecture.py looks at what each command has loaded.
    for name in names:
        module = import_module(f"image_index.cli.{MODULES.get(name, name)}")
        if name == "models":
            app.add_typer(module.models_app, name=name)
        else:
            app.command()(getattr(module, name))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imgidx {__version__}")
        raise typer.Exit


def imgidx(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Index directories of pictures and find them again by meaning."""


def main() -> None:
    """Run the command line and exit with the code of what happened."""
    _open_closed_streams()
    sys.exit(run(sys.argv[1:]))


def _open_closed_streams() -> None:
    """Put `/dev/null` in place of the standard streams that are closed, as `>&-` leaves them."""
    # Otherwise the next file that is opened becomes descriptor 1 or 2, and what a library prints is written into it.
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def run(arguments: list[str]) -> int:
    """Run one command; print what went wrong as one line on stderr; return the exit code."""
    from image_index.settings import load_config

    # click itself would print and exit; errors of ours would be tracebacks. So it runs with standalone_mode off, and
    # this is the one place where anything becomes an exit code.
    try:
        config = load_config()
        command = typer.main.get_command(program(_needed(arguments, config)))
        _check_config(config, command)
        return command.main(arguments, "imgidx", standalone_mode=False, default_map=config) or 0
    except WRONG_USE as error:
        error.message = message_line(error.message)  # type: ignore[attr-defined]  # every one of click's errors has both
        error.show()  # type: ignore[attr-defined]
        return UsageError.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130  # 128 + SIGINT, as a shell reports it
    except FileNotFoundError as error:
        if error.filename is not None or _has_current_directory():
            raise
        return _complain(UsageError("the current directory is gone", "cd to one that is there"))
    except ImgidxError as error:
        return _complain(error)


def _needed(arguments: list[str], config: dict[str, Any]) -> Iterable[str]:
    """Return the names of the commands that these arguments and the configuration file are about; of all, if unsure."""
    if not arguments or arguments[0] not in NAMES:
        return NAMES
    return [name for name in NAMES if name == arguments[0] or name in config]


def _has_current_directory() -> bool:
    """Tell whether the current directory is there; without one no relative path means anything."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _complain(error: ImgidxError) -> int:
    """Print an error as one line on stderr; return its exit code."""
    print(f"imgidx: {message_line(str(error))}", file=sys.stderr)
    return error.exit_code


def _check_config(config: dict[str, Any], command: Any, name: str = "") -> None:
    """Raise `UsageError` if the configuration file sets something that is no option of a command."""
    # click passes over keys that it does not know, so that a default with a slip in its name would never apply, and
    # nobody would be told. Strings are refused where lists belong: click would take each letter for a value.
    options = {parameter.name: parameter for parameter in command.params} if name else {}
    for key, value in config.items():
        inner, inner_name = getattr(command, "commands", {}).get(key), f"{name}.{key}".lstrip(".")
        option = key.replace("_", "-")
        sets = f"the configuration file sets {option!r}"
        if isinstance(value, dict) and inner is not None:
            _check_config(value, inner, inner_name)
        elif isinstance(value, dict):
            raise UsageError(f"the configuration file has a table [{inner_name}], and no command is called that")
        elif not name:
            raise UsageError(f"{sets} above the first table", "put it below a [COMMAND]")
        elif key not in options:
            words = name.replace(".", " ")
            raise UsageError(f"{sets} in [{name}]", f"see imgidx {words} --help")
        elif getattr(options[key], "multiple", False) and not isinstance(value, list):
            raise UsageError(f"{sets} in [{name}] to one value", f"write: {option} = [...]")


if __name__ == "__main__":
    main()
