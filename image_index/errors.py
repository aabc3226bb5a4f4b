"""The error tree: one class for each way a command can end badly, each with its exit code.

Every error says two things: what is wrong, and what to do about it. `str(error)` joins them with "; ".

    ImgidxError
    ├── UsageError            2   wrong use: an option, a path or a query that makes no sense
    │   ├── QueryError        2   a query that cannot be used (one of many: the rest goes on)
    │   └── DecodeError       2   a file that is not a picture we can read (in a training run: a failure, not an end)
    ├── IndexNotFound         4   no index in the index home
    ├── IndexMismatch         5   the index belongs to another model or to a newer schema
    ├── ModelUnavailable      6   the model cannot be found, downloaded or loaded
    ├── IndexLocked           7   another run holds the index
    ├── WorkersFailed         8   no child process can be kept alive
    ├── StorageError          9   the disk or the catalog refuses
    └── Interrupted     128 + N   ended by signal N after a clean stop

Exit codes 0, 1 (nothing found) and 3 (done, but something could not be indexed) are outcomes, not errors.
Code below the command line only raises; `image_index.cli.app.main` alone turns an error into an exit code.
"""

from __future__ import annotations


class ImgidxError(Exception):
    """Something a user can act on: `problem` names the thing, `next_step` says what to do, as far as it is known.

    They are kept apart for those who show them apart, as `imgidx doctor --json` does.
    """

    exit_code: int

    def __init__(self, problem: str, next_step: str = "") -> None:
        super().__init__(problem, next_step)
        self.problem = problem
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.problem}; {self.next_step}" if self.next_step else self.problem


class UsageError(ImgidxError):
    """The command was called with options or arguments that make no sense."""

    exit_code = 2


class QueryError(UsageError):
    """A query, or a part of one, that cannot be used."""


class DecodeError(UsageError):
    """A file's content is not a whole picture that we can read; the text is the reason alone."""


class IndexNotFound(ImgidxError):
    """There is no index in the index home."""

    exit_code = 4


class IndexMismatch(ImgidxError):
    """The index was made with another model, or by a newer imgidx."""

    exit_code = 5


class ModelUnavailable(ImgidxError):
    """The model cannot be found, downloaded or loaded."""

    exit_code = 6


class IndexLocked(ImgidxError):
    """Another run is writing to this index."""

    exit_code = 7


class WorkersFailed(ImgidxError):
    """Child processes die faster than they work."""

    exit_code = 8


class StorageError(ImgidxError):
    """The disk, the catalog or the index file refuses to be read or written."""

    exit_code = 9


class Interrupted(ImgidxError):
    """The run was ended by a signal; everything finished before it is stored."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}", "everything embedded so far is stored")
        self.exit_code = 128 + signal_number
