"""Servers in processes of their own, and clients that ask them."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from image_index.settings import IndexHome
from tests.support.photos import REPOSITORY


@contextmanager
def running(home: IndexHome, *options: str, module: str = "image_index") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Give the address that a server prints, and its process; `module` is what runs as `imgidx`."""
    command = [sys.executable, "-m", module, "serve", "--index", str(home.path), "--port", "0", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, env=dict(os.environ)
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):  # whose other ends a training may have, which outlives it
            if stream is not None:
                stream.close()


def get(address: str, token: str = "") -> tuple[int, str]:
    """Return the status and the body of an answer."""
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
