"""Tests of the error tree: what an error says, and the exit code it ends a command with."""

from __future__ import annotations

import copy

import pytest

from image_index.errors import ImgidxError, Interrupted, StorageError


def test_an_error_reads_as_its_problem_and_the_next_step() -> None:
    """Both are there for whoever shows them apart; where no step is known, the problem stands alone."""
    error = StorageError("cannot write /data/index", "free some disk space and run again")
    assert str(error) == "cannot write /data/index; free some disk space and run again"
    assert (error.problem, error.next_step) == ("cannot write /data/index", "free some disk space and run again")
    assert str(StorageError("cannot open the lock file")) == "cannot open the lock file"


def test_a_semicolon_in_the_problem_stays_there() -> None:
    """What another library says is never taken for a step of ours."""
    error = StorageError("cannot use the catalog a;b.sqlite3: near x; syntax error", "check the disk")
    assert error.problem == "cannot use the catalog a;b.sqlite3: near x; syntax error"


def test_a_copy_of_an_error_says_the_same() -> None:
    """`copy` and `pickle` make an error anew from its arguments."""
    error = copy.copy(StorageError("cannot write /data/index", "free some disk space"))
    assert (error.problem, error.next_step) == ("cannot write /data/index", "free some disk space")


@pytest.mark.parametrize("error", ImgidxError.__subclasses__())
def test_every_way_to_end_badly_states_its_exit_code(error: type[ImgidxError]) -> None:
    """None takes it from the root of the tree, which has none; a signal decides its own."""
    assert not hasattr(ImgidxError, "exit_code")
    code = Interrupted(15).exit_code if error is Interrupted else vars(error)["exit_code"]
    assert (
        code
        == {
            "UsageError": 2,
            "IndexNotFound": 4,
            "IndexMismatch": 5,
            "ModelUnavailable": 6,
            "IndexLocked": 7,
            "WorkersFailed": 8,
            "StorageError": 9,
            "Interrupted": 143,
        }[error.__name__]
    )
