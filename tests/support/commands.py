"""The imgidx commands that a document shows, and what our own parser makes of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import typer

from image_index.cli.app import program


def simple_commands(script: str) -> Iterator[list[str]]:
    """Yield the imgidx commands of a line of shell, without what stands before imgidx."""
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True  # else a,b,c is five words
    command: list[str] = []
    for token in (*lexer, ";"):
        if not set(token) <= set(";|&(){}"):
            command.append(token)
            continue
        places = [place for place, word in enumerate(command) if Path(word).name == "imgidx"]
        if places:
            yield command[places[0] + 1 :]
        command = []


def parsed(arguments: list[str]) -> dict[str, object]:
    """Return what our own parser makes of a command, without running it."""
    command, rest, name = typer.main.get_command(program()), list(arguments), "imgidx"
    while rest and rest[0] in getattr(command, "commands", {}):
        name = rest.pop(0)
        command = command.commands[name]  # type: ignore[attr-defined]
    assert name != "imgidx", arguments
    return dict(command.make_context(name, rest).params)
