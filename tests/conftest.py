"""Fixtures that several test modules share."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, Page

from image_index.paths import resolve
from image_index.settings import IndexHome
from image_index.upkeep.maintenance import forget
from image_index.workers.child import Child
from image_index.workers.engine import Engine
from tests.support.browser import Watched, started, watched
from tests.support.library import Library
from tests.support.photos import CALTECH, CATEGORIES, REPOSITORY, SAMPLE_PHOTOS

# what a test finds must not depend on how busy the machine is
settings.register_profile("imgidx", deadline=None)
settings.load_profile("imgidx")

# a shell's background jobs, and nohup, ignore these, and so would every process started here
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure() -> None:
    """Refuse a directory that is not Caltech-101, before anything runs."""
    if CALTECH and sum(path.is_dir() for path in CALTECH.glob("*")) != CATEGORIES:
        raise pytest.UsageError(
            f"{CALTECH} is not Caltech-101, which has a directory for each of its {CATEGORIES} categories: "
            "run make examples PHOTOS=DIR"
        )


LEFT_OUT = pytest.StashKey[Counter[str]]()
COMMANDS = {"examples": "make examples PHOTOS=DIR", "nightly": "make nightly", "slow": "make test"}


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what is left out, by the mark that says why."""
    for item in items:
        asked = f"examples {item.config.option.markexpr}"
        mark = next((name for name in COMMANDS if name in asked and item.get_closest_marker(name)), None)
        item.config.stash.setdefault(LEFT_OUT, Counter())[COMMANDS.get(mark or "", "another -m or -k")] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and which command runs it."""
    for command, count in config.stash.get(LEFT_OUT, Counter()).items():
        terminalreporter.write_line(f"LEFT OUT [{count}]: {command}")


TRAINED = {"starter_index", "searcher"}
"""Fixtures for which a child loads the bundled model, with torch: who asks for one is slow."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what loads a model as slow; leave out the tests of Caltech-101 where nobody says where it is."""
    for item in items:
        if TRAINED & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    if CALTECH is None:
        left_out = [item for item in items if item.get_closest_marker("examples")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """Return the directory of sample photos; `make` has fetched them, else this does."""
    if not SAMPLE_PHOTOS.exists():
        subprocess.run([sys.executable, REPOSITORY / "tools/sample_photos.py", SAMPLE_PHOTOS], check=True)
    return SAMPLE_PHOTOS


@pytest.fixture(scope="session")
def caltech() -> Path:
    """Return the directory of Caltech-101, for tests marked `examples`."""
    assert CALTECH is not None
    return CALTECH


@pytest.fixture
def home(tmp_path: Path) -> IndexHome:
    """Return an index home that is not there yet."""
    return IndexHome(tmp_path / "index")


@pytest.fixture(scope="session")
def starter_index(tmp_path_factory: pytest.TempPathFactory) -> IndexHome:
    """Return an index of the bundled model without pictures, to be copied: exporting the text tower takes seconds."""
    directory = tmp_path_factory.mktemp("starter")
    library = Library(directory / "photos", IndexHome(directory / "index"))
    library.add("a.png")
    library.train(engine=Engine("cpu", workers=1))
    forget(library.home, (resolve(library.photos),))
    return library.home


@pytest.fixture
def refuse_children(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes starting a child an error from then on."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a child was started")

    return lambda: monkeypatch.setattr(Child, "start", refuse)


@pytest.fixture
def no_children(refuse_children: Callable[[], None]) -> None:
    """Make starting a child an error."""
    refuse_children()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give a browser. One for all modules is not possible: while there is one, `asyncio.run` refuses to run."""
    with started() as browser:
        yield browser


@pytest.fixture
def watched_page(browser: Browser) -> Iterator[Watched]:
    """Give a page and what it asked for and complained of, for a test that expects some of that."""
    with watched(browser) as seen:
        yield seen


@pytest.fixture
def page(watched_page: Watched) -> Iterator[Page]:
    """Give a page that asks nobody outside this machine for anything and complains of nothing."""
    yield watched_page.page
    assert not watched_page.outside
    assert not watched_page.complaints
