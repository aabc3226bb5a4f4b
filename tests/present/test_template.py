"""Hits in a form of the user's own."""

from __future__ import annotations

import os

import pytest

from image_index.errors import UsageError
from image_index.present.template import Template, fields
from image_index.records import Hit
from tests.support.records import image_facts

HIT = Hit(
    2,
    0.25,
    3.14159,
    image_facts(
        b"/photos/in/a.jpg", 7, taken_at_s=10**9, camera="Canon EOS 5D", width=4000, height=3000, latitude=-3.5
    ),
    b"/photos/in/a.nef",
)


@pytest.mark.parametrize(
    ("template", "line"),
    [
        (r"{score:.3f}\t{path}", "0.250\t/photos/in/a.jpg"),
        ("{rank:>3} {sigma:.1f} {name}", "  2 3.1 a.jpg"),
        ("{directory}|{camera}|{width}x{height}|{format}", "/photos/in|Canon EOS 5D|4000x3000|jpeg"),
        ("{date:%Y-%m}", "2001-09"),
        ("{pair}", "/photos/in/a.nef"),
        ("{latitude:.2f} {longitude}", "-3.50 nan"),
        ("{id} {bytes} {query}", "7 1 a cat"),
        ("{{literal}} {rank}", "{literal} 2"),
        (r"a\\t{rank}\n\0", "a\\t2\n\0"),
        (r"{rank}\q\\", r"2\q" + "\\"),
        ("{name!r:>8}", " 'a.jpg'"),
    ],
)
def test_a_template_is_filled_in(template: str, line: str) -> None:
    """Fields have the formats that Python's own `format` gives them; escapes stand for one character."""
    assert Template.parse(template).render([HIT], "a cat") == line + "\n"
    assert Template.parse(template).render([HIT, HIT], "a cat", end="\0") == 2 * (line + "\0")


@pytest.mark.parametrize(
    "template",
    [
        "{",
        "}",
        "{}",
        "{0}",
        "{nothing}",
        "{score:d}",
        "{path:.3f}",
        "{date:}x{",
        "{score.real}",
        "{path[0]}",
        "{rank:{width}}{x}",
        "{path.__class__}",
        "{score!z}",
    ],
)
def test_a_template_that_cannot_be_filled_in_is_wrong_use(template: str) -> None:
    """Before anything is searched; what lies inside a value cannot be reached."""
    with pytest.raises(UsageError, match="--format"):
        Template.parse(template)


def test_an_unknown_field_is_named_with_those_there_are() -> None:
    """The message is the documentation."""
    with pytest.raises(UsageError, match=r"'colour'; there are: rank, score, sigma, path, name"):
        Template.parse("{colour}")


def test_what_is_not_known_is_empty() -> None:
    """No camera, no sigma, no name of the query."""
    hit = Hit(1, 0.5, None, image_facts())
    assert Template.parse("{camera}|{sigma}|{query}").render([hit]) == "|nan|\n"


def test_names_are_as_they_are_but_escaped_for_a_terminal() -> None:
    """A program gets the bytes, a terminal no control character."""
    hit = Hit(1, 0.5, 1.0, image_facts(b"/p/new\nline\x1b\xff.jpg"))
    assert os.fsencode(Template.parse("{path}").render([hit])) == b"/p/new\nline\x1b\xff.jpg\n"
    assert Template.parse("{path}").render([hit], escaped=True) == "/p/new\\nline\\x1b\\xff.jpg\n"
    assert Template.parse("{directory}{name}").render([hit], escaped=True).isascii()


def test_every_field_is_documented() -> None:
    """A user finds them in the reference."""
    reference = (os.path.dirname(__file__), "..", "..", "docs", "reference.md")
    with open(os.path.join(*reference), encoding="utf-8") as file:
        text = file.read().partition("#### Templates")[2].partition("\n### ")[0]
    assert all(f"`{name}`" in text for name in fields(HIT, None))
