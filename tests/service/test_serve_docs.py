"""The examples of the page about the server do what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.console_examples import BLOCK, commands
from tests.support.photos import REPOSITORY
from tests.support.served import TOKEN, listening, make_served

PAGE = REPOSITORY / "docs/serve.md"
ADDRESS = "http://127.0.0.1:8000"
COPIES = [f"red{number}" for number in range(2, 16)]
"""So that there are as many pictures as the page's ids."""


def examples() -> list[str]:
    """Return the commands of the page that ask by curl."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    found = [command for block in BLOCK.findall(text) for command, _ in commands(block)]
    return [command for command in found if command.startswith("curl ")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_examples_are_answered(tmp_path: Path, red_texts: list[str]) -> None:
    """Every one, in the order of the page, by a server with pictures of the ids that it names."""
    home = make_served(tmp_path, copies={"red": COPIES})
    photos = tmp_path / "photos"
    shutil.copy(photos / "red.png", tmp_path / "cat.jpg")
    assert len(examples()) > 8
    with listening(home) as address:
        base = f"http://{urlsplit(address).netloc}"
        for example in examples():
            command = re.sub(r"/home/\w+/Pictures", str(photos), example.replace(ADDRESS, base))
            done = subprocess.run(
                ["bash", "-c", command.replace("curl ", "curl --fail-with-body --silent --max-time 60 ", 1)],
                cwd=tmp_path,
                env={**os.environ, "TOKEN": TOKEN, "no_proxy": "*"},
                capture_output=True,
                check=False,
                timeout=90,
            )
            assert done.returncode == 0, (example, done.stdout[:2000])
    assert "a cat" in red_texts
    assert (tmp_path / "cats.zip").read_bytes().startswith(b"PK")
    assert b"<h1" in (tmp_path / "cats.html").read_bytes()
