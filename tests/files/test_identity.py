"""Paths that lead to one file, against links that the system has made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from image_index.files.identity import find_file, group_by_file, is_link, is_one_file
from image_index.records import ImageFile
from tests.support.records import LONG_AGO_NS


def write(path: Path, content: str) -> bytes:
    """Write a file that was last changed long ago; return its path."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return os.fsencode(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a directory whose own path has no link in it."""
    return Path(os.path.realpath(tmp_path))


def test_links_of_every_kind_lead_to_one_file(root: Path) -> None:
    """A copy of the same content, size and time does not, and what leads nowhere is in no group."""
    real, copy = write(root / "d/real", "x"), write(root / "copy", "x")
    (root / "hard").hardlink_to(root / "d/real")
    (root / "soft").symlink_to("d/real")
    (root / "linked").symlink_to("d")
    (root / "nowhere").symlink_to("nothing")
    names = [real, *(os.fsencode(root / name) for name in ("hard", "soft", "linked/real"))]
    groups = group_by_file([copy, *names, os.fsencode(root / "nowhere"), os.fsencode(root / "gone")])
    assert sorted(map(sorted, groups)) == sorted([[copy], sorted(names)])
    assert all(is_one_file(real, name) for name in names[1:])
    assert not is_one_file(real, copy)
    assert not is_one_file(real, os.fsencode(root / "nowhere"))
    assert [is_link(name) for name in names] == [False, False, True, True]


def test_without_a_link_the_content_decides(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that gives every file one number; two mounts of one disk look the same."""
    one, same, other = (write(root / name, content) for name, content in (("1", "x"), ("2", "x"), ("3", "y")))
    status = os.stat(one)
    monkeypatch.setattr(os, "stat", lambda _, **__: status)
    assert group_by_file([one, same, other]) == [[one, same], [other]]


def test_a_number_is_not_believed_where_size_or_time_differ(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if the content could not be told from it."""
    one, longer, later = (write(root / name, content) for name, content in (("1", "x"), ("2", "xx"), ("3", "x")))
    os.utime(later, ns=(LONG_AGO_NS, LONG_AGO_NS + 10**9))
    pretend(monkeypatch, st_ino=7, st_nlink=2)
    assert group_by_file([one, longer, later]) == [[one], [longer], [later]]


def test_without_a_number_each_path_is_a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero means that the file system has none."""
    one = write(root / "1", "x")
    (root / "2").hardlink_to(root / "1")
    pretend(monkeypatch, st_ino=0)
    assert group_by_file([one, os.fsencode(root / "2")]) == [[one], [os.fsencode(root / "2")]]


def pretend(monkeypatch: pytest.MonkeyPatch, **fields: int) -> None:
    """Let `os.stat` say of every file what `fields` say."""
    real = os.stat

    class Status:
        def __init__(self, path: Any) -> None:
            self._status = real(path)

        def __getattr__(self, name: str) -> Any:
            return fields[name] if name in fields else getattr(self._status, name)

    monkeypatch.setattr(os, "stat", lambda path, **_: Status(path))


def test_a_file_is_found_as_it_is_now(root: Path) -> None:
    """Or not, where there is none."""
    path = write(root / "1", "x")
    assert find_file(path) == ImageFile.of(path, os.stat(path))
    assert find_file(path + b"/2") is None
