"""Gitignore patterns in linear time: what pathspec matches, sooner."""

from __future__ import annotations

import re
import time
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from image_index.files.globs import compile_pattern

PATTERNS = st.lists(
    st.sampled_from(["*", "*", "**", "/", "/**/", "**/", "?", "a", "b", "ab", "[a]", "[a-b]", "."]), max_size=10
).map("".join)
PATHS = st.lists(st.text("ab.", min_size=1, max_size=6), min_size=1, max_size=5).map("/".join)


@settings(max_examples=300)
@given(PATTERNS, st.lists(PATHS, min_size=1, max_size=8), st.booleans())
@example("*a*b", ["aab", "xaxb/b", "ba"], False)
@example("**/a/**/b/**/a", ["a/b/a", "b/a/a/b/b/a", "a/a", "aa/b/a"], False)
@example("a/**/b*a*/**/b", ["a/baa/b", "a/b/a/b", "a/b/ba/b/b", "a/ab/ba/x/b"], True)
def test_a_pattern_matches_what_it_means_to_pathspec(pattern: str, paths: list[str], directory: bool) -> None:
    """Files and directories, from the beginning of the path or all of it."""
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            theirs = GitIgnoreSpecPattern(pattern)
    except (GitIgnorePatternError, re.error):
        with pytest.raises(ValueError, match="is not a gitignore pattern"):
            compile_pattern(pattern)
        return
    ours = compile_pattern(pattern)
    if theirs.regex is None or theirs.include is None:
        assert ours is None
        return
    assert ours is not None
    assert ours.ignores == theirs.include
    for path in (f"{path}/" if directory else path for path in paths):
        for way in ("match", "fullmatch"):
            found, expected = getattr(ours.regex, way)(path), getattr(theirs.regex, way)(path)
            assert (found and found.span()) == (expected and expected.span()), path


@pytest.mark.parametrize("name", ["a" * 255, "/".join("a" * 128), "/".join(["ab" * 20] * 6)])
@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 19 + "*b",
        "*?" * 19 + "*b",
        "*[ab]" * 7 + "*c",
        "*[!c]" * 7 + "*c",
        "**/a/" * 7 + "**/b",
        "**/*a*b/" * 4 + "c",
        "/**" * 12 + "/c",
        "a*" * 20,
    ],
)
def test_no_pattern_of_forty_characters_takes_long(pattern: str, name: str) -> None:
    """Six stars took 28 s. Processor time, the best of three: a busy machine makes no difference."""
    compiled = compile_pattern(pattern)
    assert compiled is not None
    seconds = []
    for _ in range(3):
        start = time.process_time()
        compiled.regex.match(name)
        compiled.regex.fullmatch(name)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05


def test_a_class_of_characters_matches_no_slash() -> None:
    """As in git; pathspec's `[!a]` does."""
    compiled = compile_pattern("*[!a]*")
    assert compiled is not None
    assert not compiled.regex.fullmatch("a/a")
    assert compiled.regex.fullmatch("a/ab")


def test_lines_that_say_nothing_are_no_pattern() -> None:
    """Blank lines and comments."""
    assert compile_pattern("") is None
    assert compile_pattern("# a comment") is None


def test_a_line_that_git_discards_is_refused() -> None:
    """Its error names it."""
    with pytest.raises(ValueError, match="'!' is not a gitignore pattern"):
        compile_pattern("!")
