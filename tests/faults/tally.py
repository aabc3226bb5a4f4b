"""What an attack came to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a fault was tried, and what went wrong: all but `tried` has to be zero."""

    fault: str
    tried: int = 0
    lost: int = 0
    """Pictures that were stored, or innocent, and are not in the index."""
    embedded_twice: int = 0
    """Pictures that were stored and embedded again."""
    hangs: int = 0
    """Runs that overran their deadline."""
    wrong: int = 0
    """Everything else that is not as promised; the log says what."""

    def __add__(self, other: Tally) -> Tally:
        counts = (getattr(self, part.name) + getattr(other, part.name) for part in fields(self)[1:])
        return Tally(self.fault, *counts)

    @property
    def is_clean(self) -> bool:
        """Tell whether the fault was tried and did no harm."""
        return self.tried > 0 and not (self.lost or self.embedded_twice or self.hangs or self.wrong)


class Skipped(Exception):
    """An attack that cannot be made here; the text says why."""


Attack = Callable[[int, float], Tally]
"""Attacks with a seed, at a scale (1.0 is the full length), and says what came of it, or raises `Skipped`."""


def verdict(*checks: tuple[bool, str]) -> Tally:
    """Count the checks that do not hold, and log what they say."""
    failed = [text for holds, text in checks if not holds]
    for text in failed:
        logger.error("%s", text)
    return Tally("", wrong=len(failed))


def total(fault: str, parts: Iterable[Tally]) -> Tally:
    """Return the sum of `parts` under one name."""
    return sum(parts, start=Tally(fault))
