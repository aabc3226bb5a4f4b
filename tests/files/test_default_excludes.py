"""Which directories are left out by default, and how that is said."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from image_index.files import default_excludes
from image_index.files.default_excludes import default_exclude, excluded_text
from image_index.records import ExcludeReason

REFERENCE = Path(__file__).parents[2] / "docs/reference.md"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("@eaDir", ExcludeReason.THUMBNAILS),
        (".thumbnails", ExcludeReason.THUMBNAILS),
        ("Lightroom Catalog-v13 Previews.lrdata", ExcludeReason.THUMBNAILS),
        ("Lightroom Catalog Smart Previews.lrdata", ExcludeReason.THUMBNAILS),
        ("appdata_oc8k2jd93mzq", ExcludeReason.THUMBNAILS),
        ("#recycle", ExcludeReason.TRASH),
        ("$RECYCLE.BIN", ExcludeReason.TRASH),
        ("$Recycle.Bin", ExcludeReason.TRASH),
        (".Trash", ExcludeReason.TRASH),
        (".Trash-1000", ExcludeReason.TRASH),
        (".Trashes", ExcludeReason.TRASH),
        (".dtrash", ExcludeReason.TRASH),
        ("#snapshot", ExcludeReason.SNAPSHOTS),
        ("System Volume Information", ExcludeReason.SYSTEM),
        ("lost+found", ExcludeReason.SYSTEM),
    ],
)
def test_what_other_programs_keep_is_left_out(name: str, reason: ExcludeReason) -> None:
    """With the reason; as it is written, and in capitals."""
    for spelled in (name, name.upper()):
        assert default_exclude(os.fsencode(spelled), b"/photos") == reason


@pytest.mark.parametrize(
    "name",
    [
        *(
            "eaDir",
            "recycle",
            "Trash",
            "Snapshots",
            "snapshot",
            "thumbnails",
            "Previews",
            "originals",
            "Photos",
            "lost",
        ),
        *("Mobile Downloads.lrdata", "My Photos.photoslibrary", "iPhoto Library", "appdata", "resources", "cache"),
    ],
)
def test_a_name_that_people_give_is_taken(name: str) -> None:
    """Whatever it sounds like."""
    assert default_exclude(os.fsencode(name), b"/photos") is None


@pytest.mark.parametrize("library", ["a.photoslibrary", "b.PhotoLibrary", "c.aplibrary", "d.migratedphotolibrary"])
def test_of_a_photo_library_the_originals_alone_are_taken(library: str) -> None:
    """Whatever else stands beside them."""
    around = os.fsencode(f"/photos/{library}")
    assert {name: default_exclude(name, around) for name in (b"originals", b"Masters")} == {
        b"originals": None,
        b"Masters": None,
    }
    for name in (b"resources", b"Thumbnails", b"scopes", b"private", b"@eaDir"):
        assert default_exclude(name, around) is ExcludeReason.LIBRARY
    assert default_exclude(b"resources", around + b"/originals") is None


def test_the_reference_lists_what_is_left_out() -> None:
    """Every name in its table is left out, and no other is known to the code."""
    table = REFERENCE.read_text(encoding="utf-8").partition("### Left out by default")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    named = {name for cell in cells for name in re.findall("`(.+?)`", cell)}
    for name in named - {"originals", "Masters"}:
        if not name.endswith("library"):
            assert default_exclude(os.fsencode(name.replace("*", "x" if name.startswith("*") else "1")), b"/"), name
    source = Path(default_excludes.__file__).read_text(encoding="utf-8").partition("def ")[0]
    known = set(re.findall('b"(.+?)"', source))
    assert {name.replace("*", "").lower() for name in named} == known


def test_the_count_is_said_with_its_reasons() -> None:
    """How many of each."""
    assert (
        excluded_text({"trash": 1, "thumbnails": 10}) == "11 directories left out by default (thumbnails 10, trash 1)"
    )
    assert excluded_text({"library": 1}) == "1 directory left out by default (library 1)"
