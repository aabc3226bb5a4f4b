"""What results are printed on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Screen:
    """What results are printed on: whether it is a `terminal`, its `width` in columns, and whether it takes colours."""

    terminal: bool = True
    width: int = 80
    colour: bool = False
