"""Gitignore patterns as regular expressions that take linear time, whatever the pattern.

pathspec translates a pattern; its expression for `*a*a*a*b` tries every way to share a name out among the stars (28 s
for six stars and 255 letters). Here each star but the last takes the *first* place where what follows it fits, and
never comes back: if any later place leads to a match, so does the first, for the next star can take the rest. The same
holds for the directories between two `**`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import NamedTuple

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from image_index.paths import composed

STAR = "[^/]*"
"""What pathspec makes of `*`."""

_GAP = re.compile(r"\(\?:\.\+/\)\?|\(\?:/\.\+\)\?/")  # what it makes of `**/` at the beginning, and of `/**/`
_TAIL = re.compile(r"(?:\(\?:\(\?P<ps_d>/\)\|\$\)|\(\?P<ps_d>/\)|/)?\$?$")
_TOKEN = re.compile(r"\[\^/\]\*|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)


class Pattern(NamedTuple):
    """One gitignore pattern: what it matches, and whether it ignores that or, with `!`, takes it back."""

    regex: re.Pattern[str]
    ignores: bool


def compile_pattern(line: str) -> Pattern | None:
    """Return the pattern that a line of an ignore file says; None for a blank line or a comment.

    Its expression matches from the beginning of a relative path, which is `composed`, and in which a directory ends in
    a slash. Raises ValueError for a line that git discards.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            translated = GitIgnoreSpecPattern(composed(line))
            if translated.regex is None or translated.include is None:
                return None
            return Pattern(re.compile(_linear(translated.regex.pattern)), translated.include)
    except (GitIgnorePatternError, re.error) as error:
        raise ValueError(f"{line!r} is not a gitignore pattern") from error


def any_matches(patterns: Iterable[Pattern | None], path: str) -> bool:
    """Tell whether any pattern matches a relative path or a directory that it lies in."""
    return any(pattern is not None and pattern.regex.match(path) for pattern in patterns)


def _linear(source: str) -> str:
    """Return an expression that matches what pathspec's does, without trying a place twice."""
    body = source.removeprefix("^")
    tail = _TAIL.search(body)
    end = tail.start() if tail else len(body)
    gaps, parts = _GAP.findall(body[:end]), _GAP.split(body[:end])
    written = _components(parts[0])
    for place, (gap, part) in enumerate(zip(gaps, parts[1:], strict=True), start=1):
        if place == len(gaps):
            written += gap + _components(part)
        else:
            written += f"(?>{gap.replace('.+', '.+?').replace(')?', ')??')}{_components(part)}(?=/))"
    return f"^{written}{body[end:]}"


def _components(part: str) -> str:
    """Return the expression of path components, in each of which every star but the last is tried once."""
    return "/".join(map(_component, _split_at_slashes(part)))


def _split_at_slashes(part: str) -> list[list[str]]:
    """Return the tokens of each component; a slash inside a class of characters is none."""
    components: list[list[str]] = [[]]
    for token in _TOKEN.findall(part):
        if token == "/":
            components.append([])
        else:
            components[-1].append(token)
    return components


def _component(tokens: list[str]) -> str:
    """Return the expression of one component."""
    between = [""]
    for token in tokens:
        if token == STAR:
            between.append("")
        else:  # no class of characters matches a slash, as in git
            between[-1] += f"(?!/){token}" if token.startswith("[") else token
    first, *middle = between
    if not middle:
        return first
    *inner, last = middle
    return first + "".join(f"(?>{STAR}?{literal})" for literal in inner if literal) + STAR + last
