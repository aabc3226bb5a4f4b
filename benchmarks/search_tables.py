"""The tables of docs/performance.md that `search.py --markdown` prints: what was seen of each target, and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HUNDRED_THOUSAND, MILLION, TEN_MILLION = 100_000, 1_000_000, 10_000_000
COUNT_WORDS = {HUNDRED_THOUSAND: "100,000", MILLION: "1 million", TEN_MILLION: "10 million"}
FILTERS = "filter: "
"""How the figures of filters begin, of which the largest counts."""


@dataclass(frozen=True, slots=True)
class Target:
    """Figures of one library that have a target; `unit` is the table's, if that is `scale` times theirs."""

    count: int
    what: str
    figures: tuple[str, ...]
    before: str
    target: str
    unit: str = ""
    scale: float = 1.0


def _warm(words: str) -> tuple[str, str]:
    return f"warm {words}, p50", f"warm {words}, p95"


NEAR, TEXT = "near a picture", "like a text"
RECALLS = f"recall at 10 {NEAR}", f"recall at 10 {TEXT}"
TEXT_COST = "cold by a new text", "cold by a new text, peak memory"
BUILD_COST = "first build", "first build, peak memory"
BEYOND = "cold by a new text, beyond"
ADD = ("100 pictures more, with 0 newer",)

TARGETS = (
    Target(MILLION, f"warm p50, p95, {NEAR}", _warm(NEAR), "8.3, 18 ms", "2, 4 ms"),
    Target(MILLION, f"warm p50, p95, {TEXT}", _warm(TEXT), "7.7, 16 ms", "5, 10 ms"),
    Target(MILLION, "`index.faiss`", ("size of index.faiss",), "528 MB", "200 MB"),
    Target(MILLION, "first build; peak memory", BUILD_COST, "56 s, 397 MB", "25 s, 400 MB"),
    Target(TEN_MILLION, f"warm p50, p95, {NEAR}", _warm(NEAR), "81 ms", "8 ms"),
    Target(TEN_MILLION, f"warm p50, p95, {TEXT}", _warm(TEXT), "43 ms", "25 ms"),
    Target(TEN_MILLION, "cold by a new text; memory", TEXT_COST, "0.62 s, 789 MB", "0.5 s, 400 MB"),
    Target(TEN_MILLION, "`index.faiss`", ("size of index.faiss",), "5.2 GB", "2 GB", "GB", 1000),
    Target(TEN_MILLION, "first build; peak memory", BUILD_COST, "12 min, 502 MB", "6 min"),
    Target(TEN_MILLION, "100 pictures more", ADD, "2.0 s", "0.3 s"),
    Target(MILLION, f"recall at 10, {NEAR}, {TEXT}", RECALLS, "1.000, 0.995", "0.99"),
    Target(TEN_MILLION, f"recall at 10, {NEAR}, {TEXT}", RECALLS, "1.000, 0.988", "0.99"),
    Target(MILLION, "any one filter, three together: the slowest", (FILTERS,), "not timed", "50 ms"),
    Target(MILLION, "`--top all --min-sigma 3`", ("--top all --min-sigma 3",), "not timed", "0.5 s", "s", 1000),
    Target(MILLION, "`--exact`", ("--exact",), "2.8 s", "0.5 s", "s", 1000),
    Target(HUNDRED_THOUSAND, f"{BEYOND} the imports", (f"{BEYOND} the imports",), "0.24 s", "0.15 s"),
)

HEAD = "| | before | target | seen | reference in the same run | ratio |\n|---|---|---|---|---|---|"
NOT_YET = "not yet"


Figures = dict[tuple[int, str], dict[str, Any]]
"""Figures by the count of their library and their name."""


def markdown(record: dict[str, Any]) -> str:
    """Return both tables in Markdown."""
    figures = {
        (library["count"], figure["name"]): figure
        for library in record["libraries"]
        for part in library["parts"].values()
        for figure in part["figures"]
    }
    targets = [HEAD, *(_row(target, figures) for target in TARGETS)]
    return "\n".join([*targets, "", *_by_size(figures)])


def _by_size(figures: Figures) -> list[str]:
    """Return a row for each figure and a column for each size; in brackets is the ratio to the reference."""
    counts = sorted({count for count, _ in figures})
    rows = [f"| | {' | '.join(f'{count:,}' for count in counts)} | reference |", "|---" * (len(counts) + 2) + "|"]
    for name in dict.fromkeys(name for _, name in figures):
        found = [figures.get((count, name)) for count in counts]
        cells = [f"{_words(one['value'])} ({_words(one['ratio'])})" if one else "" for one in found]
        known = [one for one in found if one]
        unit = f", {known[0]['unit']}" if known[0]["unit"] else ""
        references = "; ".join(dict.fromkeys(one["reference"] for one in known))
        rows.append(f"| {name}{unit} | {' | '.join(cells)} | {references} |")
    return rows


def _row(target: Target, figures: Figures) -> str:
    found = [one for name in target.figures if (one := _find(target.count, name, figures))]
    seen, reference, ratio = NOT_YET, "", ""
    if len(found) == len(target.figures):
        values = ", ".join(_words(one["value"] / target.scale, target.unit or one["unit"]) for one in found)
        seen = f"**{values}**"
        references = (f"{one['reference']}: {_words(one['reference_value'], one['unit'])}" for one in found)
        reference = "; ".join(dict.fromkeys(references))
        ratio = ", ".join(_words(one["ratio"]) for one in found)
    cells = f"{COUNT_WORDS[target.count]}: {target.what}", target.before, target.target, seen, reference, ratio
    return f"| {' | '.join(cells)} |"


def _words(value: float, unit: str = "") -> str:
    """Return a number with three digits or more, and its unit."""
    return f"{value:,.0f} {unit}".strip() if value >= 1000 else f"{value:.3g} {unit}".strip()


def _find(count: int, name: str, figures: Figures) -> dict[str, Any] | None:
    """Return the figure of this name, of several filters the slowest."""
    if name != FILTERS:
        return figures.get((count, name))
    filters = (figure for (size, other), figure in figures.items() if size == count and other.startswith(FILTERS))
    return max(filters, key=lambda figure: float(figure["value"]), default=None)
