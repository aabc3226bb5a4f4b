"""The command as users and scripts run it: what it prints where, and the code it exits with."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from image_index import __version__
from image_index.catalog.catalog import Catalog
from image_index.cli.app import app
from image_index.cli.signals import stop_on_signals
from image_index.errors import Interrupted
from image_index.records import EmbeddedBatch, Failure, ImageFile, Stage
from image_index.settings import IndexHome
from tests.support.fake_models import FACTS
from tests.support.photos import real_photos

pytestmark = pytest.mark.timeout(180)

REPOSITORY = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "image_index")
COUNT_KEYS = ["embedded", "unchanged", "moved", "missing", "failed", "seconds", "pictures_per_second"]
SUMMARY_KEYS = [*COUNT_KEYS, "stage_seconds"]
FOUR_LINES = (
    "Preloading embedding model in worker process",
    "Loading OpenCLIP model starter on cpu",
    "Model loaded. Embedding dim: 512",
    "Embedding model preloaded successfully in worker process",
)


PROGRESS = re.compile(r"(Scanning|Loading the model|Embedding|Building the search index): \d+")


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: bytes
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.decode().splitlines()]

    @property
    def complaint(self) -> str:
        """The one line on stderr that is not progress, of which a slow machine may print some."""
        lines = [line for line in self.err.splitlines(keepends=True) if not PROGRESS.match(line)]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("imgidx: ")
        return lines[0]


@dataclass
class Shell:
    """Where commands run: a home without models or network, and an index."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.write_config("")

    @property
    def index(self) -> Path:
        """The index home that the environment names."""
        return Path(self.environment["IMGIDX_INDEX"])

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user who is offline and has fetched no model."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(self.directory),
            "HF_HOME": str(self.directory / "hf"),
            "HF_HUB_OFFLINE": "1",
            "IMGIDX_CONFIG": str(self.directory / "config.toml"),
            "IMGIDX_INDEX": str(self.directory / "index"),
            **self.variables,
        }

    def start(self, *arguments: str | bytes | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command."""
        where: dict[str, Any] = {"env": self.environment, "cwd": self.directory}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen[bytes]((*COMMAND, *arguments), **where, **streams)

    def run(self, *arguments: str | bytes | Path, **options: Any) -> Done:
        """Run a command to its end; whatever happens, no traceback is shown."""
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=120)
        done = Done(process.returncode, out or b"", (err or b"").decode())
        assert "Traceback" not in done.err, done.err
        return done

    def write_config(self, text: str) -> None:
        """Write the configuration file."""
        Path(self.environment["IMGIDX_CONFIG"]).write_text(text, encoding="utf-8")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell without an index."""
    return Shell(tmp_path)


@dataclass
class Library:
    """Photos under awkward names and a broken one, and the training that indexed them."""

    photos: Path
    broken: Path
    good: list[bytes]
    index: Path
    log: Path
    trained: Done


def awkward_names() -> list[bytes]:
    """Return file names that trip scripts; a file system that wants UTF-8 (Apple's) gets none that is not."""
    names = [b"plain.jpg", b"with space.jpg", b"qu\"o'te.jpg", b"new\nline.jpg", b"-n.jpg", "写真 é.jpg".encode()]
    return names if sys.platform == "darwin" else [*names, b"invalid-\xff.jpg"]


@pytest.fixture(scope="module")
def library(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Train the starter once, on a few photos."""
    shell = Shell(tmp_path_factory.mktemp("library"))
    photos = shell.directory / "photos"
    photos.mkdir()
    names = awkward_names()
    for name, photo in zip(names, real_photos(sample_photos, len(names) + 3), strict=False):
        shutil.copy(photo, photos / os.fsdecode(name))
    broken = photos / "broken.jpg"
    broken.write_bytes((photos / "plain.jpg").read_bytes()[:2000])
    log = shell.directory / "log"
    options = ("--model", "starter", "--device", "cpu", "--workers", "1", "--log-file", log, "--json")
    trained = shell.run("train", photos, *options)
    real = os.path.realpath(os.fsencode(photos))
    return Library(photos, broken, sorted(os.path.join(real, name) for name in names), shell.index, log, trained)


@pytest.fixture
def searcher(shell: Shell, library: Library) -> Shell:
    """Return a shell with the library's index, which tests leave as it is."""
    shell.variables["IMGIDX_INDEX"] = str(library.index)
    return shell


# Training


def test_last_line_of_training_is_the_summary_with_pinned_keys(library: Library) -> None:
    """A script reads one object, and its counts are true."""
    summary = library.trained.records[-1]
    assert list(summary) == SUMMARY_KEYS
    assert (summary["embedded"], summary["failed"], summary["unchanged"]) == (len(library.good), 1, 0)
    stages = ["scan", "load", "read", "decode", "forward", "idle", "store", "index"]
    assert list(summary["stage_seconds"]) == stages
    assert all(seconds > 0 for seconds in summary["stage_seconds"].values())


def test_a_broken_picture_is_named_and_ends_in_exit_3(library: Library) -> None:
    """The rest is done; stderr has one line for the picture and its reason."""
    assert library.trained.code == 3
    assert "broken.jpg" in library.trained.complaint


def test_log_file_has_the_four_lines_of_a_preloading_child_and_the_failure(library: Library) -> None:
    """What the screen does not show is in the log, with its time."""
    log = library.log.read_text(encoding="utf-8").splitlines()
    lines = [line for line in log if " INFO image_index.worker: " in line]
    assert [line.partition(" INFO image_index.worker: ")[2] for line in lines] == list(FOUR_LINES)
    assert any("WARNING" in line and "broken.jpg" in line for line in log)


def test_a_failure_known_from_before_does_not_count_again(searcher: Shell, library: Library) -> None:
    """A second run finds nothing to do, and is done."""
    done = searcher.run("train", library.photos, "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.records[-1]["unchanged"], done.records[-1]["failed"]) == (len(library.good), 0)


def test_training_without_roots_takes_those_of_before(searcher: Shell, library: Library) -> None:
    """An index knows its roots."""
    done = searcher.run("train")
    assert (done.code, done.err) == (0, "")
    assert done.out.decode().endswith(f", {len(library.good)} unchanged, 1 failed before\n")


def test_dry_run_says_what_would_be_done_and_touches_nothing(shell: Shell, library: Library) -> None:
    """No index, no model, no child."""
    done = shell.run("train", library.photos, "--dry-run", "--json")
    assert done.code == 0
    assert list(done.records[-1]) == ["dry_run", "to_embed", *COUNT_KEYS]
    assert done.records[-1]["to_embed"] == len(library.good) + 1
    assert not shell.index.exists()


def test_quiet_training_prints_nothing(shell: Shell, library: Library) -> None:
    """Not even that a picture failed: the exit code says so."""
    done = shell.run("train", library.broken, "--model", "starter", "-j", "1", "--quiet")
    assert (done.code, done.out, done.err) == (3, b"", "")


def test_a_log_nobody_reads_any_more_does_not_end_a_training(shell: Shell, library: Library) -> None:
    """With stderr gone, the work goes on and is stored."""
    reader, writer = os.pipe()
    os.close(reader)
    done = shell.run("train", library.broken, "--model", "starter", "-j", "1", "--json", stderr=writer)
    os.close(writer)
    assert (done.code, done.records[-1]["failed"]) == (3, 1)


def test_signals_end_a_training_after_storing_what_is_embedded(shell: Shell) -> None:
    """SIGINT exits with 130, SIGTERM with 143; what was embedded is stored, and is not embedded again."""
    photos = shell.directory / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for number in range(600):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(photos / f"{number:03d}.png")
    stored = 0
    for name, code in (("SIGINT", 130), ("SIGTERM", 143)):
        process = shell.start("train", photos, "--model", "starter", "-j", "1", "--batch-size", "2", "--json")
        with process:
            wait_until(lambda before=stored: images(shell.index) > before, process)  # type: ignore[misc]
            process.send_signal(signal.Signals[name])
            out, err = process.communicate(timeout=60)
        done = Done(process.returncode, out, err.decode())
        assert done.code == code, done.err
        assert "Traceback" not in done.err
        assert done.err.splitlines()[-1] == (
            f"imgidx: stopped by signal {code - 128}; everything embedded so far is stored"
        )
        assert done.records[-1]["unchanged"] == stored
        assert images(shell.index) == stored + done.records[-1]["embedded"] < 600
        stored = images(shell.index)


def images(index: Path) -> int:
    """Return how many pictures an index holds, which may not be there yet."""
    home = IndexHome(index)
    if not home.catalog.exists() or not home.catalog.stat().st_size:
        return 0
    with Catalog(home.catalog) as catalog:
        return catalog.counts().images


def wait_until(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something that a process does; it must not end before."""
    deadline = time.monotonic() + 100
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Searching


def test_a_text_finds_every_picture_best_first(searcher: Shell, library: Library) -> None:
    """JSON has one hit a line, ranked, with pinned keys; names that are not UTF-8 have their own."""
    done = searcher.run("search", "a photo", "--json", "-n", "100")
    assert (done.code, done.err) == (0, "")
    assert [hit["rank"] for hit in done.records] == list(range(1, len(library.good) + 1))
    scores = [hit["score"] for hit in done.records]
    assert scores == sorted(scores, reverse=True)
    keys = {tuple(hit) for hit in done.records}
    facts = ("date", "width", "height", "format", "camera")
    assert keys <= {("rank", "score", "sigma", path, *facts) for path in ("path", "path_bytes")}
    assert {os.fsencode(hit["path"]) for hit in done.records if "path" in hit} == {
        path for path in library.good if b"\xff" not in path
    }


def test_a_picture_finds_itself_first(searcher: Shell, library: Library) -> None:
    """Its own vector has cosine 1 with itself."""
    done = searcher.run("search", "--image", library.photos / "plain.jpg", "--json", "-n", "1", "--include-query")
    (hit,) = done.records
    assert os.fsencode(hit["path"]) == os.path.realpath(os.fsencode(library.photos / "plain.jpg"))
    assert hit["score"] == pytest.approx(1, abs=1e-3)


def like_plain(library: Library, *more: str) -> tuple[str | Path, ...]:
    """Return a search by a picture of the index, which costs no model."""
    return ("search", "--image", library.photos / "plain.jpg", "-n", "100", "--include-query", *more)


def test_paths_piped_through_xargs_name_the_files(searcher: Shell, library: Library) -> None:
    """Spaces, quotes, newlines and bytes that are no UTF-8 reach the next program as they are."""
    with searcher.start(*like_plain(library, "-0")) as process:
        sizes = subprocess.run(
            ["xargs", "-0", sys.executable, "-c", "import os,sys; [print(os.stat(p).st_ino) for p in sys.argv[1:]]"],
            stdin=process.stdout,
            capture_output=True,
            check=True,
        )
    assert sorted(map(int, sizes.stdout.split())) == sorted(os.stat(path).st_ino for path in library.good)


@pytest.mark.parametrize(("options", "end"), [(("--paths",), b"\n"), ((), b"\n"), (("-0",), b"\0")])
def test_output_that_is_no_terminal_gets_paths_byte_for_byte(
    searcher: Shell, library: Library, options: tuple[str, ...], end: bytes
) -> None:
    """`--paths` is what a pipe gets anyway; `-0` ends each path with a zero byte."""
    done = searcher.run(*like_plain(library, *options))
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(end)
    assert sorted(done.out[:-1].split(end)) == sorted(end.join(library.good).split(end))


def test_paths_are_the_same_whatever_the_locale(searcher: Shell, library: Library) -> None:
    """cron's locale knows no letters but ASCII."""
    expected = searcher.run(*like_plain(library, "-0")).out
    searcher.variables |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert searcher.run(*like_plain(library, "-0")).out == expected
    assert searcher.run(*like_plain(library, "--json")).code == 0


def test_a_terminal_gets_a_table_without_control_characters(searcher: Shell, library: Library) -> None:
    """A newline in a name is shown as an escape."""
    done, shown = run_on_terminal(searcher, *like_plain(library))
    assert (done.code, done.err) == (0, "")
    assert "new\\nline.jpg" in shown
    assert all(character.isprintable() for character in shown.replace("\r\n", ""))


def run_on_terminal(shell: Shell, *arguments: str | bytes | Path) -> tuple[Done, str]:
    """Run a command whose output goes to a terminal of 200 columns without colours; return what that shows, too."""
    ours, theirs = pty.openpty()
    plain = {"NO_COLOR": "1", "COLUMNS": "200", "TERM": "xterm"}
    done = replace(shell, variables=shell.variables | plain).run(*arguments, stdout=theirs)
    os.close(theirs)
    shown = b""
    while chunk := read_terminal(ours):
        shown += chunk
    os.close(ours)
    return done, shown.decode()


def read_terminal(descriptor: int) -> bytes:
    """Return what has been written to a terminal; nothing once its other end is closed."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def test_a_reader_that_leaves_early_hears_no_complaint(searcher: Shell, library: Library) -> None:
    """As after `| head -1`: something was found, and nothing is said."""
    reader, writer = os.pipe()
    os.close(reader)
    done = searcher.run(*like_plain(library, "--json"), stdout=writer)
    os.close(writer)
    assert (done.code, done.err) == (0, "")


def test_nothing_found_is_exit_1_without_a_word(searcher: Shell, library: Library) -> None:
    """As grep: scripts test the code."""
    elsewhere = searcher.directory
    assert searcher.run(*like_plain(library, "--under", str(elsewhere))) == Done(1, b"", "")
    other = library.photos / "with space.jpg"
    assert searcher.run(*like_plain(library, "--under", str(other))).code == 0
    assert searcher.run(*like_plain(library, "--under", str(other), "--min-score", "0.99")) == Done(1, b"", "")


def test_hits_are_limited_by_directory(searcher: Shell, library: Library) -> None:
    """`--under` takes a relative directory too."""
    done = searcher.run(*like_plain(library, "--json", "--under", os.path.relpath(library.photos, searcher.directory)))
    assert len(done.records) == len(library.good)


# Status and failures


def test_status_json_is_one_object_with_pinned_keys(searcher: Shell, library: Library) -> None:
    """What cron's mail would show."""
    (status,) = searcher.run("status", "--json").records
    keys = ["images", "missing", "failures", "roots", "model", "dim", "bytes", "last_run"]
    assert list(status) == keys
    assert (status["images"], status["missing"], status["failures"]) == (len(library.good), 0, 1)
    assert (status["model"], status["dim"]) == ("starter", 512)
    on_disk = sum(path.stat().st_size for path in library.index.rglob("*") if path.is_file())
    assert on_disk <= status["bytes"] <= on_disk + (32 << 10)  # SQLite's scratch file while the catalog is open
    assert set(SUMMARY_KEYS) <= set(status["last_run"])


def test_status_for_people_is_a_few_lines(searcher: Shell, library: Library) -> None:
    """Counts, model, and each root."""
    done = searcher.run("status")
    lines = done.out.decode().splitlines()
    assert f"pictures   {len(library.good)}" in lines
    assert "model      starter, 512 dimensions" in lines
    assert f"root       {os.path.realpath(library.photos)}" in lines


def test_failures_are_listed_with_their_reason(searcher: Shell, library: Library) -> None:
    """The same facts for people and for scripts."""
    (record,) = searcher.run("failures", "--json").records
    assert list(record) == ["path", "stage", "reason", "attempts", "first_failed_at", "last_failed_at"]
    assert (record["path"], record["stage"]) == (os.path.realpath(library.broken), "decode")
    line = searcher.run("failures").out.decode()
    assert line.startswith(f"{record['path']}: {record['reason']} (decode, since {record['first_failed_at']}")


def test_a_retry_forgets_failures_whose_files_are_gone(shell: Shell) -> None:
    """There is nothing left to try, and no child is started for it."""
    home = IndexHome(shell.index)
    home.create()
    gone = Failure(ImageFile(b"/nowhere/gone.jpg", 1, 1), Stage.DECODE, "broken")
    with Catalog(home.catalog, write=True) as catalog:
        catalog.set_model(FACTS_OF_STARTER)
        catalog.record(EmbeddedBatch((), np.zeros((0, 3), np.float32), (gone,)))
    assert shell.run("failures").out.startswith(b"/nowhere/gone.jpg: broken")
    done = shell.run("failures", "--retry")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(b"nothing to embed, no child was started")
    assert shell.run("failures") == Done(0, b"", "")


FACTS_OF_STARTER = type(FACTS)("starter", FACTS.weights_sha256, FACTS.config, FACTS.preprocess, FACTS.dim)


# Exit codes and complaints


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
    "a picture format": ("search", "a cat", "--format", "psd"),
    "two templates": ("search", "a cat", "--format", "{rank}", "--format", "{path}"),
    "peek": ("search", "a cat", "--peek"),
    "no name": ("search", "a cat", "--since-last", ""),
    "open": ("search", "a cat", "--open"),
    "preview": ("search", "a cat", "--preview"),
    "date": ("search", "a cat", "--newer", "2024-02-30"),
    "size": ("search", "a cat", "--min-size", "large"),
    "queries": ("search", "--queries", "/nonexistent"),
    "fetch what": ("models", "fetch", "no such model"),
}


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


def test_a_device_that_is_not_there_is_exit_2(shell: Shell, library: Library) -> None:
    """The children find out, and the parent says it."""
    done = shell.run("train", library.photos, "--model", "starter", "-j", "1", "--device", "warp")
    assert done.code == 2
    assert "no device warp on this machine" in done.complaint


def test_a_query_of_nothing_is_exit_2(searcher: Shell) -> None:
    """Space is no description."""
    done = searcher.run("search", " ")
    assert done.code == 2
    assert "the query is empty" in done.complaint


def test_a_query_that_is_no_picture_is_exit_2(searcher: Shell) -> None:
    """A file that is not there is wrong use."""
    done = searcher.run("search", "--image", "none.jpg")
    assert done.code == 2
    assert "none.jpg: No such file" in done.complaint


@pytest.mark.parametrize("arguments", [("search", "a cat"), ("status",), ("failures",), ("failures", "--retry")])
def test_no_index_is_exit_4(shell: Shell, arguments: tuple[str, ...]) -> None:
    """The line says where none is, and how to make one; looking makes none."""
    done = shell.run(*arguments)
    assert (done.code, done.out) == (4, b"")
    assert f"no index in {shell.index}" in done.complaint
    assert "imgidx train" in done.complaint
    assert not shell.index.exists()


def test_another_model_is_exit_5(searcher: Shell, library: Library) -> None:
    """The index's model and the one asked for are named."""
    other = searcher.directory / "other"
    other.mkdir()
    (other / "open_clip_config.json").write_text('{"model_cfg": {}}')
    (other / "open_clip_model.safetensors").write_bytes(b"other weights")
    done = searcher.run("train", library.photos, "--model", f"local-dir:{other}")
    assert (done.code, done.out) == (5, b"")
    assert "made with the model starter" in done.complaint


def test_a_model_that_cannot_be_had_is_exit_6_and_begins_no_index(shell: Shell, library: Library) -> None:
    """One line names the model, the cause and the ways out."""
    done = shell.run("train", library.photos)
    assert (done.code, done.out) == (6, b"")
    for part in ("ViT-B-32/laion2b_s34b_b79k", "HF_HUB_OFFLINE", "models fetch", "HF_HOME", "--model starter"):
        assert part in done.complaint
    assert not shell.index.exists()


def test_a_fetch_that_cannot_be_made_is_exit_6(shell: Shell) -> None:
    """Offline there is nothing to fetch from."""
    done = shell.run("models", "fetch", "ViT-B-32")
    assert done.code == 6
    assert "ViT-B-32/laion2b_s34b_b79k" in done.complaint


def test_an_index_in_use_is_exit_7(shell: Shell, library: Library) -> None:
    """Another run is not waited for; it is named."""
    shell.index.mkdir()
    with (shell.index / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        done = shell.run("train", library.photos, "--model", "starter")
    assert (done.code, done.out) == (7, b"")
    assert "4711" in done.complaint


def test_a_damaged_catalog_is_exit_9(shell: Shell) -> None:
    """The line names the file and the next step."""
    shell.index.mkdir()
    (shell.index / "catalog.sqlite3").write_bytes(b"no database at all" * 1000)
    done = shell.run("status")
    assert done.code == 9
    assert "catalog.sqlite3" in done.complaint


def test_an_index_home_that_cannot_be_made_is_exit_9(shell: Shell, library: Library) -> None:
    """A file in the way is named."""
    shell.index.write_text("in the way")
    done = shell.run("train", library.photos, "--model", "starter")
    assert done.code == 9
    assert str(shell.index) in done.complaint


def test_a_complaint_is_one_line_whatever_it_is_about(shell: Shell) -> None:
    """A newline in a path does not make two lines, and an escape code does not reach the terminal."""
    done = shell.run("status", "--index", "a\nb\x1b[31m")
    assert done.code == 4
    assert "a\\nb\\x1b[31m" in done.complaint


# Environment, configuration, help


def test_option_index_goes_before_the_environment(shell: Shell, library: Library) -> None:
    """`--index` is for once, IMGIDX_INDEX for always."""
    assert shell.run("status").code == 4
    assert shell.run("status", "--index", library.index).code == 0


def test_configuration_gives_defaults_that_options_override(searcher: Shell, library: Library) -> None:
    """Keys are long options, by command."""
    searcher.write_config('[search]\ntop = 2\njson = true\n\n[train]\nexclude = ["*"]\ndry-run = true\n')
    query = ("search", "--image", library.photos / "plain.jpg")
    assert [hit["rank"] for hit in searcher.run(*query).records] == [1, 2]
    assert len(searcher.run(*query, "-n", "3").records) == 3
    assert searcher.run("train", library.photos).out.startswith(b"would embed 0")


@pytest.mark.parametrize("text", ["[search", "[search]\nmin-score = 7\n", '[train]\nworkers = "many"\n'])
def test_a_configuration_that_cannot_be_meant_is_exit_2(searcher: Shell, text: str) -> None:
    """A typo is not passed over."""
    searcher.write_config(text)
    done = searcher.run("train" if "train" in text else "search", "x")
    assert (done.code, done.out) == (2, b"")


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command: its words and what the parser knows of it."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(app))]
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


def test_models_lists_the_bundled_one_first(shell: Shell) -> None:
    """`imgidx models` works with no network and no cache."""
    done = shell.run("models", "--json")
    assert (done.code, done.err) == (0, "")
    assert list(done.records[0]) == ["name", "kind", "dim", "size_mb", "licence", "note"]
    assert (done.records[0]["name"], done.records[0]["kind"]) == ("starter", "bundled")
    assert b"starter" in shell.run("models").out


def test_fetching_what_is_there_says_where(shell: Shell) -> None:
    """The bundled model needs no network; --quiet says nothing."""
    done = shell.run("models", "fetch", "starter")
    assert (done.code, done.out) == (0, b"")
    assert done.err.startswith("starter: ")
    assert shell.run("models", "fetch", "starter", "--quiet") == Done(0, b"", "")


def test_completion_is_offered_for_the_shell(shell: Shell) -> None:
    """Typer's own script completes our commands."""
    shell.variables |= {"_IMGIDX_COMPLETE": "complete_bash", "COMP_WORDS": "imgidx tr", "COMP_CWORD": "1"}
    assert shell.run().out == b"train\n"


# Signals, inside one process


def test_first_signal_asks_for_a_stop_and_the_second_one_ends_at_once() -> None:
    """The request names the signal; whoever cannot wait sends another."""
    with stop_on_signals() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert stop.signal_number == signal.SIGTERM
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGINT)
    assert caught.value.exit_code == 128 + signal.SIGINT


def test_signals_mean_what_they_meant_before_once_a_run_is_over() -> None:
    """Whatever ends the run, the handlers are put back."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(RuntimeError), stop_on_signals():
        raise RuntimeError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    """A run under nohup outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("config", "named"), [("[trian]\nworkers = 1", "trian"), ("[train]\nworkres = 1", "workres")])
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
