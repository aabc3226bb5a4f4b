"""Pictures in the terminal, drawn by Chafa: with a graphics protocol if the terminal has one, otherwise in half blocks.

Which one is told by the environment alone: nothing is asked of the terminal, so nothing can wait for an answer.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from image_index.errors import DecodeError, UsageError
from image_index.paths import printable
from image_index.pictures.thumbnails import small_pixels
from image_index.present.tables import fitted
from image_index.records import Hit

VARIABLE = "IMGIDX_PREVIEW"
"""The variable that names the terminal's protocol, if other variables do not tell."""

MODES = {"blocks": "SYMBOLS", "sixel": "SIXELS", "kitty": "KITTY", "iterm2": "ITERM2"}
_SEQUENCES = {"kitty": "BEGIN_KITTY_IMMEDIATE_IMAGE_V1", "iterm2": "BEGIN_ITERM2_IMAGE", "sixel": "BEGIN_SIXELS"}

_TILE, _GAP = 24, 2  # in cells
_USUAL_CELL = (10, 20)  # in pixels, where the terminal does not tell


@dataclass(frozen=True, slots=True)
class _Terminal:
    """How a terminal shows pictures: one of `MODES`, with which colours; and (width, height) of a cell in pixels."""

    chafa: Any
    mode: str
    colours: Any
    cell: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A picture of so many cells; `data` is a line for each row of cells, or one control sequence."""

    width: int
    height: int
    data: str


def previews(hits: Sequence[Hit], *, width: int) -> str:
    """Return the pictures of hits, each with its rank, score and name, in as many columns as `width` has room for.

    Raises `UsageError` where Chafa cannot be loaded, or `IMGIDX_PREVIEW` names no protocol.
    """
    terminal = _terminal()
    columns = max(1, (width + _GAP) // (_TILE + _GAP))
    tile = max(1, (width + _GAP) // columns - _GAP)
    return "".join(_row(hits[start : start + columns], terminal, tile) for start in range(0, len(hits), columns))


def _row(hits: Sequence[Hit], terminal: _Terminal, tile: int) -> str:
    """Return pictures side by side with two lines below each, and an empty line."""
    drawings = [_drawing(hit, terminal, tile) for hit in hits]
    pictures = _lines(drawings, tile) if terminal.mode == "blocks" else _placed(drawings, tile)
    captions = [f"{hit.rank}  {hit.score:.3f}" for hit in hits], [printable(os.path.basename(hit.path)) for hit in hits]
    lines = ((" " * _GAP).join(fitted(text, tile) for text in texts).rstrip() + "\n" for texts in captions)
    return pictures + "".join(lines) + "\n"


def _lines(drawings: Sequence[_Drawing], tile: int) -> str:
    """Return drawings made of lines side by side, aligned at the bottom."""
    height = max(drawing.height for drawing in drawings)
    rows = []
    for number in range(height):
        cells = []
        for drawing in drawings:
            place = number - (height - drawing.height)
            shown = place >= 0
            line = drawing.data.split("\n")[place] if shown else ""
            cells.append(line + " " * (tile - drawing.width * shown))
        rows.append((" " * _GAP).join(cells).rstrip(" ") + "\n")
    return "".join(rows)


def _placed(drawings: Sequence[_Drawing], tile: int) -> str:
    """Return drawings made of control sequences side by side, aligned at the bottom."""
    # Terminals do not agree on where the cursor stands after a picture, so that nothing may follow from it. Empty lines
    # make room first (the screen may scroll); then the cursor is saved (ESC 7), brought to the picture's corner, and
    # restored (ESC 8) for the next one.
    height = max(drawing.height for drawing in drawings)
    parts = ["\n" * height]
    for column, drawing in enumerate(drawings):
        right = column * (tile + _GAP)
        parts.append("\x1b7" + f"\x1b[{drawing.height}A" + (f"\x1b[{right}C" if right else "") + drawing.data + "\x1b8")
    return "".join(parts)


def _drawing(hit: Hit, terminal: _Terminal, tile: int) -> _Drawing:
    """Draw a picture into at most `tile` columns and about that height; if it cannot be read, write the reason."""
    try:
        pixels = small_pixels(hit.image, tile * terminal.cell[0])
    except DecodeError as error:
        return _Drawing(tile, 1, fitted(str(error), tile))
    height, width = pixels.shape[:2]
    chafa, config = terminal.chafa, terminal.chafa.CanvasConfig()
    cell_width, cell_height = terminal.cell
    config.cell_width, config.cell_height = terminal.cell
    config.width, config.height = tile, max(1, tile * cell_width // cell_height)
    config.calc_canvas_geometry(width, height, cell_width / cell_height)
    config.pixel_mode = chafa.PixelMode[f"CHAFA_PIXEL_MODE_{MODES[terminal.mode]}"]
    config.canvas_mode = terminal.colours
    # Only blanks and half blocks: other symbols of Chafa are wider or missing in many fonts.
    symbols = chafa.SymbolMap()
    symbols.add_by_tags(chafa.SymbolTags.CHAFA_SYMBOL_TAG_SPACE)
    symbols.add_by_tags(chafa.SymbolTags.CHAFA_SYMBOL_TAG_HALF)
    config.set_symbol_map(symbols)
    canvas = chafa.Canvas(config)
    data = (ctypes.c_uint8 * pixels.size).from_buffer_copy(pixels.tobytes())
    canvas.draw_all_pixels(chafa.PixelType.CHAFA_PIXEL_RGB8, data, width, height, 3 * width)
    drawn = canvas.print(chafa.TermDb().get_fallback_info()).decode()
    return _Drawing(config.width, config.height, drawn)


def _terminal() -> _Terminal:
    """Return what this terminal is, by its environment and the size that the system knows of it."""
    chafa = _load_chafa()
    known = chafa.TermDb().detect()

    def knows(name: str) -> bool:
        return bool(known.have_seq(chafa.TermSeq[f"CHAFA_TERM_SEQ_{name}"]))

    mode = os.environ.get(VARIABLE) or next((mode for mode, name in _SEQUENCES.items() if knows(name)), "blocks")
    if mode not in MODES:
        raise UsageError(f"{VARIABLE} is {mode!r}; it can be {', '.join(MODES)}")
    has_all_colours = mode != "blocks" or os.environ.get("COLORTERM") in ("truecolor", "24bit")
    few = "INDEXED_240" if knows("SET_COLOR_FGBG_256") else "INDEXED_16"
    colours = chafa.CanvasMode[f"CHAFA_CANVAS_MODE_{'TRUECOLOR' if has_all_colours else few}"]
    return _Terminal(chafa, mode, colours, _cell())


def _load_chafa() -> Any:
    try:
        import chafa
    except ModuleNotFoundError as error:
        raise UsageError("--preview needs: pip install 'imgidx[preview]'") from error
    except (ImportError, OSError) as error:  # its wheel for Linux brings libchafa, not what that needs
        raise UsageError(f"--preview needs the system's GLib, as of: apt install libglib2.0-0 ({error})") from error
    return chafa


def _cell() -> tuple[int, int]:
    """Return (width, height) of a cell in pixels, as the terminal told the system."""
    try:
        size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (OSError, ValueError, AttributeError):
        return _USUAL_CELL
    rows, columns, width, height = struct.unpack("4H", size)
    told = rows > 0 and columns > 0 and width >= columns and height >= rows
    return (width // columns, height // rows) if told else _USUAL_CELL
