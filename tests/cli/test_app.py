"""The command `imgidx`: wrong use, exit codes, configuration, help."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import pytest
import typer

from image_index import __version__
from image_index.cli.app import program
from image_index.cli.options import given_path
from image_index.settings import IndexHome
from tests.cli.conftest import Trained
from tests.support.library import make_index
from tests.support.shell import COMMAND, PATIENCE_S, Argument, Done, Shell

pytestmark = pytest.mark.timeout(180)


WRONG_USE: Mapping[str, tuple[str, ...]] = {
    "no roots": ("train",),
    "no such directory": ("train", "/nonexistent/photos"),
    "no such model": ("train", ".", "--model", "ViT-Z-99"),
    "megapixels": ("train", ".", "--max-megapixels", "zero"),
    "no query": ("search",),
    "two kinds of queries": ("search", "a cat", "--queries", "-"),
    "two forms": ("search", "a cat", "--json", "--paths"),
    "no number of hits": ("search", "a cat", "--top", "0"),
    "a template": ("search", "a cat", "--format", "{colour}"),
    "a kind of file": ("search", "a cat", "--type", "psd"),
    "peek": ("search", "a cat", "--peek"),
    "no name": ("search", "a cat", "--since-last", ""),
    "open": ("search", "a cat", "--open"),
    "preview": ("search", "a cat", "--preview"),
    "date": ("search", "a cat", "--newer", "2024-02-30"),
    "size": ("search", "a cat", "--min-size", "large"),
    "queries": ("search", "--queries", "/nonexistent"),
    "fetch what": ("models", "fetch", "no such model"),
    "an empty path to forget": ("forget", ""),
    "an empty root": ("train", ""),
    "one empty root of two": ("train", ".", ""),
    "an empty picture": ("show", ""),
    "an empty destination": ("backup", ""),
    "an empty directory": ("export", ""),
    "empty under": ("search", "a cat", "--under", ""),
    "empty exclude-under": ("dupes", "--exclude-under", ""),
    "an empty page": ("search", "a cat", "--html", ""),
    "an empty picture to search by": ("search", "--image", ""),
    "an empty log": ("train", ".", "--log-file", ""),
    "an empty index": ("status", "--index", ""),
}


def test_every_path_on_the_command_line_refuses_an_empty_one() -> None:
    """`Path("")` is the current directory, so no parameter is left to typer's own idea of a path."""
    for command in program().registered_commands:
        assert command.callback is not None
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            if "pathlib" in str(hint):
                (parameter,) = hint.__metadata__
                assert parameter.parser is given_path, f"{command.callback.__name__} {name}"


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_is_exit_2_and_one_line(shell: Shell, case: str) -> None:
    """What was meant cannot be guessed; nothing is begun."""
    done = shell.run(*WRONG_USE[case])
    assert (done.code, done.out) == (2, b"")
    assert done.complaint
    assert not shell.index.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("serch", "a cat"),
        ("train", "--bogus"),
        ("train", "--workers", "0"),
        ("train", "--batch-size", "many"),
        ("train", ".", "--log-file", "/nonexistent/log"),
        ("search", "x", "--min-score", "2"),
        ("models", "fetch"),
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_read_are_exit_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    """The parser's own complaints have the same code."""
    done = shell.run(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert "Usage: imgidx" in done.err


@pytest.mark.parametrize("arguments", [("search", "a cat"), ("status",), ("failures",), ("failures", "--retry")])
def test_no_index_is_exit_4(shell: Shell, arguments: tuple[str, ...]) -> None:
    """The line says where none is, and how to make one; looking makes none."""
    done = shell.run(*arguments)
    assert (done.code, done.out) == (4, b"")
    assert f"no index in {shell.index}" in done.complaint
    assert "imgidx train" in done.complaint
    assert not shell.index.exists()


@pytest.mark.parametrize(
    ("arguments", "code"), [(("--version",), 0), (("train",), 2), (("serch",), 2), (("status",), 4)], ids=str
)
def test_the_exit_status_of_the_process_is_the_code(shell: Shell, arguments: tuple[str, ...], code: int) -> None:
    """What the other tests read in this process is what a script gets, to the last byte."""
    done = shell.spawn(*arguments)
    assert done.code == code
    assert done == shell.run(*arguments)


def in_a_shell(shell: Shell, script: str, *arguments: Argument) -> Done:
    """Run a command as "$@" of a script of sh."""
    command = ("sh", "-c", script, "sh", *COMMAND, *arguments)
    done = subprocess.run(
        command, env=shell.environment, cwd=shell.directory, capture_output=True, timeout=PATIENCE_S, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


@pytest.mark.parametrize(
    ("arguments", "closed", "code"),
    [("status", ">&-", 0), ("status", "2>&-", 0), ("search --queries -", "<&-", 1), ("serch", "<&- >&- 2>&-", 2)],
)
def test_a_closed_stream_is_as_good_as_dev_null(shell: Shell, arguments: str, closed: str, code: int) -> None:
    """Who closes a stream wants nothing from it; the exit code is what it always is."""
    make_index(IndexHome(shell.index))
    done = in_a_shell(shell, f'exec "$@" {closed}', *arguments.split())
    assert (done.code, done.err) == (code, "")
    assert bool(done.out) == (closed == "2>&-")


def test_a_deleted_current_directory_is_one_line(shell: Shell) -> None:
    """Only where a relative path makes one necessary; nothing is begun."""
    make_index(IndexHome(shell.index))
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'
    assert in_a_shell(shell, script, "status").code == 0
    for arguments in (("train", "."), ("show", "a.jpg"), ("backup", "copy"), ("status", "--index", "index")):
        done = in_a_shell(shell, script, *arguments)
        assert done.code == 2
        assert done.complaint == "imgidx: the current directory is gone; cd to one that is there\n"


def test_a_service_without_a_home_needs_an_index_of_its_own(shell: Shell) -> None:
    """Service users have /dev/null or nothing for a home: an index that is named works, else one line says so."""
    make_index(IndexHome(shell.index))
    named = shell.index
    shell.variables |= {"HOME": "/dev/null", "IMGIDX_CONFIG": "", "IMGIDX_INDEX": ""}
    assert shell.run("status", "--index", named).code == 0
    assert shell.run("status").code == 4
    done = shell.run("train", named, "--model", "starter")
    assert done.code == 9
    assert "Not a directory; use --index DIR or IMGIDX_INDEX" in done.complaint


def test_a_damaged_catalog_is_exit_9(shell: Shell) -> None:
    """The line names the file and the next step."""
    shell.index.mkdir()
    (shell.index / "catalog.sqlite3").write_bytes(b"no database at all" * 1000)
    done = shell.run("status")
    assert done.code == 9
    assert "catalog.sqlite3" in done.complaint


def test_a_complaint_is_one_line_whatever_it_is_about(shell: Shell) -> None:
    """A newline in a path does not make two lines, and an escape code does not reach the terminal."""
    done = shell.run("status", "--index", "a\nb\x1b[31m")
    assert done.code == 4
    assert "a\\nb\\x1b[31m" in done.complaint


@pytest.mark.slow
def test_option_index_goes_before_the_environment(shell: Shell, library: Trained) -> None:
    """`--index` is for once, IMGIDX_INDEX for always."""
    assert shell.run("status").code == 4
    assert shell.run("status", "--index", library.index).code == 0


def test_configuration_gives_defaults_that_options_override(searcher: Shell, library: Trained) -> None:
    """Keys are long options, by command."""
    searcher.write_config('[search]\ntop = 2\njson = true\n\n[train]\nexclude = ["*"]\ndry-run = true\n')
    query = ("search", "--image", library.photos / "plain.jpg")
    assert [hit["rank"] for hit in searcher.run(*query).records] == [1, 2]
    assert len(searcher.run(*query, "-n", "3").records) == 3
    assert searcher.run("train", library.photos).out.startswith(b"would embed 0")


@pytest.mark.parametrize("text", ["[search", "[search]\nmin-score = 7\n", '[train]\nworkers = "many"\n'])
def test_a_configuration_that_makes_no_sense_is_exit_2(searcher: Shell, text: str) -> None:
    """A typo is not passed over."""
    searcher.write_config(text)
    done = searcher.run("train" if "train" in text else "search", "x")
    assert (done.code, done.out) == (2, b"")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("[trian]\nworkers = 1", "[trian]"),
        ("[train]\nworkres = 1", "'workres' in [train]"),
        ("workers = 1\n[train]\nhidden = true", "'workers' above the first table"),
        ('[train]\nexclude = "*.gif"', "write: exclude = [...]"),
        ("[models.fetch]\nquite = true", "imgidx models fetch --help"),
        ("[models.fetsch]\nquiet = true", "[models.fetsch]"),
    ],
)
def test_a_slip_in_the_configuration_file_is_exit_2(shell: Shell, config: str, named: str) -> None:
    """What nobody would read is said, not passed over."""
    shell.write_config(config)
    done = shell.run("status")
    assert done.code == 2
    assert named in done.err


def test_a_configuration_file_that_is_named_but_missing_is_exit_2(shell: Shell) -> None:
    """A slip in the variable is noticed too."""
    shell.variables["IMGIDX_CONFIG"] = str(shell.directory / "gone.toml")
    done = shell.run("status")
    assert done.code == 2
    assert "gone.toml" in done.err


LONG = "word " * 24_000


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "0:" + LONG),
        ("search", "--image", LONG),
        ("search", "x", "--newer", LONG),
        ("search", "x", "--glob", "[z-a]" + LONG),
        ("search", "x", "--min-score", LONG),
        ("search", "x", "--under", LONG),
        ("train", ".", "--model", LONG),
        ("train", LONG),
        ("status", "--index", LONG),
        (LONG,),
    ],
    ids=lambda arguments: " ".join(arguments)[:20],
)
def test_a_complaint_has_an_end(shell: Shell, arguments: tuple[str, ...]) -> None:
    """A script may give a page of text where a few words were expected; what was wrong with it can still be read."""
    if "--image" in arguments or "--under" in arguments:
        make_index(IndexHome(shell.index))
    done = shell.run(*arguments)
    assert done.code == (9 if "--index" in arguments else 2)
    assert 0 < len(done.err) < 1500


@pytest.mark.usefixtures("no_children")
def test_a_line_that_is_no_query_is_said_in_a_line(shell: Shell) -> None:
    """The others go on; what is wrong with it stands before what it says."""
    make_index(IndexHome(shell.index))
    (shell.directory / "queries").write_text("0:" + LONG + "\n", encoding="utf-8")
    done = shell.run("search", "--queries", "queries")
    assert done.code == 3
    assert done.complaint.startswith("imgidx: line 1 of queries: the weight of '0:word")
    assert len(done.err) < 1500


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command: its words and what the parser knows of it."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(program()))]
    while pending:
        words, command = pending.pop()
        pending += [((*words, name), inner) for name, inner in getattr(command, "commands", {}).items()]
        if words:
            yield words, command


@pytest.mark.parametrize("words", dict(commands()), ids=" ".join)
def test_help_of_every_command_has_an_example_and_its_exit_codes(shell: Shell, words: tuple[str, ...]) -> None:
    """Help is worth reading."""
    done = shell.run(*words, "--help")
    assert (done.code, done.err) == (0, "")
    for part in (b"Example: imgidx " + " ".join(words).encode(), b"Exit codes: 0"):
        assert part in done.out
    assert shell.run(*words, "-h") == done


@pytest.mark.parametrize("words", dict(commands()), ids=" ".join)
def test_every_option_is_configured_by_its_long_name(words: tuple[str, ...]) -> None:
    """The configuration file finds a parameter only by the name of its long option."""
    for parameter in dict(commands())[words].params:
        longs = [name for name in parameter.opts if name.startswith("--")]
        if longs:
            assert parameter.name == longs[0].removeprefix("--").replace("-", "_")


def test_help_lists_every_command_and_exit_code(shell: Shell) -> None:
    """The first page leads to all others."""
    shown = shell.run("--help").out.decode()
    for words, _ in commands():
        assert f"  {words[0]} " in shown
    assert all(f"{code} " in shown.partition("Exit codes:")[2] for code in range(10))


def test_version_is_that_of_the_package(shell: Shell) -> None:
    """A script may ask."""
    assert shell.run("--version") == Done(0, f"imgidx {__version__}\n".encode(), "")


def test_completion_is_offered_for_the_shell(shell: Shell) -> None:
    """Typer's own script completes our commands."""
    shell.variables |= {"_IMGIDX_COMPLETE": "complete_bash", "COMP_WORDS": "imgidx tr", "COMP_CWORD": "1"}
    assert shell.spawn().out == b"train\n"
