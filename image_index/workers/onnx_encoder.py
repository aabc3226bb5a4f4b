"""The exported image tower in a child: pictures to unit vectors by ONNX Runtime, without torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from image_index.errors import ModelUnavailable
from image_index.machine import peak_memory_bytes
from image_index.models.graph import runtime_name
from image_index.models.image_tower import ImageTower, open_image_tower
from image_index.models.names import digest_weights, locate_weights
from image_index.records import Pixels, Vectors
from image_index.workers.exported import ExportedModel
from image_index.workers.light_import import load_lightly
from image_index.workers.messages import ChildSetup, LoadedEncoder
from image_index.workers.self_test import SELF_TEST_COSINE, self_test_pictures

logger = logging.getLogger("image_index.worker")


class OnnxEncoder:
    """An exported image tower; whatever else is asked of it, it loads the whole model for."""

    def __init__(self, tower: ImageTower, exported: ExportedModel, setup: ChildSetup) -> None:
        """Encode with `tower`, as the model with the facts of `exported` does."""
        self.facts = exported.facts
        self._tower = tower
        self._setup = setup

    def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:  # noqa: ARG002  # for Metal alone
        """Return unit vectors (N, D) float32 of `pixels` (N, H, W, 3) uint8."""
        return self._tower.encode(pixels)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (N, D) of texts."""
        return self._whole_model.encode_texts(texts)

    def export_towers(self, directory: str) -> None:
        """Write both towers to the new `directory`."""
        self._whole_model.export_towers(directory)

    def memory_bytes(self) -> int:
        """Return the largest memory of this process so far."""
        return peak_memory_bytes()

    @cached_property
    def _whole_model(self) -> LoadedEncoder:
        return load_whole_model(self._setup)


def load_model(setup: ChildSetup) -> LoadedEncoder:
    """Load what `setup` says: the exported tower where it names one that works, else the whole model."""
    if setup.exported:
        logger.info("Loading OpenCLIP model %s on cpu, by ONNX Runtime", setup.spec.name)
        try:
            return OnnxEncoder(_tested_tower(setup.exported), setup.exported, setup)
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime has no one kind of error
            logger.warning(
                "Not using the exported image tower (%s): this will be slower", str(error).partition("\n")[0]
            )
    return load_whole_model(setup)


def load_whole_model(setup: ChildSetup) -> LoadedEncoder:
    """Load the whole model; the parent has digested its weights only where it knew that this would be done."""
    digest = setup.weights_sha256
    if not digest:
        weights = locate_weights(setup.spec)
        if weights is None:
            raise ModelUnavailable(f"the weights of {setup.spec.name} are not on this machine")
        digest = digest_weights(weights)
    return (setup.loader or load_lightly)(setup.spec, digest, setup.device, setup.precision)


def _tested_tower(exported: ExportedModel) -> ImageTower:
    """Return the tower; raise `ValueError` unless it gives the self-test's pictures the model's own vectors.

    The export has tested it on the processor and with the ONNX Runtime of that day: with these it is not tested again.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    tower, part = open_image_tower(Path(exported.directory), exported.facts.fingerprint, threads)
    if part.tested_on != runtime_name():
        pictures = self_test_pictures(*exported.facts.preprocess.size)
        expected = np.array(part.self_test, np.float32)
        cosine = float((tower.encode(pictures) * expected).sum(axis=1).min())
        if not cosine >= SELF_TEST_COSINE:  # not for NaN either
            raise ValueError(f"in its self-test a vector has cosine {cosine:.4f} to the model's")
    return tower
