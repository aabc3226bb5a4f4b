"""An OpenCLIP model in a child: weights on a device, pictures and texts to unit vectors.

Two modules use open_clip: this one, which `workers.light_import` imports, and `models.tower_export`, which it calls.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch.nn.utils.fusion import fuse_conv_bn_eval

from image_index.errors import ModelUnavailable, UsageError
from image_index.machine import has_native_bf16, peak_memory_bytes
from image_index.models import hub
from image_index.models.hub_tokenizer import TOKENIZER, read_tokenizer
from image_index.models.image_tower import LEAST_LENGTH
from image_index.models.mapped_weights import MappedWeights, converted_behind, keep_visual
from image_index.models.names import ModelSpec, locate_weights
from image_index.models.word_table import UnknownModel
from image_index.records import ModelFacts, Pixels, Preprocess, Vectors
from image_index.workers.devices import Precision
from image_index.workers.messages import DeviceFailed
from image_index.workers.self_test import SELF_TEST_COSINE, self_test_pictures

SELF_TEST_COSINE_BF16 = 0.995
"""The same for bfloat16, which rounds eight times as coarsely as float16.

Measured on a CPU, the least over the self-test's pictures: with `starter` 0.9994 in bfloat16, 0.9999 in float16; a
device that swapped red and blue would get 0.88, one that mirrored 0.87. A ViT-B-32 with random weights: 0.9999 in
bfloat16, and 0.94 and 0.71.
"""

M_MMAP_THRESHOLD = -3
"""The number of glibc's parameter (malloc.h)."""

WEIGHT_BYTES = 1 << 20
"""Larger tensors of weights get memory of their own."""

HEAP_BYTES = (32 << 20, 1 << 30)
"""Smaller tensors of anything else do not: what glibc takes of these at most, which an old one refuses in part."""

MEND = "fetch the model again, or put its tokenizer.json back"
"""The next step where the file of a tokenizer is damaged."""

logger = logging.getLogger("image_index.worker")


class Encoder:
    """A loaded OpenCLIP model on one device."""

    def __init__(self, model: torch.nn.Module, spec: ModelSpec, weights_sha256: str) -> None:
        """Take over `model`, on the CPU, in evaluation mode."""
        self._model: Any = model
        self._text_model: torch.nn.Module | None = model
        self._spec = spec
        self._tokenizer: Any = None
        self.device = torch.device("cpu")
        self._dtype = torch.float32
        self._self_test: Vectors | None = None
        """The vectors of the self-test's pictures as the CPU computes them in float32, once they are known."""
        self._most_at_once: int | None = None
        """How many pictures the device has had memory for; None until a batch was too large for it."""
        self.facts = _facts(model, spec, weights_sha256)
        shape = (1, 1, 1, 3)
        self._mean = torch.tensor(self.facts.preprocess.mean).view(shape)
        self._std = torch.tensor(self.facts.preprocess.std).view(shape)

    def convert(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the visual tower to `device`, folded and in the number format `dtype`.

        Where that makes a copy of it, nothing else of the model is kept, and the weights' file is mapped no longer: who
        embeds needs no more of it, and the first text loads it again.
        """
        visual: Any = self._model.visual
        visual.to(device)
        _fold_norms(visual)
        _embed_one_token(visual)
        visual.to(dtype)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        self.device, self._dtype = device, dtype
        if (device.type, dtype) != ("cpu", torch.float32):
            self._text_model = None
            keep_visual(self._model)

    def encode_and_convert(self, pixels: Pixels, device: torch.device, dtype: torch.dtype) -> Vectors:
        """Return the unit vectors of the self-test's pictures as the CPU computes them in float32, and convert."""
        visual: Any = self._model.visual
        if device.type == "cpu" and not any(isinstance(module, torch.nn.BatchNorm2d) for module in visual.modules()):
            with converted_behind(visual, dtype):
                vectors = self.encode_images(pixels)
        else:
            vectors = self.encode_images(pixels)
        self.convert(device, dtype)
        self._self_test = vectors
        return vectors

    def encode_images(self, pixels: Pixels, pad_to: int = 0) -> Vectors:
        """Return unit vectors (N, D) float32 of `pixels` (N, H, W, 3) uint8.

        A batch for which a GPU lacks memory is computed in halves, and so are all later ones. On Metal every batch is
        padded to `pad_to` pictures: each new shape costs memory that never comes back (pytorch #132596). Raises
        `DeviceFailed` where a GPU computes no more.
        """
        size = min(len(pixels), self._most_at_once or len(pixels))
        try:
            parts = [self._forward(pixels[start : start + size], pad_to) for start in range(0, len(pixels), size)]
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise DeviceFailed(_one_line(error)) from error
            self._most_at_once = size // 2
            logger.warning("Only %d pictures at once from now on: %s", self._most_at_once, _one_line(error))
        except RuntimeError as error:
            if self.device.type == "cpu":
                raise
            raise DeviceFailed(_one_line(error)) from error
        else:
            return np.concatenate(parts)
        torch.cuda.empty_cache()  # outside of `except`: what an exception holds on to cannot be freed
        return self.encode_images(pixels, pad_to)

    @torch.inference_mode()
    def _forward(self, pixels: Pixels, pad_to: int) -> Vectors:
        """Return the unit vectors of one batch."""
        count = len(pixels)
        if self.device.type == "mps" and count < pad_to:
            pixels = np.concatenate([pixels, np.zeros((pad_to - count, *pixels.shape[1:]), np.uint8)])
        batch = torch.from_numpy(pixels).to(self.device).float().div_(255)
        batch = batch.sub_(self._mean).div_(self._std).to(self._dtype)
        batch = batch.permute(0, 3, 1, 2)  # NHWC bytes are channels_last for free
        return self._to_numpy(self._model.encode_image(batch))[:count]

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (N, D) float32 of `texts`; words past the model's context length are cut off."""
        if self._tokenizer is None:
            self._tokenizer = _open_tokenizer(self._spec)
        if self._text_model is None:
            self._text_model = _load(self._spec, self.facts.weights_sha256)._model
        ids = torch.as_tensor(self._tokenizer(list(texts)))
        return self._to_numpy(self._text_model.encode_text(ids))  # type: ignore[operator]

    def export_towers(self, directory: str) -> None:
        """Write both towers to the new `directory`; raises what keeps them from being exported.

        The model takes the place of the converted tower: no picture is encoded afterwards.
        """
        from image_index.models.tower_export import Original, export_towers

        weights = locate_weights(self._spec)
        if weights is None:
            raise ModelUnavailable(f"the weights of {self._spec.name} are gone")
        with _weights_beside_the_heap():
            self._model = self._text_model = None
            self._model = _load(self._spec, self.facts.weights_sha256)._model  # as it stands in the file
        tokenizer = _open_tokenizer(self._spec)
        pictures = self_test_pictures(*self.facts.preprocess.size)
        original = Original(self._model, tokenizer, self.facts, weights, pictures, self._self_test, is_spent=True)
        export_towers(original, Path(directory))

    def memory_bytes(self) -> int:
        """Return the memory that grows with use: the Metal driver's on MPS, else this process's largest."""
        if self.device.type == "mps":
            return int(torch.mps.driver_allocated_memory())
        return peak_memory_bytes()

    @staticmethod
    def _to_numpy(features: torch.Tensor) -> Vectors:
        """Return features as float32 vectors of length one, whatever precision they were computed in.

        Those of nearly no length stay shorter.
        """
        vectors: Vectors = features.float().cpu().numpy()
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), LEAST_LENGTH)
        return vectors


def load_encoder(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision = Precision.AUTO) -> Encoder:
    """Load the model of `spec` from local files onto `device`: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.

    `auto` takes the best device; what does not compute what the CPU computes in float32 is not used: after a number
    format that fails the self-test the device is tried in float32, and after that the CPU is taken. Raises
    `ModelUnavailable` where open_clip cannot load the model, and `UsageError` for a named device that this machine does
    not have.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
    target = choose_device(device)
    logger.info("Loading OpenCLIP model %s on %s", spec.architecture if spec.pretrained else spec.name, target)
    for dtype in dict.fromkeys([choose_dtype(precision, target), torch.float32]):
        with _weights_beside_the_heap():
            encoder = _load(spec, weights_sha256)
            if _converted(encoder, target, dtype):
                return encoder
    return _load(spec, weights_sha256)


@contextmanager
def _weights_beside_the_heap() -> Iterator[None]:
    """Let glibc give back, within the block, the memory of each large tensor that is freed, and all that is free after.

    `Slot.environment` tells it to keep everything, which is right for activations: they come back with every batch. But
    of open_clip's empty weights and the copies of them that are made and dropped while a model is loaded, it would keep
    a heap with holes (measured: 100 MB more in each child).
    """
    glibc = ctypes.CDLL(None)
    with suppress(AttributeError):  # other C libraries have no such functions
        glibc.mallopt(M_MMAP_THRESHOLD, WEIGHT_BYTES)
    try:
        yield
    finally:
        with suppress(AttributeError):
            for most in HEAP_BYTES:
                glibc.mallopt(M_MMAP_THRESHOLD, most)
            glibc.malloc_trim(0)


def _load(spec: ModelSpec, weights_sha256: str) -> Encoder:
    """Load a model onto the CPU, in float32."""
    try:
        with MappedWeights():
            model = open_clip.create_model(spec.architecture, pretrained=spec.pretrained, require_pretrained=True)
    except Exception as error:  # open_clip raises what its libraries raise: RuntimeError, OSError, KeyError, ...
        raise ModelUnavailable(f"cannot load the model {spec.name}: {_one_line(error)}") from error
    model.float().eval()  # mapped weights have the number format of their file
    if _is_convolutional(model):
        model.to(memory_format=torch.channels_last)
    return Encoder(model, spec, weights_sha256)


def _open_tokenizer(spec: ModelSpec) -> Any:
    """Return the tokenizer of a model: what makes ids (N, context length) of texts.

    One of the hub is read without `transformers` where that is known to give the same ids. Raises `ModelUnavailable`
    where it cannot be read.
    """
    text = (open_clip.get_model_config(spec.architecture) or {}).get("text_cfg", {})
    name = text.get("hf_tokenizer_name")
    if not name:
        return open_clip.get_tokenizer(spec.architecture)
    scheme, _, directory = spec.architecture.partition(":")
    file = Path(directory, TOKENIZER) if scheme == "local-dir" else hub.find_cached(name, (TOKENIZER,))
    reason = f"there is no {TOKENIZER}"
    try:
        if file and file.exists():
            return read_tokenizer(file.parent, text)
    except UnknownModel as error:
        reason = str(error)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"cannot read the tokenizer of {spec.name}: {_one_line(error)}", MEND) from error
    try:
        return open_clip.get_tokenizer(spec.architecture)
    except ImportError as error:
        problem = f"the tokenizer of {spec.name} needs the library transformers ({reason})"
        raise ModelUnavailable(problem, "pip install 'imgidx[transformers]'") from error
    except Exception as error:  # whatever transformers meets in its files
        raise ModelUnavailable(f"cannot read the tokenizer of {spec.name}: {_one_line(error)}", MEND) from error


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
        raise UsageError(f"no device {wanted} on this machine", f"--device takes one of: auto, {there}")
    return device


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the number format of the visual tower.

    `auto` takes bfloat16 where a CPU multiplies it natively or a GPU does (compute capability 8.0), float16 on older
    GPUs, and float32 elsewhere: on Metal nobody has measured it for us.
    """
    match precision, device.type:
        case Precision.AUTO, "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        case Precision.AUTO, "cpu" if has_native_bf16():
            return torch.bfloat16
    return {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}.get(precision, torch.float32)


def _converted(encoder: Encoder, device: torch.device, dtype: torch.dtype) -> bool:
    """Convert `encoder`; tell whether fixed pictures get the vectors there that the CPU gives them in float32."""
    pictures = self_test_pictures(*encoder.facts.preprocess.size)
    try:
        expected = encoder.encode_and_convert(pictures, device, dtype)
        cosine = float((encoder.encode_images(pictures) * expected).sum(axis=1).min())  # NaN where one of them is
    except RuntimeError as error:
        cosine, reason = 0.0, _one_line(error)
    else:
        reason = f"a vector of it has cosine {cosine:.4f} to the CPU's"
    least = SELF_TEST_COSINE_BF16 if dtype is torch.bfloat16 else SELF_TEST_COSINE
    is_true = cosine >= least  # false for NaN
    if not is_true:
        kind = str(dtype).removeprefix("torch.")
        logger.warning("Not using %s on %s, which fails the self-test (%s): this will be slower", kind, device, reason)
    return is_true


def _fold_norms(module: torch.nn.Module) -> None:
    """Fold each batch norm into the convolution registered right before it.

    1.2 times as fast in float32, and in bfloat16 the cosine of the bundled model rises from 0.9988 to 0.9993. That the
    two also run in this order is for the self-test to show.
    """
    before: torch.nn.Module | None = None
    for name, child in list(module.named_children()):
        if isinstance(before, torch.nn.Conv2d) and isinstance(child, torch.nn.BatchNorm2d):
            fused = fuse_conv_bn_eval(before, child)
            before.weight, before.bias = fused.weight, fused.bias
            setattr(module, name, getattr(child, "act", torch.nn.Identity()))  # timm's carry their activation
        else:
            _fold_norms(child)
        before = child


class _ForFirstToken(torch.nn.Module):
    """A block of a transformer that gives the first of its tokens alone: (N, L, W) to (N, 1, W)."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: torch.Tensor, attn_mask: None = None) -> torch.Tensor:  # noqa: ARG002  # there is none
        block = self.block
        normed = block.ln_1(tokens)
        attended, _ = block.attn(normed[:, :1], normed, normed, need_weights=False)
        first = tokens[:, :1] + block.ls_1(attended)
        return first + block.ls_2(block.mlp(block.ln_2(first)))  # type: ignore[no-any-return]


def _embed_one_token(visual: torch.nn.Module) -> None:
    """Let the last block of a plain transformer compute the one token whose vector is that of the picture.

    The others are thrown away behind it. A ViT-B-32 is 1.1 times as fast, in bfloat16 and in float32.
    """
    if type(visual) is VisionTransformer and visual.attn_pool is None and visual.pool_type == "tok":
        *_, last = visual.transformer.resblocks
        if type(last) is ResidualAttentionBlock and not visual.output_tokens:
            visual.transformer.resblocks[-1] = _ForFirstToken(last)


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
