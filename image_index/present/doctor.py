"""What `imgidx doctor` saw, as JSON and as one screen of text; the home directory is written `~`."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from image_index.dates import time_field
from image_index.errors import ImgidxError
from image_index.paths import printable
from image_index.present.screen import Screen
from image_index.present.status import NO_VECTOR
from image_index.upkeep.doctor import Devices, Report
from image_index.upkeep.health import CatalogHealth, IndexHealth

INDENT = 11
"""Where values begin."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where the output goes; `term` and `colorterm` are None where the environment does not name them."""

    screen: Screen
    term: str | None
    colorterm: str | None
    encoding: str


def report_record(report: Report, terminal: Terminal) -> dict[str, Any]:
    """Return everything that was seen. The keys are always the same; null means not known."""
    models = report.models
    record = {
        **asdict(report.machine),
        "models": {
            "directory": str(models.directory),
            "bundled": models.bundled,
            "cached": models.cached,
            "error": _error(models.error),
        },
        "index": _index_record(report.index),
        "cluster": _cluster_record(report),
        "terminal": _terminal_record(terminal),
        "problems": [
            {"subject": one.subject, "problem": one.problem, "next_step": one.next_step} for one in report.problems()
        ],
    }
    shortened: dict[str, Any] = _shortened(record)
    return shortened


def report_text(report: Report, terminal: Terminal) -> str:
    """Return a line for each thing that was seen, and a line that begins with `!` for each problem."""
    width = max(40, min(terminal.screen.width, 100))
    lines = [_fold(name, value, width) for name, value in _lines(report, terminal)]
    problems = [_fold("!", str(one), width, 2) for one in report.problems()]
    return "\n".join((*lines, "", *(problems or ["no problem found"]))) + "\n"


def _fold(name: str, value: str, width: int, indent: int = INDENT) -> str:
    """Return a name and its value, on as many lines as it needs."""
    text = f"{name:<{indent}}{printable(short_home(value))}"
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def short_home(text: str) -> str:
    """Return a text with the user's home directory, wherever a path in it begins so, written `~`."""
    # The report is made to be pasted in public, and the home directory has the user's name in it.
    home = os.path.expanduser("~").rstrip("/")
    return re.sub(rf"(?<![\w./-]){re.escape(home)}(?![\w.-])", "~", text) if home else text


def _shortened(value: Any) -> Any:
    """Return a value with the home directory shortened in every text, at any depth."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(inner) for inner in value]
    return printable(short_home(value)) if isinstance(value, str) else value


def _lines(report: Report, terminal: Terminal) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line."""
    machine, models = report.machine, report.models
    yield "imgidx", f"{machine.imgidx}, Python {machine.python}, {machine.platform}"
    yield "packages", ", ".join(f"{name} {version or '(none)'}" for name, version in machine.packages.items())
    yield "extras", ", ".join(f"{name} {'there' if there else 'not there'}" for name, there in machine.extras.items())
    yield "devices", _devices(machine.devices)
    yield "machine", f"{machine.cores} cores, {machine.memory_bytes / 1e9:.1f} GB of memory"
    yield "variables", " ".join(f"{name}={value}" for name, value in machine.environment.items()) or "none"
    names = (*(f"{name} (bundled)" for name in models.bundled), *models.cached)
    yield "models", f"{models.directory}: {', '.join(names) or 'none'}"
    yield from _index_lines(report.index)
    for record in _cluster_record(report) or []:
        yield "cluster", _machine(record)
    screen = terminal.screen
    size = f"{screen.width} columns, {'colour' if screen.colour else 'no colour'}, {terminal.encoding}"
    kind = " ".join(filter(None, (terminal.term, terminal.colorterm))) or "TERM not set"
    yield "terminal", f"{'a terminal' if screen.terminal else 'not a terminal'}, {kind}, {size}"


def _devices(devices: Devices) -> str:
    """Return what torch computes on."""
    if devices.error:
        return "not known"
    return ", ".join((*(f"cuda: {name}" for name in devices.cuda), *(["mps"] if devices.mps else []), "cpu"))


def _index_lines(index: IndexHealth) -> Iterator[tuple[str, str]]:
    """Yield the lines about the index."""
    free = "" if index.free_bytes is None else f", {index.free_bytes / 1e9:.1f} GB free"
    if not index.exists:
        yield "index", f"{index.home}: none yet{free}"
        return
    lock = f"process {index.locked_by} is writing" if index.locked_by else "no run is writing"
    yield "index", f"{index.home}, {index.size_bytes / 1e6:.1f} MB{free}, {lock}"
    catalog = index.catalog
    if catalog is None:
        yield "catalog", "cannot be read"
        return
    counts, model = catalog.counts, catalog.model
    pictures = f"{counts.images} pictures, {counts.missing} missing, {counts.failures} failures"
    yield "catalog", f"schema {catalog.schema}, {pictures}"
    if counts.without_vector:
        yield "no vector", f"{counts.without_vector} ({NO_VECTOR})"
    yield "model", f"{model.name}, {model.dim} dimensions" if model else "none yet"
    of_vectors = f"vectors.f16 {catalog.vectors}, index.faiss {catalog.faiss}, moments.f32 {catalog.moments}"
    yield "files", f"{of_vectors}, towers {catalog.towers}"
    run = catalog.last_run
    yield "last run", f"{time_field(run.started_at_s)}, {run.outcome}" if run else "never"


def _cluster_record(report: Report) -> list[dict[str, Any]] | None:
    """Return the machines of the cluster; None where none was asked for, or it cannot be joined."""
    if report.cluster is None or isinstance(report.cluster, ImgidxError):
        return None
    return [
        {"name": one.machine.name, **({"error": one.report} if isinstance(one.report, str) else asdict(one.report))}
        for one in report.cluster
    ]


def _machine(record: dict[str, Any]) -> str:
    """Return what is known of a machine of the cluster."""
    if "error" in record:
        return f"{record['name']}: {record['error']}"
    sees = ", ".join(f"{'sees' if there else 'does not see'} {root}" for root, there in record["sees"].items())
    what = f"imgidx {record['imgidx']}, Python {record['python']}, {record['cores']} cores, {record['gpus']} GPUs"
    return f"{record['name']}: {what}, {record['memory_bytes'] / 1e9:.1f} GB" + (f", {sees}" if sees else "")


def _terminal_record(terminal: Terminal) -> dict[str, Any]:
    """Return where the output goes."""
    return {
        "tty": terminal.screen.terminal,
        "term": terminal.term,
        "colorterm": terminal.colorterm,
        "width": terminal.screen.width,
        "colour": terminal.screen.colour,
        "encoding": terminal.encoding,
    }


def _index_record(index: IndexHealth) -> dict[str, Any]:
    """Return the state of an index under keys that are always the same."""
    catalog = index.catalog
    return {
        "path": str(index.home),
        "exists": index.exists,
        "error": _error(index.error),
        "writable": index.writable,
        "bytes": index.size_bytes,
        "free_bytes": index.free_bytes,
        "locked_by": index.locked_by,
        "catalog": _catalog_record(catalog) if catalog else None,
    }


def _error(error: ImgidxError | None) -> str | None:
    """Return what an error says, None where there is none."""
    return None if error is None else str(error)


def _catalog_record(catalog: CatalogHealth) -> dict[str, Any]:
    """Return what a catalog says, under keys that are always the same."""
    model, run = catalog.model, catalog.last_run
    return {
        "schema": catalog.schema,
        "images": catalog.counts.images,
        "missing": catalog.counts.missing,
        "failures": catalog.counts.failures,
        "without_vector": catalog.counts.without_vector,
        "model": model.name if model else None,
        "dim": model.dim if model else None,
        "model_is_here": catalog.model_is_here,
        "vectors": str(catalog.vectors),
        "faiss": str(catalog.faiss),
        "moments": str(catalog.moments),
        "towers": str(catalog.towers),
        "last_run_at": time_field(run.started_at_s) if run else None,
        "last_outcome": str(run.outcome) if run else None,
    }
