"""How hits leave the program: to a pipe, to a terminal, to a reader that leaves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.conftest import Trained
from tests.support.shell import Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_paths_piped_through_xargs_name_the_files(searcher: Shell, library: Trained) -> None:
    """Spaces, quotes, newlines and bytes that are no UTF-8 reach the next program as they are."""
    with searcher.start(*library.like_plain("-0")) as process:
        sizes = subprocess.run(
            ["xargs", "-0", sys.executable, "-c", "import os,sys; [print(os.stat(p).st_ino) for p in sys.argv[1:]]"],
            stdin=process.stdout,
            capture_output=True,
            check=True,
        )
    assert sorted(map(int, sizes.stdout.split())) == sorted(os.stat(path).st_ino for path in library.good)


@pytest.mark.parametrize(("options", "end"), [(("--paths",), b"\n"), ((), b"\n"), (("-0",), b"\0")])
def test_output_that_is_no_terminal_gets_paths_byte_for_byte(
    searcher: Shell, library: Trained, options: tuple[str, ...], end: bytes
) -> None:
    """`--paths` is what a pipe gets anyway; `-0` ends each path with a zero byte."""
    done = searcher.spawn(*library.like_plain(*options))
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(end)
    assert sorted(done.out[:-1].split(end)) == sorted(end.join(library.good).split(end))


def test_paths_are_the_same_whatever_the_locale(searcher: Shell, library: Trained) -> None:
    """cron's locale knows no letters but ASCII."""
    expected = searcher.run(*library.like_plain("-0")).out
    searcher.variables |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert searcher.spawn(*library.like_plain("-0")).out == expected
    assert searcher.spawn(*library.like_plain("--json")).code == 0


def test_a_terminal_gets_a_table_without_control_characters(searcher: Shell, library: Trained) -> None:
    """A newline in a name is shown as an escape."""
    code, shown = searcher.on_terminal(*library.like_plain())
    assert code == 0
    assert "new\\nline.jpg" in shown
    assert all(character.isprintable() for character in shown.replace("\r\n", ""))


def test_a_reader_that_leaves_early_hears_no_complaint(searcher: Shell, library: Trained) -> None:
    """As after `| head -1`: something was found, and nothing is said."""
    reader, writer = os.pipe()
    os.close(reader)
    done = searcher.spawn(*library.like_plain("--json"), stdout=writer)
    os.close(writer)
    assert (done.code, done.err) == (0, "")
