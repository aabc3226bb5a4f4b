"""What the student learns: tokenised texts and, for each, the teacher's vector."""

from __future__ import annotations

from dataclasses import dataclass

import open_clip
import torch
from torch import Tensor
from torch.nn import functional

from build_starter.model import CONTEXT_LENGTH
from build_starter.teacher import MiniLM
from build_starter.texts import Token


@dataclass(frozen=True, slots=True)
class Lessons:
    """Texts as tokens (N, 32) int32 and vectors (N, D); the vocabulary as vectors (V, D); all vectors float32.

    `anchors` (C, D) are ImageNet's classes, centred, of unit length: the student's similarities to them shall be
    right too, for in a search they are what meets a picture.
    """

    tokens: Tensor
    vectors: Tensor
    vocabulary: Tensor
    anchors: Tensor


def prepare_lessons(teacher: MiniLM, texts: list[str], vocabulary: list[Token], classes: Tensor) -> Lessons:
    """Let the teacher embed the texts and the vocabulary, whose plain words are learned as texts as well."""
    # A token without text, such as half a letter's bytes, gets the vector of a full stop.
    token_vectors = teacher.embed([token.text if token.text.strip() else "." for token in vocabulary])
    words = [index for index, token in enumerate(vocabulary) if token.is_word]
    vectors = torch.cat([teacher.embed(texts), token_vectors[words]])
    tokens = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)(texts + [vocabulary[i].text for i in words])
    anchors = functional.normalize(classes - classes.mean(0), dim=-1)
    return Lessons(tokens.to(torch.int32), vectors, token_vectors, anchors)
