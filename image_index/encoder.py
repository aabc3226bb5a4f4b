"""The one home of torch and open_clip: weights on a device, pictures and texts to unit vectors."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import open_clip
import torch

from image_index.errors import ModelUnavailable, UsageError
from image_index.models import ModelSpec
from image_index.records import ModelFacts, Pixels, Preprocess, Vectors

SELF_TEST_COSINE = 0.999
"""Below this a device computes something else than the CPU does, and is not used (pytorch #174861)."""

logger = logging.getLogger("image_index.worker")


class Encoder:
    """A loaded OpenCLIP model on one device."""

    def __init__(self, model: torch.nn.Module, spec: ModelSpec, weights_sha256: str) -> None:
        """Take over `model`, on the CPU, in evaluation mode."""
        self._model = model
        self._spec = spec
        self._tokenizer: Any = None
        self.device = torch.device("cpu")
        self.facts = _facts(model, spec, weights_sha256)
        shape = (1, 1, 1, 3)
        self._mean = torch.tensor(self.facts.preprocess.mean).view(shape)
        self._std = torch.tensor(self.facts.preprocess.std).view(shape)

    def move_to(self, device: torch.device) -> None:
        """Move the weights to `device`."""
        self._model.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        self.device = device

    @torch.inference_mode()
    def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
        """Return unit vectors (N, D) float32 of `pixels` (N, H, W, 3) uint8.

        On Metal every batch is padded to `pad_to` pictures: each new shape costs memory that never comes back
        (pytorch #132596).
        """
        count = len(pixels)
        if self.device.type == "mps" and count < pad_to:
            pixels = np.concatenate([pixels, np.zeros((pad_to - count, *pixels.shape[1:]), np.uint8)])
        batch = torch.from_numpy(pixels).to(self.device).float().div_(255)
        batch = batch.sub_(self._mean).div_(self._std).permute(0, 3, 1, 2)  # NHWC bytes are channels_last for free
        return self._to_numpy(self._model.encode_image(batch, normalize=True))[:count]  # type: ignore[operator]

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (N, D) float32 of `texts`; words past the model's context length are cut off."""
        if self._tokenizer is None:
            self._tokenizer = open_clip.get_tokenizer(self._spec.architecture)
        tokens = self._tokenizer(list(texts)).to(self.device)
        return self._to_numpy(self._model.encode_text(tokens, normalize=True))  # type: ignore[operator]

    def memory_bytes(self) -> int:
        """Return the memory that grows with use: the Metal driver's on MPS, else this process's largest."""
        if self.device.type == "mps":
            return int(torch.mps.driver_allocated_memory())
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    @staticmethod
    def _to_numpy(features: torch.Tensor) -> Vectors:
        """Return features as float32 vectors of length one, whatever precision they were computed in."""
        vectors: Vectors = features.float().cpu().numpy()
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def load_encoder(spec: ModelSpec, weights_sha256: str, device: str) -> Encoder:
    """Load the model of `spec` from local files onto `device`: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.

    `auto` takes the best device that computes what the CPU computes. Raises `ModelUnavailable` where open_clip cannot
    load the model, and `UsageError` for a named device that this machine does not have.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    target = choose_device(device)
    logger.info("Loading OpenCLIP model %s on %s", spec.architecture if spec.pretrained else spec.name, target)
    try:
        model = open_clip.create_model(spec.architecture, pretrained=spec.pretrained, require_pretrained=True)
    except Exception as error:  # open_clip raises what its libraries raise: RuntimeError, OSError, KeyError, ...
        raise ModelUnavailable(f"cannot load the model {spec.name}: {_one_line(error)}") from error
    model.eval()
    if _is_convolutional(model):
        model.to(memory_format=torch.channels_last)
    encoder = Encoder(model, spec, weights_sha256)
    if target.type != "cpu":
        _move_if_true(encoder, target)
    return encoder


def choose_device(wanted: str) -> torch.device:
    """Return the device to use for `wanted`; `auto` prefers CUDA to Metal to the CPU."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    count = torch.cuda.device_count() if device and device.type == "cuda" else 1
    if device is None or not available.get(device.type) or (device.index or 0) >= count:
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise UsageError(f"no device {wanted} on this machine; --device takes one of: auto, {there}")
    return device


def _move_if_true(encoder: Encoder, device: torch.device) -> None:
    """Move `encoder` to `device` unless a fixed picture gets another vector there than on the CPU."""
    height, width = encoder.facts.preprocess.size
    ramp = np.arange(height * width * 3, dtype=np.uint32) * 2654435761 >> 24  # Knuth's hash: every grey, no photo
    picture = ramp.astype(np.uint8).reshape(1, height, width, 3)
    expected = encoder.encode_images(picture)
    try:
        encoder.move_to(device)
        cosine = float((encoder.encode_images(picture) @ expected.T).item())
    except RuntimeError as error:
        cosine, reason = 0.0, _one_line(error)
    else:
        reason = f"its vector has cosine {cosine:.4f} to the CPU's"
    if not cosine >= SELF_TEST_COSINE:  # also true for NaN
        logger.warning("Not using %s: it fails the self-test (%s); using the CPU, which is slower", device, reason)
        encoder.move_to(torch.device("cpu"))


def _facts(model: torch.nn.Module, spec: ModelSpec, weights_sha256: str) -> ModelFacts:
    """Return what decides the vectors of a loaded model."""
    cfg = open_clip.get_model_preprocess_cfg(model)
    size = cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    preprocess = Preprocess(
        size=(height, width),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        interpolation=cfg["interpolation"],
        resize_mode=cfg["resize_mode"],
        fill_color=cfg["fill_color"],
    )
    config = open_clip.get_model_config(spec.architecture) or {}
    return ModelFacts(
        spec.name, weights_sha256, json.dumps(config, sort_keys=True), preprocess, int(config["embed_dim"])
    )


def _is_convolutional(model: torch.nn.Module) -> bool:
    """Tell a convolutional tower, 2.6 times as fast in channels_last, from a transformer's one patch layer."""
    return sum(isinstance(module, torch.nn.Conv2d) for module in model.modules()) > 1


def _one_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
