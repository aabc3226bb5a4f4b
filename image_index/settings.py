"""Where the index lives and what the user's configuration file says."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from image_index.errors import StorageError, UsageError

INDEX_VARIABLE = "IMGIDX_INDEX"
CONFIG_VARIABLE = "IMGIDX_CONFIG"
SESSION_VARIABLE = "IMGIDX_SESSION"


@dataclass(frozen=True, slots=True)
class IndexHome:
    """The directory of one index and the files in it."""

    path: Path

    @property
    def catalog(self) -> Path:
        """The SQLite catalog: the truth."""
        return self.path / "catalog.sqlite3"

    @property
    def vectors(self) -> Path:
        """All vectors in one piece: derived from the catalog, as are the next four."""
        return self.path / "vectors.f16"

    @property
    def vector_ids(self) -> Path:
        """The ids of the rows of `vectors`."""
        return self.path / "vectors.ids"

    @property
    def vector_table(self) -> Path:
        """What says how many rows `vectors` and `vector_ids` have."""
        return self.path / "vectors.json"

    @property
    def vector_files(self) -> tuple[Path, Path, Path]:
        """The three of them, the one first without which the others count for nothing."""
        return self.vector_table, self.vectors, self.vector_ids

    @property
    def faiss(self) -> Path:
        """The inverted lists of a large index."""
        return self.path / "index.faiss"

    @property
    def moments(self) -> Path:
        """The mean and covariance of the vectors."""
        return self.path / "moments.f32"

    @property
    def towers(self) -> Path:
        """The directory of the exported towers: derived from the model."""
        return self.path / "towers"

    @property
    def thumbnails(self) -> Path:
        """The directory of the small pictures that `imgidx serve` has made: a cache."""
        return self.path / "thumbnails"

    @property
    def lock(self) -> Path:
        """The file that a writing run holds locked."""
        return self.path / "lock"

    @property
    def session_lock(self) -> Path:
        """The file that the one running session holds locked, also while it waits for `lock`."""
        return self.path / "session.lock"

    def size_bytes(self) -> int:
        """Return how much disk its files take."""
        return sum(_size(path) for path in self.path.rglob("*"))

    def create(self) -> None:
        """Make the directory, readable by its owner alone; raise `StorageError` where that cannot be done."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            step = f"use --index DIR or {INDEX_VARIABLE} for another place"
            raise StorageError(f"cannot create the index home {self.path}: {error.strerror}", step) from error


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 for a directory, or a file that a run has just replaced."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def index_home(option: Path | None = None) -> IndexHome:
    """Return the index home: `option`, else `IMGIDX_INDEX`, else the user's data directory."""
    chosen = option or os.environ.get(INDEX_VARIABLE) or platformdirs.user_data_path("imgidx")
    path = os.path.expanduser(chosen)  # leaves a ~ that it cannot resolve
    if path.startswith("~"):
        raise UsageError(f"there is no home directory for the index {path}", f"use --index DIR or {INDEX_VARIABLE}")
    return IndexHome(Path(path).absolute())


def session_of_environment() -> int | None:
    """Return the number of the session that a server has started this run for, None where it is no session."""
    given = os.environ.get(SESSION_VARIABLE)
    if given is None:
        return None
    if not given.isdecimal():
        raise UsageError(
            f"{SESSION_VARIABLE} is the number of a session, not {given!r}", "it is for imgidx serve alone"
        )
    return int(given)


def load_config() -> dict[str, Any]:
    """Return the user's defaults, option by command, from `IMGIDX_CONFIG` or the user's configuration directory.

    The file is TOML: a table for each command (`[train]`, `[models.fetch]`), whose keys are long options without the
    leading dashes (`workers = 4`). Raises `UsageError` where it is not valid TOML; the command line checks the keys.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named) if named else platformdirs.user_config_path("imgidx") / "config.toml"
    if not named and not os.path.exists(path):  # nor can it where HOME is no directory, or closed, as for a service
        return {}
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except FileNotFoundError as error:  # who names a file means it
        raise UsageError(f"there is no configuration file {path}, which {CONFIG_VARIABLE} names") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration file {path}: {error}") from error
    return _underscored(tables)


def _underscored(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table, and those inside it, with keys as Python spells them: `batch_size` for `batch-size`."""
    return {
        key.replace("-", "_"): _underscored(value) if isinstance(value, dict) else value for key, value in table.items()
    }
