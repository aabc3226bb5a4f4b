"""Where the index lives and what the configuration file says."""

from __future__ import annotations

import stat
from pathlib import Path

import platformdirs
import pytest

from image_index.errors import StorageError, UsageError
from image_index.settings import (
    CONFIG_VARIABLE,
    INDEX_VARIABLE,
    SESSION_VARIABLE,
    IndexHome,
    index_home,
    load_config,
    session_of_environment,
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the variables of whoever runs the tests."""
    monkeypatch.delenv(INDEX_VARIABLE, raising=False)
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


def test_option_wins_over_environment_over_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--index` is asked first, then IMGIDX_INDEX, then the platform."""
    assert index_home().path == platformdirs.user_data_path("imgidx")
    monkeypatch.setenv(INDEX_VARIABLE, "/from/environment")
    assert index_home().path == Path("/from/environment")
    assert index_home(Path("/from/option")).path == Path("/from/option")


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`IMGIDX_INDEX= imgidx ...` means the default, as with other tools."""
    monkeypatch.setenv(INDEX_VARIABLE, "")
    assert index_home().path == platformdirs.user_data_path("imgidx")


def test_index_home_is_absolute_and_knows_the_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of directory does not lose the index."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert index_home(Path("~/index")).path == index_home(Path("index")).path == tmp_path / "index"


def test_a_home_of_nobody_is_wrong_use() -> None:
    """What a shell leaves of a name that it does not know is not the name of a directory."""
    with pytest.raises(UsageError, match="no home directory for the index ~nobody-of-this-name/index"):
        index_home(Path("~nobody-of-this-name/index"))


def test_new_index_home_is_private_and_may_be_there_already(tmp_path: Path) -> None:
    """Which pictures somebody has is nobody else's business."""
    home = IndexHome(tmp_path / "deep" / "index")
    home.create()
    home.create()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_index_home_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=str(tmp_path / "file")):
        IndexHome(tmp_path / "file" / "index").create()


def test_size_is_that_of_all_files(tmp_path: Path) -> None:
    """Catalog, FAISS index and journal count; directories do not."""
    home = IndexHome(tmp_path)
    home.catalog.write_bytes(b"12345")
    home.faiss.write_bytes(b"123")
    (tmp_path / "text").mkdir()
    assert home.size_bytes() == 8


def write_config(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a configuration file and name it in the environment."""
    path.write_bytes(content)
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))


def test_config_gives_defaults_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are commands, also commands of commands, and keys are long options."""
    content = b"[train]\nbatch-size = 8\nexclude = ['*.png']\n[search]\nmin-score = 0.2\n[models.fetch]\nquiet = true\n"
    write_config(tmp_path / "config.toml", content, monkeypatch)
    assert load_config() == {
        "train": {"batch_size": 8, "exclude": ["*.png"]},
        "search": {"min_score": 0.2},
        "models": {"fetch": {"quiet": True}},
    }


def test_no_config_is_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to write one."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config() == {}


@pytest.mark.parametrize("home", ["/dev/null", "/nonexistent", "file"])
def test_a_home_that_is_none_has_no_config(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Service users have no home; they name an index."""
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    assert load_config() == {}


@pytest.mark.parametrize("content", [b"[train", b"workers = ", b"[train]\nmodel = '\xff'\n"])
def test_config_that_is_not_toml_is_wrong_use(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is named; a default that was meant is not silently lost."""
    write_config(tmp_path / "mine.toml", content, monkeypatch)
    with pytest.raises(UsageError, match=r"mine\.toml"):
        load_config()


def test_config_that_cannot_be_read_is_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory in its place is named."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=str(tmp_path)):
        load_config()


def test_the_environment_may_name_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number; anything else is wrong use."""
    monkeypatch.delenv(SESSION_VARIABLE, raising=False)
    assert session_of_environment() is None
    monkeypatch.setenv(SESSION_VARIABLE, "17")
    assert session_of_environment() == 17
    monkeypatch.setenv(SESSION_VARIABLE, "seventeen")
    with pytest.raises(UsageError, match="the number of a session"):
        session_of_environment()
