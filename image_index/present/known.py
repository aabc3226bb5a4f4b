"""All that is known of a picture, as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from image_index.dates import time_field
from image_index.paths import path_field, printable
from image_index.present.jsonl import record_line
from image_index.records import FIRST_DATE_S, LAST_DATE_S, KnownFailure
from image_index.upkeep.known import Account, PictureState

_STATES = {
    PictureState.UNCHANGED: "there, unchanged since it was read",
    PictureState.CHANGED: "changed since it was read; imgidx train reads it again",
    PictureState.GONE: "gone",
    PictureState.UNREADABLE: "cannot be reached",
}


def account_line(account: Account) -> str:
    """Return one object whose keys are always the same; null stands for what is not known."""
    return record_line({**path_field(account.path), **_facts(account)})


def account_text(account: Account) -> str:
    """Return a line for each thing that is known."""
    return f"path           {printable(account.path)}\n" + "".join(
        f"{name:<14} {printable(value)}\n" for name, value in _lines(account) if value
    )


def _facts(account: Account) -> dict[str, Any]:
    """Return what is known, without the path."""
    image, failure, model = account.image, account.failure, account.model
    file = image or (failure and failure.failure.file)
    return {
        "file": str(account.file),
        "bytes": file.size if file else None,
        "modified": _time(file.mtime_ns // 10**9) if file else None,
        "taken": _time(image.picture.taken_at_s) if image else None,
        "camera": image.picture.camera if image else None,
        "format": image.picture.format if image else None,
        "width": image.picture.width if image else None,
        "height": image.picture.height if image else None,
        "megapixels": round(image.picture.width * image.picture.height / 1e6, 2) if image else None,
        "sha256": image.sha256.hex() if image else None,
        "phash": image.picture.phash.hex() if image and image.picture.phash else None,
        "id": image.id if image else None,
        "read_at": None if account.read_at_ns is None else _time(account.read_at_ns // 10**9),
        "missing_since": _time(account.missing_since_s),
        **_root(account.root),
        "failure": _failure(failure) if failure else None,
        "model": model.name if model else None,
        "dim": model.dim if model else None,
    }


def _root(path: bytes | None) -> dict[str, str | None]:
    """Return the path of a root under the key `root`, or base64 under `root_bytes`."""
    return {"root": None} if path is None else {f"root{key[4:]}": value for key, value in path_field(path).items()}


def _failure(known: KnownFailure) -> dict[str, Any]:
    """Return what failed, without the path."""
    return {
        "stage": str(known.failure.stage),
        "reason": known.failure.reason,
        "attempts": known.attempts,
        "first_failed_at": _time(known.first_failed_at_s),
        "last_failed_at": _time(known.last_failed_at_s),
    }


def _lines(account: Account) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line after the path; an empty value is not known."""
    facts = _facts(account)
    facts["file"] = _STATES[account.file]
    if account.root is not None:
        facts["root"] = printable(account.root)
    failure = facts.pop("failure")
    width, height, megapixels = (facts.pop(name) for name in ("width", "height", "megapixels"))
    dim = facts.pop("dim")
    if dim is not None:
        facts["model"] = f"{facts['model']}, {dim} dimensions"
    facts.pop("root_bytes", None)
    for name, value in facts.items():
        yield name.replace("_", " "), "" if value is None else str(value)
        if name == "format" and width is not None:
            yield "pixels", f"{width} x {height}, {megapixels} megapixels"
    if failure is not None:
        tries = f"{failure['attempts']} {'tries' if failure['attempts'] > 1 else 'try'}"
        yield "failure", f"{failure['reason']} ({failure['stage']}, since {failure['first_failed_at']}, {tries})"


def _time(seconds: int | None) -> str | None:
    """Return seconds since 1970 as ISO 8601; file systems know times that no calendar has."""
    return None if seconds is None else time_field(min(max(seconds, FIRST_DATE_S), LAST_DATE_S))
