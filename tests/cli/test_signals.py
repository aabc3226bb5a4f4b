"""Signals: to a command from outside, and what a run makes of them inside."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_index.catalog.catalog import Catalog
from image_index.cli.signals import stop_on_signals
from image_index.errors import Interrupted
from image_index.settings import IndexHome
from tests.support.shell import Done, Shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_signals_end_a_training_after_storing_what_is_embedded(shell: Shell, starter_index: IndexHome) -> None:
    """SIGINT exits with 130, SIGTERM with 143; what was embedded is stored, and is not embedded again."""
    shell.copy_index(starter_index)
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


def test_a_run_that_its_row_asks_to_stop_still_takes_a_first_signal_for_the_first() -> None:
    """It comes from the same request to cancel, perhaps later: the batches in flight are stored all the same."""
    with stop_on_signals() as stop:
        stop.signal_number = signal.SIGINT
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGINT
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


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
