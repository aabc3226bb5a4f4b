"""The file of all vectors, as several tests look at it."""

from __future__ import annotations

from pathlib import Path

from image_index.catalog.reader import CatalogReader
from image_index.records import Stamp
from image_index.settings import IndexHome
from image_index.vectors.vector_file import Table, vectors_state

NAMES = ("vectors.f16", "vectors.ids", "vectors.json")


def table_of(home: IndexHome) -> Table | None:
    """Return what the files of an index hold, or None where they are not byte for byte what was written."""
    with CatalogReader(home.catalog) as catalog:
        return vectors_state(home, catalog.read_catalog_id())[1]


def stamp_of(home: IndexHome) -> Stamp | None:
    """Return the stamp of the catalog that the files were written from, or None where they are not whole."""
    table = table_of(home)
    return table.stamp if table else None


def are_whole(home: IndexHome) -> bool:
    """Tell whether the files of an index are byte for byte what was written."""
    return table_of(home) is not None


def read_all(home: IndexHome) -> dict[str, bytes]:
    """Return the content of each of the files, by its name."""
    return {name: (home.path / name).read_bytes() for name in NAMES}


def write_all(home: IndexHome, content: dict[str, bytes]) -> None:
    """Put content that was read back."""
    for name, data in content.items():
        (home.path / name).write_bytes(data)


def flip(path: Path, position: int, bits: int = 0xFF) -> None:
    """Flip bits of one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= bits
    path.write_bytes(content)
