"""A text to its vector in this process, without torch: the exported text tower on ONNX Runtime.

The graph is optimised when it is exported, and loaded as it is: no optimiser runs and nothing is packed anew, so that
the weights stay mapped files. For a ViT-B-32 that takes 30 ms with the first text, against 450 otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from image_index.models.tokens import ClipTokenizer
from image_index.models.tower_files import GRAPH, MERGES, WEIGHTS, Manifest, state
from image_index.records import DerivedState, Vectors

INPUT, OUTPUT = "tokens", "vectors"
"""The names of the graph's input (1, L) int64 and its output (1, D) float32."""

SMALL_WEIGHT_BYTES = 1024
"""Smaller ones stay in the graph's file."""

LENGTH_TOLERANCE = 1e-3
"""How far from one the length of an encoded vector may be."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TextTower:
    """An exported text tower: what encodes texts as the model with that manifest does."""

    directory: Path
    manifest: Manifest
    tokenizer: ClipTokenizer

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
            vectors = run_graph(self.directory / GRAPH, *map(self.padded, tokens))
        except Exception as error:  # what damaged merges lead to, or what ONNX Runtime throws
            logger.warning("Cannot use %s (%s)", self.directory, str(error).partition("\n")[0])
            return None
        errors = np.abs(np.linalg.norm(vectors, axis=-1) - 1)
        if vectors.shape != (len(texts), self.manifest.dim) or not (errors < LENGTH_TOLERANCE).all():
            logger.warning("Cannot use %s (it gives no unit vector)", self.directory)
            return None
        return vectors

    def padded(self, ids: list[int]) -> list[int]:
        """Return `ids` as the graph takes them."""
        return ids if self.manifest.own_length else ids + [0] * (self.manifest.context_length - len(ids))


def open_tower(directory: Path, fingerprint: str) -> TextTower | None:
    """Return the text tower in `directory` if it is that of the model; None means: a child must encode the text."""
    found, manifest = state(directory, fingerprint, thorough=False)
    if found is DerivedState.DAMAGED:
        logger.warning("Ignoring %s (damaged, or of another model); the next train rebuilds it", directory)
    if manifest is None:
        logger.info("No exported text tower of this model: a child encodes the text; the next train exports it")
        return None
    if manifest.refusal is not None:
        logger.info("The text tower of this model cannot be exported (%s): a child encodes the text", manifest.refusal)
        return None
    try:
        return TextTower(directory, manifest, read_tokenizer(directory, manifest))
    except (OSError, ValueError) as error:
        logger.warning("Ignoring %s (%s); the next train rebuilds it", directory, error)
        return None


def read_tokenizer(directory: Path, manifest: Manifest) -> ClipTokenizer:
    """Return the tokenizer of an exported tower; raises `OSError` or `ValueError` where its file is damaged."""
    vocabulary = manifest.vocabulary
    if vocabulary is None:
        raise ValueError("it has no vocabulary")
    merges = np.memmap(directory / MERGES, "<i8", "r")
    inside, at_end = vocabulary.bytes_inside, vocabulary.bytes_at_end
    return ClipTokenizer(inside, at_end, merges, vocabulary.start, vocabulary.end, manifest.context_length)


def run_graph(graph: Path, *texts: list[int]) -> Vectors:
    """Return what the graph makes of the ids of texts: (N, D) float32. Raises whatever ONNX Runtime raises."""
    session = _session(graph, {"session.disable_prepacking": "1"}, optimise_to=None)
    return np.concatenate([session.run([OUTPUT], {INPUT: np.array([ids], np.int64)})[0] for ids in texts])


def optimise_graph(raw: Path, directory: Path) -> None:
    """Write the graph at `raw`, optimised, and its weights as a file of their own to `directory`."""
    entries = {
        "session.optimized_model_external_initializers_file_name": WEIGHTS,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(SMALL_WEIGHT_BYTES),
        "session.disable_prepacking": "1",
    }
    _session(raw, entries, optimise_to=directory / GRAPH)


def _session(graph: Path, entries: dict[str, str], optimise_to: Path | None) -> Any:
    """Load a graph for the CPU; one thread serves a short text as fast as several."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # what goes wrong is raised as well
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL
    if optimise_to is not None:
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED  # beyond that it is for this processor only
        options.optimized_model_filepath = str(optimise_to)
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
