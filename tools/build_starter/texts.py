"""The texts the student learns from: WordNet, ImageNet's class names, CLIP's own words and made-up phrases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from random import Random

import open_clip
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

from build_starter.vocabulary import (
    ADJECTIVES,
    CLASS_TEMPLATES,
    COMMON,
    PEOPLE,
    PLACES,
    USES,
    VERBS,
    VIEWS,
)

CLASS_NAMES: list[str] = list(IMAGENET_CLASSNAMES)
"""The 1000 class names of ImageNet, in class order."""

THINGS = CLASS_NAMES + COMMON * 6
PHOTOGRAPHED_LEMMAS = 10_000
MADE_UP_PHRASES = 45_000

PHRASES = (
    (0.20, "{an_adjective} {thing} {place} {an_other}"),
    (0.40, "{a_thing} {verb} {place} the {other}"),
    (0.55, "{thing} and {other}"),
    (0.70, "{who} {verb} {place} {an_other}"),
    (0.80, "{adjective} {thing}"),
    (0.90, "something to {use} {place} the {other}"),
    (1.00, "a {view} of {an_adjective} {thing} {place} the {other}"),
)
"""Patterns of made-up phrases, each with the upper end of its share of the draws in [0, 1)."""

RARE_SLOTS = {"who": PEOPLE, "use": USES, "view": VIEWS}


@dataclass(frozen=True, slots=True)
class WordNet:
    """What timm ships of WordNet: synset to its lemmas ("great white shark, white shark") and its definition."""

    lemmas: dict[str, str]
    definitions: dict[str, str]
    classes: list[str]
    """The synsets of ImageNet's 1000 classes, in class order."""

    def class_definitions(self) -> list[str]:
        """Return the definitions of ImageNet's 1000 classes, in class order."""
        return [self.definitions[synset] for synset in self.classes]


@dataclass(frozen=True, slots=True)
class Token:
    """An entry of CLIP's vocabulary: its text, empty where it is no text, and whether it ends a word."""

    text: str
    ends_word: bool

    @property
    def is_word(self) -> bool:
        """Whether the token is a plain English-looking word of three letters or more."""
        return self.ends_word and len(self.text) > 2 and self.text.isascii() and self.text.isalpha()


def read_wordnet() -> WordNet:
    """Read the WordNet tables inside the installed timm."""
    return WordNet(
        lemmas=dict(_rows("imagenet_synset_to_lemma.txt")),
        definitions=dict(_rows("imagenet_synset_to_definition.txt")),
        classes=_lines("imagenet_synsets.txt"),
    )


def read_vocabulary() -> list[Token]:
    """Return the tokens of CLIP's byte-pair encoding, in the order of their ids."""
    tokenizer = open_clip.SimpleTokenizer()
    alphabet: dict[str, int] = tokenizer.byte_decoder
    return [_token(tokenizer.decoder[index], alphabet) for index in range(tokenizer.vocab_size)]


def compose(wordnet: WordNet, seed: int = 0) -> list[str]:
    """Return the training texts, about 124,000, each once and in sorted order."""
    draw = Random(seed)
    lemmas = sorted({lemma.strip() for entry in wordnet.lemmas.values() for lemma in entry.split(",")})
    texts = [*lemmas, *wordnet.definitions.values()]
    texts += [photo_of(lemma) for lemma in draw.sample(lemmas, PHOTOGRAPHED_LEMMAS)]
    texts += [template.format(name) for name in CLASS_NAMES for template in CLASS_TEMPLATES]
    for name in COMMON:
        texts += _phrases_about(name, draw)
    texts += [_made_up(draw) for _ in range(MADE_UP_PHRASES)]
    return sorted({re.sub(r"\s+", " ", text.strip()) for text in texts if text.strip()})


def photo_of(name: str) -> str:
    """Return "a photo of a cat" for "cat"."""
    return f"a photo of {with_article(name)}"


def with_article(name: str) -> str:
    """Return "a cat" for "cat" and "an owl" for "owl"."""
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def _phrases_about(name: str, draw: Random) -> list[str]:
    looks = [f"{adjective} {name}" for adjective in draw.sample(ADJECTIVES, 12)]
    return [name, f"{name}s", with_article(name), photo_of(name), *looks]


def _made_up(draw: Random) -> str:
    """Fill one pattern with words drawn at random."""
    thing = draw.choice(THINGS)
    other = draw.choice(THINGS if draw.random() < 0.5 else COMMON)
    adjective, verb, place = draw.choice(ADJECTIVES), draw.choice(VERBS), draw.choice(PLACES)
    share = draw.random()
    pattern = next(pattern for end, pattern in PHRASES if share < end)
    return pattern.format(
        thing=thing,
        a_thing=with_article(thing),
        other=other,
        an_other=with_article(other),
        adjective=adjective,
        an_adjective=with_article(adjective),
        verb=verb,
        place=place,
        **_rare_words(pattern, draw),
    )


def _rare_words(pattern: str, draw: Random) -> dict[str, str]:
    """Draw words for those slots only that `pattern` has, so that the seed gives the shipped model's texts."""
    return {slot: draw.choice(words) for slot, words in RARE_SLOTS.items() if f"{{{slot}}}" in pattern}


def _token(spelling: str, alphabet: dict[str, int]) -> Token:
    """Turn one entry of the encoding, bytes spelled as printable characters, into text."""
    letters = spelling.removesuffix("</w>")
    try:
        text = bytes(alphabet[letter] for letter in letters).decode()
    except UnicodeDecodeError:
        text = ""
    return Token(text, ends_word=spelling.endswith("</w>"))


def _lines(name: str) -> list[str]:
    return (files("timm.data") / "_info" / name).read_text(encoding="utf-8").splitlines()


def _rows(name: str) -> Iterator[tuple[str, str]]:
    """Yield the two columns of a table."""
    for line in _lines(name):
        synset, _, text = line.partition("\t")
        yield synset, text
