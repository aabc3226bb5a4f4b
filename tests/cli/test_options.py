"""What the options that several commands share set up."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_index.cli.options import common
from tests.support.shell import fresh_logging

pytestmark = pytest.mark.usefixtures("_logging_of_its_own")


@pytest.fixture
def _logging_of_its_own() -> Iterator[None]:
    """Put back how the tests log: what a command sets up holds for its whole process."""
    with fresh_logging():
        yield


def test_an_unforeseen_error_is_logged_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server answers 500 and says that its log has the rest."""
    common(tmp_path)
    try:
        raise ValueError("a\x1b[31m red one")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "imgidx: Exception in ASGI application"
    assert any(__file__ in line for line in lines)
    assert lines[-1] == r"ValueError: a\x1b[31m red one"


def test_what_was_cut_off_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that is told to end cuts off who has not taken his answer; a traceback would say nothing more."""
    common(tmp_path)
    try:
        raise CancelledError
    except CancelledError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    assert capsys.readouterr().err.splitlines() == ["imgidx: Exception in ASGI application"]
