"""`imgidx train` as users and scripts run it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys

import pytest

from image_index.settings import IndexHome
from tests.cli.conftest import Trained
from tests.support.shell import COUNT_KEYS, SUMMARY_KEYS, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CHILD = " INFO image_index.worker: "
FOUR_LINES = (
    "Preloading embedding model in worker process",
    "Loading OpenCLIP model starter on cpu",
    "Model loaded. Embedding dim: 512",
    "Embedding model preloaded successfully in worker process",
)


def test_last_line_of_training_is_the_summary_with_pinned_keys(library: Trained) -> None:
    """A script reads one object, and its counts are true."""
    summary = library.trained.records[-1]
    assert list(summary) == SUMMARY_KEYS
    assert (summary["embedded"], summary["failed"], summary["unchanged"]) == (len(library.good), 1, 0)
    stages = ["scan", "load", "read", "decode", "forward", "idle", "store", "index"]
    assert list(summary["stage_seconds"]) == stages
    assert all(seconds > 0 for seconds in summary["stage_seconds"].values())


def test_a_broken_picture_is_named_and_ends_in_exit_3(library: Trained) -> None:
    """The rest is done; stderr has one line for the picture and its reason."""
    assert library.trained.code == 3
    assert "broken.jpg" in library.trained.complaint


def test_log_file_has_the_four_lines_of_a_preloading_child_and_the_failure(library: Trained) -> None:
    """What the screen does not show is in the log, with its time."""
    log = library.log.read_text(encoding="utf-8").splitlines()
    assert [line.partition(CHILD)[2] for line in log if CHILD in line] == list(FOUR_LINES)
    assert any("WARNING" in line and "broken.jpg" in line for line in log)


def test_a_failure_known_from_before_does_not_count_again(searcher: Shell, library: Trained) -> None:
    """A second run finds nothing to do, and is done."""
    done = searcher.run("train", library.photos, "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.records[-1]["unchanged"], done.records[-1]["failed"]) == (len(library.good), 0)


def test_training_without_roots_takes_those_of_before(searcher: Shell, library: Trained) -> None:
    """An index knows its roots."""
    done = searcher.run("train")
    assert (done.code, done.err) == (0, "")
    assert done.out.decode().endswith(f", {len(library.good)} unchanged, 1 failed before\n")


def test_dry_run_says_what_would_be_done_and_touches_nothing(shell: Shell, library: Trained) -> None:
    """No index, no model, no child."""
    done = shell.run("train", library.photos, "--dry-run", "--json")
    assert done.code == 0
    assert list(done.records[-1]) == ["dry_run", "to_embed", *COUNT_KEYS]
    assert done.records[-1]["to_embed"] == len(library.good) + 1
    assert not shell.index.exists()


def test_quiet_training_prints_nothing(shell: Shell, library: Trained, starter_index: IndexHome) -> None:
    """Not even that a picture failed: the exit code says so."""
    shell.copy_index(starter_index)
    done = shell.run("train", library.broken, "--model", "starter", "-j", "1", "--quiet")
    assert (done.code, done.out, done.err) == (3, b"", "")


def test_a_log_nobody_reads_any_more_does_not_end_a_training(
    shell: Shell, library: Trained, starter_index: IndexHome
) -> None:
    """With stderr gone, the work goes on and is stored."""
    shell.copy_index(starter_index)
    reader, writer = os.pipe()
    os.close(reader)
    done = shell.spawn("train", library.broken, "--model", "starter", "-j", "1", "--json", stderr=writer)
    os.close(writer)
    assert (done.code, done.records[-1]["failed"]) == (3, 1)


def test_a_device_that_is_not_there_is_exit_2(shell: Shell, library: Trained) -> None:
    """The children find out, and the parent says it."""
    done = shell.run("train", library.photos, "--model", "starter", "-j", "1", "--device", "warp")
    assert done.code == 2
    assert "no device warp on this machine" in done.complaint


def test_another_model_is_exit_5(searcher: Shell, library: Trained) -> None:
    """The index's model and the one asked for are named."""
    other = searcher.directory / "other"
    other.mkdir()
    (other / "open_clip_config.json").write_text('{"model_cfg": {}}')
    (other / "open_clip_model.safetensors").write_bytes(b"other weights")
    done = searcher.run("train", library.photos, "--model", f"local-dir:{other}")
    assert (done.code, done.out) == (5, b"")
    assert "made with the model starter" in done.complaint


def test_a_model_that_cannot_be_had_is_exit_6_and_begins_no_index(shell: Shell, library: Trained) -> None:
    """One line names the model, the cause and the ways out."""
    done = shell.spawn("train", library.photos)  # the hub's client reads the environment once
    assert (done.code, done.out) == (6, b"")
    for part in ("ViT-B-32/laion2b_s34b_b79k", "HF_HUB_OFFLINE", "models fetch", "HF_HOME", "--model starter"):
        assert part in done.complaint
    assert not shell.index.exists()


def test_the_roots_of_another_index_can_be_taken(shell: Shell, library: Trained) -> None:
    """A second index of the same directories needs no list of them; what is no index is said."""
    done = shell.run("train", "--roots-of", library.index, "--dry-run", "--json")
    assert done.records[0]["to_embed"] == len(library.good) + 1
    done = shell.run("train", "--roots-of", library.photos, "--dry-run")
    assert done.code == 4
    assert str(library.photos) in done.complaint


def test_an_index_in_use_is_exit_7(shell: Shell, library: Trained) -> None:
    """Another run is not waited for; it is named."""
    shell.index.mkdir()
    with (shell.index / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        done = shell.run("train", library.photos, "--model", "starter")
    assert (done.code, done.out) == (7, b"")
    assert "4711" in done.complaint


def test_an_index_home_that_cannot_be_made_is_exit_9(shell: Shell, library: Trained) -> None:
    """A file in the way is named."""
    shell.index.write_text("in the way")
    done = shell.run("train", library.photos, "--model", "starter")
    assert done.code == 9
    assert str(shell.index) in done.complaint


def test_files_of_a_list_become_no_root_and_outlast_a_run_around_them(
    shell: Shell, library: Trained, starter_index: IndexHome
) -> None:
    """Each is taken once; a run of the directory then embeds the other picture alone, and one without roots nothing."""
    shell.copy_index(starter_index)
    album = shell.directory / "album"
    album.mkdir()
    for name in ("plain.jpg", "with space.jpg"):
        shutil.copy(library.photos / name, album)
    listed = shell.directory / "list"
    listed.write_bytes(b"album/plain.jpg\0./album/plain.jpg\0album/none.jpg\0")
    train = ("train", "--model", "starter", "-j", "1", "--json")
    done = shell.run(*train, "--files-from", listed)
    assert (done.code, done.records[-1]["embedded"]) == (3, 1)
    assert "none.jpg: No such file or directory" in done.complaint
    assert shell.run("status", "--json").records[-1]["roots"] == []
    for roots, embedded, unchanged in (((album,), 1, 1), ((), 0, 2)):
        summary = shell.run(*train, *roots).records[-1]
        assert (summary["embedded"], summary["unchanged"], summary["missing"]) == (embedded, unchanged, 0)
    listed.write_bytes(b"")
    assert shell.run(*train, "--files-from", listed).code == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(("photos", "--files-from", "list"), "at once"), (("-0",), "--files-from"), (("--files-from", "none"), "No such")],
)
def test_a_list_of_files_that_makes_no_sense_is_exit_2(
    shell: Shell, arguments: tuple[str, ...], complaint: str
) -> None:
    """Directories beside it, its option without it, a list that is not there; no index is begun."""
    (shell.directory / "list").write_text("a.jpg\n")
    done = shell.run("train", *arguments)
    assert done.code == 2
    assert complaint in done.complaint
    assert not shell.index.exists()


def test_a_watch_takes_in_what_comes_until_a_signal_ends_it(
    shell: Shell, library: Trained, starter_index: IndexHome
) -> None:
    """Each batch is one object; another run may come between; the exit code is that of the signal."""
    shell.copy_index(starter_index)
    album = shell.directory / "album"
    album.mkdir()
    shutil.copy(library.photos / "plain.jpg", album)
    train = ("train", album, "--model", "starter", "-j", "1", "--json")
    with shell.start(*train, "--watch") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert shell.run(*train).records[-1]["unchanged"] == 1
        shutil.copy(library.photos / "with space.jpg", album)
        second = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert list(first) == list(second) == SUMMARY_KEYS
    assert (first["embedded"], second["embedded"], second["unchanged"]) == (1, 1, 0)
    assert (process.returncode, out) == (143, b"")
    assert f"Watching {os.path.realpath(album)}; Ctrl-C ends it" in err.decode()
    assert "stopped by signal 15" in err.decode()


def test_a_watch_ends_with_its_time_limit(shell: Shell, library: Trained, starter_index: IndexHome) -> None:
    """That is no error."""
    shell.copy_index(starter_index)
    done = shell.run("train", library.broken, "--model", "starter", "-j", "1", "--watch", "--time-limit", "6s", "-q")
    assert (done.code, done.out, done.err) == (0, b"", "")


def test_a_watch_without_its_library_says_what_to_install(
    shell: Shell, library: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line; nothing is begun."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.delitem(sys.modules, "image_index.training.watch", raising=False)
    done = shell.run("train", library.photos, "--watch")
    assert done.code == 2
    assert "pip install 'imgidx[watch]'" in done.complaint
    assert not shell.index.exists()


@pytest.mark.parametrize("other", [("--dry-run",), ("--files-from", "list")])
def test_a_watch_goes_with_roots_alone(shell: Shell, library: Trained, other: tuple[str, ...]) -> None:
    """A list or a preview has an end."""
    (shell.directory / "list").touch()
    done = shell.run("train", "--watch", *other)
    assert done.code == 2
    assert f"--watch and {other[0]} cannot be had at once" in done.complaint
