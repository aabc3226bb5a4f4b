"""Sentences around words: a model of CLIP's kind has learnt from captions, which are seldom a word alone.

Several sentences are averaged (prompt ensembling, as in the CLIP paper: Radford et al. 2021, 3.1.4).
"""

from __future__ import annotations

from collections.abc import Sequence

from image_index.errors import UsageError

PLACE = "{}"
"""Stands in a prompt where the words go."""


def check_prompts(prompts: Sequence[str]) -> None:
    """Raise `UsageError` for a prompt that has no place for the words."""
    for prompt in prompts:
        if PLACE not in prompt:
            raise UsageError(f'a prompt is a sentence such as "a drawing of a {PLACE}", not {prompt!r}')


def sentences(words: Sequence[str], prompts: Sequence[str]) -> list[str]:
    """Return the prompts with each of `words` in its place, those of one word side by side."""
    return [prompt.replace(PLACE, word) for word in words for prompt in prompts]
