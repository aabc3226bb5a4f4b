"""A text to its vector in this process, without torch: the exported text tower on ONNX Runtime.

One thread serves a short text as fast as several.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from image_index.models.graph import Graph
from image_index.models.tokens import ClipTokenizer
from image_index.models.tower_files import (
    EXPORTED_AGAIN,
    MERGES,
    TEXT_GRAPH,
    Framing,
    Manifest,
    TextPart,
    fault,
    state,
)
from image_index.records import DerivedState, Vectors

INPUT, OUTPUT = "tokens", "vectors"
"""The names of the graph's input (1, L) int64 and its output (1, D) float32."""

LENGTH_TOLERANCE = 1e-3
"""How far from one the length of an encoded vector may be."""

logger = logging.getLogger(__name__)


class Tokenizer(Protocol):
    """What turns a text into the ids that the tower reads: CLIP's tokenizer, or one that is published as JSON."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, at most as many as the context has."""

    def padded(self, ids: Sequence[int]) -> list[int]:
        """Return ids in the context's length."""

    def cut(self, text: str) -> str:
        """Return what of `text` does not fit into the context."""


@dataclass(frozen=True, slots=True)
class TextTower:
    """An exported text tower: what encodes texts as its model does, to vectors of `dim` dimensions."""

    graph: Graph
    dim: int
    part: TextPart
    tokenizer: Tokenizer

    def encode(self, text: str) -> Vectors | None:
        """Return the unit vector (D,) of `text`; None, with a warning, where the tower cannot be used."""
        vectors = self.encode_all([text])
        return None if vectors is None else vectors[0]

    def encode_all(self, texts: Sequence[str]) -> Vectors | None:
        """Return the unit vectors (N, D) of one text or more; None, with a warning, where the tower cannot be used.

        Whatever ONNX Runtime raises, of damage or because it is of another version, is no reason to fail: a child can
        encode the text all the same.
        """
        try:
            tokens = [self.tokenizer.encode(text) for text in texts]
            vectors = run_graph(self.graph, *map(self.padded, tokens))
        except Exception as error:  # what damaged merges lead to, or what ONNX Runtime throws
            logger.warning("Cannot use %s (%s)", self.graph.file, str(error).partition("\n")[0])
            return None
        errors = np.abs(np.linalg.norm(vectors, axis=-1) - 1)
        if vectors.shape != (len(texts), self.dim) or not (errors < LENGTH_TOLERANCE).all():
            logger.warning("Cannot use %s (it gives no unit vector)", self.graph.file)
            return None
        return vectors

    def padded(self, ids: list[int]) -> list[int]:
        """Return `ids` as the graph takes them."""
        return ids if self.part.own_length else self.tokenizer.padded(ids)


def open_text_tower(directory: Path, fingerprint: str) -> TextTower | None:
    """Return the text tower in `directory` if it is that of the model; None means: a child must encode the text."""
    found, manifest = state(directory, fingerprint, thorough=False)
    if found is DerivedState.DAMAGED:
        logger.warning("Not using the towers in %s, which %s; %s", directory, fault(directory), EXPORTED_AGAIN)
    if manifest is None:
        logger.info("No exported text tower of this model: a child encodes the text; the next train exports it")
        return None
    if manifest.text is None:
        reason = manifest.text_refusal
        logger.info("The text tower of this model cannot be exported (%s): a child encodes the text", reason)
        return None
    try:
        return read_text_tower(directory, manifest, manifest.text)
    except (OSError, ValueError) as error:
        logger.warning("Ignoring %s (%s); the next train rebuilds it", directory, error)
        return None


def read_text_tower(directory: Path, manifest: Manifest, part: TextPart) -> TextTower:
    """Return the tower with its tokenizer; raises `OSError` or `ValueError` where a file of that is damaged."""
    tokenizer = _read_tokenizer(directory, part)
    return TextTower(Graph.of(directory, manifest, TEXT_GRAPH), manifest.dim, part, tokenizer)


def _read_tokenizer(directory: Path, part: TextPart) -> Tokenizer:
    """Return the exported tokenizer of a tower."""
    words, length = part.vocabulary, part.context_length
    if isinstance(words, Framing):
        from image_index.models.hub_tokenizer import open_exported

        return open_exported(directory, words, length)
    merges = np.memmap(directory / MERGES, "<i8", "r")
    return ClipTokenizer(words.bytes_inside, words.bytes_at_end, merges, words.start, words.end, length)


def run_graph(graph: Graph, *texts: list[int]) -> Vectors:
    """Return what the graph makes of the ids of texts: (N, D) float32. Raises whatever ONNX Runtime raises."""
    session = graph.load()
    return np.concatenate([session.run([OUTPUT], {INPUT: np.array([ids], np.int64)})[0] for ids in texts])
