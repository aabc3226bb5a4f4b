"""Directories that are left out unless somebody asks for them: what other programs keep beside pictures.

Each is here because a run would otherwise index the same pictures again, smaller or deleted, or fail for want of
rights. No name is here that people give to pictures of their own; docs/reference.md has the list with its reasons.
"""

from __future__ import annotations

from collections.abc import Mapping

from image_index.records import ExcludeReason

_NAMES = {
    ExcludeReason.THUMBNAILS: (b"@eadir", b".@__thumb", b"@__thumb", b".thumbnails", b".cache"),
    ExcludeReason.TRASH: (b"#recycle", b"@recycle", b"$recycle.bin", b".dtrash"),
    ExcludeReason.SNAPSHOTS: (
        b"#snapshot",
        b"@recently-snapshot",
        b".snapshot",
        b".snapshots",
        b".zfs",
        b".stversions",
    ),
    ExcludeReason.SYSTEM: (b"system volume information", b"lost+found", b".documentrevisions-v100"),
}
_REASONS = {name: reason for reason, names in _NAMES.items() for name in names}

_BEGINNINGS = {b".trash": ExcludeReason.TRASH, b"appdata_oc": ExcludeReason.THUMBNAILS}
"""`.Trash-1000`, `.Trashes`; Nextcloud's `appdata_ocabc123`, where its previews are."""

_PREVIEWS = b"previews.lrdata"
"""Lightroom's. Not every `.lrdata`: `Mobile Downloads.lrdata` holds originals."""

_LIBRARIES = (b".photoslibrary", b".photolibrary", b".migratedphotolibrary", b".aplibrary")
"""Libraries of Apple's Photos, iPhoto and Aperture: directories that macOS shows as one file."""

_ORIGINALS = {b"originals", b"masters"}


def default_exclude(name: bytes, around: bytes) -> ExcludeReason | None:
    """Return why the directory `name` in the directory `around` is left out, None where it is not.

    Case does not matter: Windows itself writes `$Recycle.Bin` and `$RECYCLE.BIN`.
    """
    name = name.lower()
    if around.lower().endswith(_LIBRARIES):
        return None if name in _ORIGINALS else ExcludeReason.LIBRARY
    if name in _REASONS:
        return _REASONS[name]
    if name.endswith(_PREVIEWS):
        return ExcludeReason.THUMBNAILS
    return next((reason for beginning, reason in _BEGINNINGS.items() if name.startswith(beginning)), None)


def excluded_text(counts: Mapping[str, int]) -> str:
    """Return how many directories were left out, and why: `3 directories left out by default (thumbnails 2, trash 1)`.

    `counts` has a number for each `ExcludeReason` that occurred.
    """
    total = sum(counts.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
    return f"{total} {'directory' if total == 1 else 'directories'} left out by default ({reasons})"
