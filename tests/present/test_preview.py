"""Pictures in a terminal: each protocol read back by an independent reader, and never a question to the terminal."""

from __future__ import annotations

import os
import re
import sys
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_index.errors import UsageError
from image_index.present.preview import VARIABLE, previews
from image_index.records import Hit
from image_index.settings import IndexHome
from tests.support.records import hit, image_facts
from tests.support.shell import Shell

try:
    import chafa  # noqa: F401
except (ImportError, OSError) as error:
    pytest.skip(f"pip install 'imgidx[preview]', apt install libglib2.0-0: {error}", allow_module_level=True)

KITTY, ITERM2, SIXEL = "\x1b_G", "\x1b]1337;File=", "\x1bP"
QUESTIONS = ("\x1b[c", "\x1b[0c", "\x1b[16t", "\x1b[14t", "\x1b[6n", "a=q")
TERMINALS = {
    "xterm-kitty": ({"TERM": "xterm-kitty"}, KITTY),
    "ghostty": ({"TERM": "xterm-ghostty"}, KITTY),
    "iTerm2": ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, ITERM2),
    "WezTerm": ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, SIXEL),
    "foot": ({"TERM": "foot"}, SIXEL),
    "mlterm": ({"TERM": "mlterm"}, SIXEL),
    "xterm": ({"TERM": "xterm-256color"}, ""),
    "screen": ({"TERM": "screen-256color"}, ""),
    "nothing": ({}, ""),
}


@pytest.fixture
def hits(tmp_path: Path) -> list[Hit]:
    """Return hits on three pictures, red, green and blue, and on one that is gone."""
    found = []
    for rank, colour in enumerate(["red", "lime", "blue"], start=1):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (300, 200), colour).save(path)
        found.append(replace(hit(rank, 0.5, b""), image=image_facts(os.fsencode(path), rank, width=300, height=200)))
    return [*found, hit(4, 0.125, "/nowhere/日本語日本語日本語日本語日本語\x1b[2J.png".encode(), 4)]


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of the terminal that runs the tests be seen."""
    for name in (VARIABLE, "TERM", "TERM_PROGRAM", "KITTY_WINDOW_ID", "COLORTERM", "TMUX", "KONSOLE_VERSION"):
        monkeypatch.delenv(name, raising=False)


def kind(text: str) -> str:
    """Return with which sequence pictures begin; none for blocks."""
    return next((start for start in (KITTY, ITERM2, SIXEL) if start in text), "")


@pytest.mark.parametrize("name", TERMINALS)
def test_the_environment_tells_the_protocol(monkeypatch: pytest.MonkeyPatch, hits: list[Hit], name: str) -> None:
    """Each terminal gets what it understands, and one that is not known gets half blocks."""
    variables, expected = TERMINALS[name]
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    text = previews(hits, width=80)
    assert kind(text) == expected
    assert ("\u2584" in text or "\x1b[4" in text or "\x1b[7m" in text) == (expected == "")


def test_kitty_gets_the_pixels(monkeypatch: pytest.MonkeyPatch, hits: list[Hit]) -> None:
    """Three pictures of 24-bit colours and alpha, as large as the cells they cover, in their own colours."""
    monkeypatch.setenv(VARIABLE, "kitty")
    text = previews(hits, width=80)
    heads = re.findall(
        r"\x1b_Ga=T,f=32,s=(\d+),v=(\d+),c=(\d+),r=(\d+),m=1\x1b\\((?:\x1b_Gm=\d;?[^\x1b]*\x1b\\)*)", text
    )
    assert len(heads) == 3
    for (width, height, columns, rows, chunks), colour in zip(heads, np.eye(3), strict=True):
        data = b"".join(b64decode(chunk) for chunk in re.findall(r"m=1;([^\x1b]*)", chunks))
        pixels = np.frombuffer(data, np.uint8).reshape(int(height), int(width), 4)
        assert (int(width), int(height)) == (10 * int(columns), 20 * int(rows))
        assert np.abs(pixels[..., :3].mean(axis=(0, 1)) - 255 * colour).max() < 3


def test_iterm2_gets_pictures_that_pillow_opens(monkeypatch: pytest.MonkeyPatch, hits: list[Hit]) -> None:
    """An inline file for each, in its own colour."""
    monkeypatch.setenv(VARIABLE, "iterm2")
    files = re.findall(r"\x1b\]1337;File=inline=1;[^:]*:([^\x07]*)\x07", previews(hits, width=80))
    assert len(files) == 3
    for file, colour in zip(files, np.eye(3), strict=True):
        with Image.open(BytesIO(b64decode(file))) as image:
            assert np.abs(np.asarray(image.convert("RGB")).mean(axis=(0, 1)) - 255 * colour).max() < 3


def test_sixel_gets_the_colours(monkeypatch: pytest.MonkeyPatch, hits: list[Hit]) -> None:
    """Each picture is a sequence of its own, whose register has the colour in per cent."""
    monkeypatch.setenv(VARIABLE, "sixel")
    pictures = re.findall(r"\x1bP[\d;]*q\"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\", previews(hits, width=80))
    assert len(pictures) == 3
    for (width, height, data), colour in zip(pictures, np.eye(3), strict=True):
        assert int(width) <= 250
        assert int(height) % 20 == 0
        red, green, blue = (int(part) for part in re.findall(r"#\d+;2;(\d+);(\d+);(\d+)", data)[0])
        assert np.abs(np.array([red, green, blue]) - 100 * colour).max() <= 2


@pytest.mark.parametrize("width", [1, 10, 25, 50, 80, 200])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, hits: list[Hit], width: int) -> None:
    """Neither pictures of blocks nor captions, in letters of two cells either; a name moves no cursor."""
    monkeypatch.setenv(VARIABLE, "blocks")
    wcwidth = pytest.importorskip("wcwidth")
    text = re.sub(r"\x1b\[[\d;]*m", "", previews(hits, width=width))
    assert "\x1b" not in text
    assert max(wcwidth.wcswidth(line) for line in text.splitlines()) <= width
    if width >= 25:
        for part in ("1  0.500", "4  0.125", "red.png", "the file is gone"):
            assert part in text


@pytest.mark.parametrize("mode", ["kitty", "iterm2", "sixel"])
def test_the_cursor_comes_back(monkeypatch: pytest.MonkeyPatch, hits: list[Hit], mode: str) -> None:
    """Each picture begins and ends with the cursor below the room that was made for it."""
    monkeypatch.setenv(VARIABLE, mode)
    text = previews(hits, width=80)
    assert text.count("\x1b7") == text.count("\x1b8") == 4
    for up in re.findall(r"\x1b7\x1b\[(\d+)A", text):
        assert "\n" * int(up) in text


def test_a_protocol_that_does_not_exist_is_wrong_use(monkeypatch: pytest.MonkeyPatch, hits: list[Hit]) -> None:
    """The message says which there are."""
    monkeypatch.setenv(VARIABLE, "hologram")
    with pytest.raises(UsageError, match="'hologram'; it can be blocks, sixel, kitty, iterm2"):
        previews(hits, width=80)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, hits: list[Hit]) -> None:
    """So with the library that the extra needs of the system."""
    monkeypatch.setitem(sys.modules, "chafa", None)
    with pytest.raises(UsageError, match=re.escape("pip install 'imgidx[preview]'")):
        previews(hits, width=80)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, starter_index: IndexHome) -> Shell:
    """Return a shell with an index of three pictures."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.copy_index(starter_index)
    photos = shell.directory / "photos"
    photos.mkdir()
    for colour in ("red", "lime", "blue"):
        Image.new("RGB", (300, 200), colour).save(photos / f"{colour}.png")
    assert shell.run("train", photos, "--model", "starter", "--device", "cpu", "-j", "1", "-q").code == 0
    return shell


@pytest.mark.parametrize("name", ["xterm-kitty", "iTerm2", "foot", "xterm"])
def test_a_terminal_that_answers_nothing_is_not_waited_for(shell: Shell, name: str) -> None:
    """In a real terminal: the right sequences, no question and exit 0."""
    variables, expected = TERMINALS[name]
    code, text = shell.on_terminal(
        "search", "a red square", "--preview", **{"NO_COLOR": "", "COLUMNS": "80"} | variables
    )
    assert code == 0, text
    assert kind(text) == expected
    assert not [question for question in QUESTIONS if question in text]
    assert "red.png" in text
