"""Storms of changes in a directory: files that are written, renamed, linked and deleted, and trees that come and go."""

from __future__ import annotations

import io
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from image_index.catalog.catalog import Catalog
from image_index.settings import IndexHome

PAUSE_S = 0.02
"""How long a slow writer waits between the two halves of a picture."""


class Storm:
    """Changes at random, by a seed, in `root` and in a directory beside it, from which trees are moved in."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._outside = root, root.with_name("outside")
        self._rng = random.Random(seed)
        self._number = 0
        root.mkdir(parents=True, exist_ok=True)
        self._outside.mkdir()
        self._changes = [
            (self._write, 6), (self._write_slowly, 3), (self._put_in_place, 3), (self._move, 4), (self._delete, 3),
            (self._link, 2), (self._write_again, 2), (self._touch, 1), (self._move_tree_in, 2), (self._move_tree, 2),
            (self._move_tree_out, 1), (self._delete_tree, 1), (self._write_something_else, 2),
        ]  # fmt: skip

    def blow(self, count: int) -> None:
        """Make `count` changes."""
        changes, weights = zip(*self._changes, strict=True)
        for change in self._rng.choices(changes, weights, k=count):
            change()

    def _picture(self) -> bytes:
        """Return a small picture of a random colour."""
        file = io.BytesIO()
        Image.new("RGB", (8, 8), tuple(self._rng.randbytes(3))).save(file, "png")
        return file.getvalue()

    def _new(self, directory: Path | None = None) -> Path:
        """Return a path at which nothing is."""
        self._number += 1
        return (directory or self._rng.choice([self._root, *self._trees()])) / f"{self._number}.png"

    def _trees(self) -> list[Path]:
        return sorted(path for path in self._root.rglob("*") if path.is_dir())

    def _some(self) -> Iterator[Path]:
        """Yield one of the pictures, if there is any."""
        pictures = sorted(path for path in self._root.rglob("[0-9]*.png"))
        if pictures:
            yield self._rng.choice(pictures)

    def _some_tree(self) -> Iterator[Path]:
        """Yield one of the directories, if there is any."""
        if trees := self._trees():
            yield self._rng.choice(trees)

    def _write(self) -> None:
        self._new().write_bytes(self._picture())

    def _write_slowly(self) -> None:
        picture = self._picture()
        with self._new().open("wb", buffering=0) as file:
            file.write(picture[: len(picture) // 2])
            time.sleep(PAUSE_S)
            file.write(picture[len(picture) // 2 :])

    def _put_in_place(self) -> None:
        path = self._new()
        draft = path.with_name(f".{path.name}.part")
        draft.write_bytes(self._picture())
        draft.rename(path)

    def _move(self) -> None:
        for path in self._some():
            path.rename(self._new())

    def _delete(self) -> None:
        for path in self._some():
            path.unlink()

    def _link(self) -> None:
        for path in self._some():
            os.link(path, self._new())

    def _write_again(self) -> None:
        for path in self._some():
            path.write_bytes(self._picture())

    def _touch(self) -> None:
        for path in self._some():
            path.touch()

    def _make_tree(self, directory: Path) -> Path:
        self._number += 1
        tree = directory / f"tree-{self._number}"
        (tree / "deep").mkdir(parents=True)
        for inside in (tree, tree / "deep"):
            self._new(inside).write_bytes(self._picture())
        return tree

    def _move_tree_in(self) -> None:
        outside = sorted(self._outside.iterdir())
        tree = self._make_tree(self._outside) if not outside or self._rng.random() < 0.5 else outside[0]
        tree.rename(self._root / tree.name) if self._rng.random() < 0.7 else self._make_tree(self._root)

    def _move_tree(self) -> None:
        for tree in self._some_tree():
            self._number += 1
            tree.rename(self._root / f"moved-{self._number}")

    def _move_tree_out(self) -> None:
        for tree in self._some_tree():
            self._number += 1
            tree.rename(self._outside / f"out-{self._number}")

    def _delete_tree(self) -> None:
        for tree in self._some_tree():
            shutil.rmtree(tree)

    def _write_something_else(self) -> None:
        self._number += 1
        (self._root / f"{self._number}.txt").write_text("no picture")
        (self._root / f".{self._number}.png").write_bytes(self._picture())


def pictures_by_names(home: IndexHome) -> set[tuple[frozenset[bytes], bytes]]:
    """Return all names and the content's hash of each picture of an index that is there."""
    with Catalog(home.catalog) as catalog:
        rows = [row for row in catalog.known(b"/") if not row.missing]
        return {(frozenset(catalog.names_at(row.path)), row.sha256) for row in rows}
