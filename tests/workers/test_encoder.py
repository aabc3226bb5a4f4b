"""The encoder against open_clip itself, over real photos; devices that are not there are faked."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from image_index.catalog.catalog import Catalog
from image_index.errors import ModelUnavailable, UsageError
from image_index.files.read import read_file
from image_index.formats import Decoding
from image_index.models.names import digest_weights, locate_weights, parse_model
from image_index.models.text_tower import open_text_tower
from image_index.pictures.decode import decode
from image_index.records import ModelFacts, Pixels, Preprocess, Vectors
from image_index.workers.devices import Precision
from image_index.workers.encoder import Encoder, choose_device, choose_dtype, load_encoder
from image_index.workers.messages import DeviceFailed
from tests.support.graphics import FRAGILE, KINDS, graphics
from tests.support.hub_tokenizers import make_siglip
from tests.support.photos import real_photos

pytestmark = pytest.mark.slow

TEXTS = ["a cat", "a cup of coffee", "a red car " * 50, "une tasse de café, 一杯咖啡"]

SMALL_VIT: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
OTHERWISE = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bilinear", "resize_mode": "longest"}


def save_small_vit(directory: Path, preprocess: dict[str, Any], seed: int = 0, **vision: object) -> Path:
    """Save a small ViT with random weights as open_clip's `local-dir:` wants it; `vision` changes its image tower."""
    directory.mkdir(exist_ok=True)
    config = SMALL_VIT | {"vision_cfg": SMALL_VIT["vision_cfg"] | vision}
    (directory / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.model.CLIP(**config)
    save_file(dict(model.state_dict()), directory / "open_clip_model.safetensors")
    return directory


def load(name: str, device: str = "cpu", precision: Precision = Precision.FP32) -> Encoder:
    """Load a model by the name a user gives."""
    spec = parse_model(name)
    weights = locate_weights(spec)
    assert weights
    return load_encoder(spec, digest_weights(weights), device, precision)


def photo_pixels(encoder: Encoder, photos: list[Path]) -> Pixels:
    """Return the photos as our decoder fits them to a model without a shortcut, (N, H, W, 3)."""
    contents = (read_file(os.fsencode(photo)) for photo in photos)
    return np.stack([decode(content, encoder.facts.preprocess, decoding=Decoding.EXACT).pixels for content in contents])


@dataclass
class Pair:
    """Our encoder and open_clip's own model and transform, of one model."""

    name: str
    ours: Encoder
    theirs: torch.nn.Module
    transform: Callable[[Image.Image], torch.Tensor]

    def pixels(self, photos: list[Path]) -> Pixels:
        """Return the photos as our decoder fits them, (N, H, W, 3)."""
        return photo_pixels(self.ours, photos)

    def oracle(self, method: str, batch: torch.Tensor) -> Vectors:
        """Return the unit vectors that open_clip's model gives."""
        with torch.no_grad():
            features = getattr(self.theirs, method)(batch)
        return np.asarray(torch.nn.functional.normalize(features, dim=1).numpy(), np.float32)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a small ViT with random weights."""
    return f"local-dir:{save_small_vit(tmp_path_factory.mktemp('vit') / 'plain', {})}"


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_a_flat_grey_has_no_direction_and_a_photo_in_its_batch_has(sample_photos: Path, precision: Precision) -> None:
    """The bundled model gives these greys features of length zero: that is finite, and not of length one."""
    encoder = load("starter", precision=precision)
    greys = [np.full((*encoder.facts.preprocess.size, 3), grey, np.uint8) for grey in (112, 128, 160, 180)]
    pixels = np.concatenate([photo_pixels(encoder, real_photos(sample_photos, 1)), greys])
    lengths = np.linalg.norm(encoder.encode_images(pixels), axis=1)
    assert lengths[0] == pytest.approx(1)
    assert (lengths[1:] < 0.5).all()


@pytest.fixture(scope="module", params=["starter", "vit", "vit-otherwise"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, vit: str) -> Pair:
    """Return both implementations of one model."""
    if request.param == "vit-otherwise":
        # the vector of a picture is the mean of all its tokens there, so none of them may be left out
        directory = tmp_path_factory.mktemp("models") / "otherwise"
        name = f"local-dir:{save_small_vit(directory, OTHERWISE, pool_type='avg')}"
    else:
        name = vit if request.param == "vit" else request.param
    spec = parse_model(name)
    theirs, _, transform = open_clip.create_model_and_transforms(spec.architecture, pretrained=spec.pretrained)
    return Pair(name, load(name), theirs.eval(), transform)


@pytest.fixture(scope="module")
def encoder(vit: str) -> Encoder:
    """Return the small ViT, loaded."""
    return load(vit)


@pytest.fixture(scope="module")
def photos(sample_photos: Path) -> list[Path]:
    """Return some real photos."""
    return real_photos(sample_photos, 24)


def drawn_pixels(encoder: Encoder, count: int) -> Pixels:
    """Return `count` drawings of each kind that fit the model."""
    height, width = encoder.facts.preprocess.size
    images = [image for kind in sorted(KINDS.keys() - FRAGILE) for image in graphics(kind, count)]
    return np.stack([np.asarray(image.resize((width, height))) for image in images])


def noise(encoder: Encoder, count: int) -> Pixels:
    """Return pictures of noise that fit the model."""
    shape = (count, *encoder.facts.preprocess.size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_pictures_get_the_vectors_that_open_clip_gives(pair: Pair, photos: list[Path]) -> None:
    """Our preprocessing and forward pass agree with open_clip's own; other photos have other vectors."""
    images = [Image.open(photo) for photo in photos]
    expected = pair.oracle("encode_image", torch.stack([pair.transform(image) for image in images]))
    vectors = pair.ours.encode_images(pair.pixels(photos))
    cosines = vectors @ expected.T
    assert cosines.diagonal().min() >= 0.9999
    assert cosines.argmax(axis=1).tolist() == list(range(len(photos)))
    assert np.median(cosines) < 0.999


def test_texts_get_the_vectors_that_open_clip_gives(pair: Pair) -> None:
    """Short, long and foreign texts are tokenised and encoded as open_clip does."""
    tokens = open_clip.get_tokenizer(parse_model(pair.name).architecture)(TEXTS)
    expected = pair.oracle("encode_text", tokens)
    assert (pair.ours.encode_texts(TEXTS) * expected).sum(axis=1).min() >= 0.9999


def test_a_siglip_is_exported_and_gives_the_same_vectors(tmp_path: Path) -> None:
    """Its text tower, whose tokenizer is of the hub, works without torch, transformers and the whole vocabulary."""
    encoder = load(f"local-dir:{make_siglip(tmp_path / 'model')}")
    expected = encoder.encode_texts(TEXTS)
    assert encoder.facts.preprocess == Preprocess((32, 32), (0.5,) * 3, (0.5,) * 3, "bicubic", "squash")
    encoder.export_towers(str(tmp_path / "towers"))
    tower = open_text_tower(tmp_path / "towers", encoder.facts.fingerprint)
    assert tower is not None
    vectors = tower.encode_all(TEXTS)
    assert vectors is not None
    np.testing.assert_allclose((vectors * expected).sum(axis=1), 1, atol=1e-5)
    assert (vectors @ vectors.T)[np.triu_indices(len(TEXTS), 1)].max() < 0.999  # else any vector would do


def test_a_damaged_tokenizer_is_one_line_and_no_refusal(tmp_path: Path) -> None:
    """The file can be put back; nothing is exported until then."""
    folder = make_siglip(tmp_path / "model")
    (folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes()[:1000])
    encoder = load(f"local-dir:{folder}")
    with pytest.raises(ModelUnavailable, match=r"cannot read the tokenizer of .*; fetch the model again") as caught:
        encoder.encode_texts(TEXTS)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelUnavailable):
        encoder.export_towers(str(tmp_path / "towers"))
    assert not (tmp_path / "towers").exists()


@pytest.mark.parametrize("kind", ["no tokenizer.json", "an option that is not known"])
def test_what_only_transformers_reads_says_so_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With the command that installs it; where it is there, it is used."""
    folder = make_siglip(tmp_path / "model")
    settings, spoilt = folder / "tokenizer_config.json", kind == "no tokenizer.json"
    if spoilt:
        (folder / "tokenizer.json").rename(folder / "spiece.model")
    else:
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"truncation_side": "left"}))
        assert load(f"local-dir:{folder}").encode_texts(TEXTS).shape == (len(TEXTS), 16)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelUnavailable, match=r"needs the library transformers .*; pip install 'imgidx\[transformers"):
        load(f"local-dir:{folder}").encode_texts(TEXTS)


def test_vectors_are_float32_of_length_one(pair: Pair, photos: list[Path]) -> None:
    """Scores are cosines because vectors are unit vectors of the stated dimension."""
    for vectors in (pair.ours.encode_images(pair.pixels(photos[:3])), pair.ours.encode_texts(TEXTS[:3])):
        assert vectors.dtype == np.float32
        assert vectors.shape == (3, pair.ours.facts.dim)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_vectors_do_not_depend_on_who_else_is_in_the_batch(pair: Pair, photos: list[Path]) -> None:
    """A picture embedded alone gets the vector it gets among others."""
    pixels = pair.pixels(photos[:5])
    alone = np.concatenate([pair.ours.encode_images(picture[np.newaxis]) for picture in pixels])
    np.testing.assert_allclose(alone, pair.ours.encode_images(pixels), atol=1e-5)


class _OnMetal(torch.Tensor):
    """A tensor that stays on the CPU when it is sent to Metal."""

    def to(self, *_: Any, **__: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


@pytest.fixture
def fake_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models and pictures that are sent to Metal stay on the CPU."""
    from_numpy = torch.from_numpy

    def convert(self: Encoder, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device

    monkeypatch.setattr(Encoder, "convert", convert)
    monkeypatch.setattr(torch, "from_numpy", lambda array: from_numpy(array).as_subclass(_OnMetal))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Collect the shapes of what reaches a vision tower."""
    seen: list[tuple[int, ...]] = []
    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: (
            seen.append(tuple(inputs[0].shape)) if isinstance(module, open_clip.transformer.VisionTransformer) else None
        )
    )
    yield seen
    handle.remove()


@pytest.mark.usefixtures("fake_metal")
def test_batches_on_metal_have_one_shape_and_the_same_vectors(
    vit: str, encoder: Encoder, shapes: list[tuple[int, ...]]
) -> None:
    """A short last batch is padded, for each new shape costs Metal memory; the padding is not seen outside."""
    on_metal = load(vit, "mps")
    assert on_metal.device.type == "mps"
    pixels = noise(encoder, 8)
    shapes.clear()
    for count in (8, 3, 1):
        vectors = on_metal.encode_images(pixels[:count], pad_to=8)
        np.testing.assert_allclose(vectors, encoder.encode_images(pixels)[:count], atol=1e-6)
    assert set(shapes) == {(8, 3, 64, 64)}


def test_batches_on_the_cpu_are_not_padded(encoder: Encoder, shapes: list[tuple[int, ...]]) -> None:
    """Where a new shape costs nothing, no picture is computed in vain."""
    encoder.encode_images(noise(encoder, 3), pad_to=8)
    assert shapes == [(3, 3, 64, 64)]


@pytest.mark.usefixtures("fake_metal")
def test_a_device_that_agrees_with_the_cpu_is_used(vit: str, caplog: pytest.LogCaptureFixture) -> None:
    """The self-test lets a true device pass."""
    assert load(vit, "mps").device.type == "mps"
    assert caplog.text == ""


def _as_is(pixels: Pixels) -> Pixels:
    return pixels


def _swap_red_and_blue(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[..., ::-1])


def _swap_axes(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels.swapaxes(1, 2))


def _spoil_the_last(vectors: Vectors) -> Vectors:
    return np.concatenate([vectors[:-1], -vectors[-1:]])


def _tilt(vectors: Vectors) -> Vectors:
    """Turn each vector until its cosine to what it was is 0.997."""
    aside = np.roll(vectors, 1, axis=1)
    aside -= (aside * vectors).sum(axis=1, keepdims=True) * vectors
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return np.asarray(0.997 * vectors + np.sqrt(1 - 0.997**2) * aside, np.float32)


@pytest.fixture
def break_metal(fake_metal: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes Metal see other pixels than it is given, or return other vectors."""
    encode = Encoder.encode_images

    def change(see: Callable[[Pixels], Pixels], give: Callable[[Vectors], Vectors]) -> None:
        def encode_images(self: Encoder, pixels: Pixels, pad_to: int = 0) -> Vectors:
            if self.device.type != "mps":
                return encode(self, pixels, pad_to)
            return give(encode(self, see(pixels), pad_to))

        monkeypatch.setattr(Encoder, "encode_images", encode_images)

    return change


@pytest.mark.parametrize(
    ("see", "give"),
    [
        (_as_is, lambda vectors: -vectors),
        (_as_is, lambda vectors: vectors * np.nan),
        (_as_is, lambda vectors: np.roll(vectors, 1, axis=1)),
        (_as_is, _tilt),
        (_as_is, _spoil_the_last),
        (_swap_red_and_blue, _as_is),
        (_swap_axes, _as_is),
    ],
    ids=["opposite", "no numbers", "shifted", "tilted", "one of several", "red and blue", "axes"],
)
def test_a_device_that_computes_something_else_is_not_used(
    break_metal: Callable[..., None],
    vit: str,
    caplog: pytest.LogCaptureFixture,
    see: Callable[[Pixels], Pixels],
    give: Callable[[Vectors], Vectors],
) -> None:
    """One vector that differs from the CPU's, or is no number, puts the device out of use, and a warning says so."""
    break_metal(see, give)
    encoder = load(vit, "mps")
    assert encoder.device.type == "cpu"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Not using float32 on mps, which fails the self-test" in record.getMessage()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it in /proc")
@pytest.mark.parametrize(("precision", "is_mapped"), [(Precision.FP32, True), (Precision.BF16, False)])
def test_weights_are_in_memory_once(tmp_path: Path, encoder: Encoder, precision: Precision, is_mapped: bool) -> None:
    """They are mapped, or the converted image tower is there and no more; a text gets its vector all the same."""
    directory = save_small_vit(tmp_path / "own", {})
    loaded = load(f"local-dir:{directory}", precision=precision)
    assert (str(directory) in Path("/proc/self/maps").read_text()) is is_mapped
    assert (loaded.encode_texts(TEXTS) * encoder.encode_texts(TEXTS)).sum(axis=1).min() >= 0.9999


def test_bfloat16_may_differ_more_than_float32(
    break_metal: Callable[..., None], vit: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cosine of 0.997 is what its rounding may cost, and too little for a format that rounds less."""
    break_metal(_as_is, _tilt)
    assert load(vit, "mps", Precision.BF16).device.type == "mps"
    assert caplog.text == ""
    assert load(vit, "mps", Precision.FP16).device.type == "cpu"
    assert "Not using float16 on mps" in caplog.text


def test_a_device_that_raises_is_not_used(
    vit: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver that refuses costs speed and no run; what is computed then is the CPU's."""

    def refuse(self: Encoder, device: torch.device, dtype: torch.dtype) -> None:
        raise RuntimeError("MPS backend out of memory\nmore of it")

    monkeypatch.setattr(Encoder, "convert", refuse)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    on_cpu = load(vit, "mps")
    assert on_cpu.device.type == "cpu"
    assert "Not using float32 on mps, which fails the self-test (MPS backend out of memory)" in caplog.text
    pixels = noise(encoder, 2)
    np.testing.assert_allclose(on_cpu.encode_images(pixels), encoder.encode_images(pixels), atol=1e-5)


def test_a_batch_too_large_for_a_gpu_is_computed_in_parts(
    vit: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory that others take, or a batch size too bold, costs speed; what fitted once is tried first next time."""
    asked: list[int] = []
    encode_image = open_clip.model.CLIP.encode_image
    small, pixels = load(vit), noise(encoder, 5)
    expected = encoder.encode_images(pixels)

    def short_of_memory(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        asked.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore of it")
        features: torch.Tensor = encode_image(model, batch)
        return features

    monkeypatch.setattr(open_clip.model.CLIP, "encode_image", short_of_memory)
    for _ in range(2):
        np.testing.assert_allclose(small.encode_images(pixels), expected, atol=1e-6)
    assert asked == [5, 2, 2, 1, 2, 2, 1]
    assert caplog.text.count("Only 2 pictures at once from now on: CUDA out of memory. Tried to allocate 2 GiB\n") == 1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_gpu_that_computes_nothing_is_no_fault_of_the_pictures(
    vit: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """The child has to end then, and what the CPU raises stays what it is."""
    broken = load(vit)

    def fail(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        raise error("CUDA error: unspecified launch failure")

    monkeypatch.setattr(open_clip.model.CLIP, "encode_image", fail)
    with pytest.raises(RuntimeError) as on_cpu:
        broken.encode_images(noise(encoder, 2))
    assert isinstance(on_cpu.value, DeviceFailed) == (error is torch.OutOfMemoryError)
    broken.device = torch.device("meta")
    with pytest.raises(DeviceFailed, match=r"launch failure|meta"):
        broken.encode_images(noise(encoder, 2))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bool], None]:
    """Return a function that makes this machine one with so many GPUs, and with or without Metal."""

    def make(gpus: int, metal: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: metal)

    return make


@pytest.mark.parametrize(
    ("gpus", "metal", "wanted", "chosen"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (1, False, "auto", "cuda"),
        (1, True, "auto", "cuda"),
        (2, False, "cuda:1", "cuda:1"),
        (2, False, "cuda", "cuda"),
        (2, True, "cpu", "cpu"),
        (0, True, "mps", "mps"),
    ],
)
def test_device_is_the_one_asked_for_or_the_best_there_is(
    machine: Callable[[int, bool], None], gpus: int, metal: bool, wanted: str, chosen: str
) -> None:
    """`auto` prefers CUDA to Metal to the CPU; a named device is taken."""
    machine(gpus, metal)
    assert choose_device(wanted) == torch.device(chosen)


@pytest.mark.parametrize(
    ("gpus", "wanted"), [(0, "cuda"), (1, "cuda:1"), (1, "mps"), (1, "cpu:3"), (1, "meta"), (1, "gpu"), (1, "")]
)
def test_a_device_that_is_not_there_is_wrong_use(machine: Callable[[int, bool], None], gpus: int, wanted: str) -> None:
    """The message says which devices there are."""
    machine(gpus, False)
    with pytest.raises(UsageError, match="--device takes one of: auto, " + ("cuda, cpu" if gpus else "cpu")):
        choose_device(wanted)


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        ("flags : sse2 avx512f avx512_bf16 avx512_vnni", torch.bfloat16),
        ("flags : amx_tile amx_bf16", torch.bfloat16),
        ("Features : fp asimd bf16 i8mm", torch.bfloat16),
        ("flags : sse2 avx512f avx512_vnni", torch.float32),
        ("Features : fp asimd ebf16", torch.float32),
        (None, torch.float32),
    ],
)
def test_bfloat16_is_taken_by_itself_only_where_the_cpu_multiplies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str | None, chosen: torch.dtype
) -> None:
    """Elsewhere it would be emulated, which is slower than float32; who asks for a format gets it."""
    facts = tmp_path / "cpuinfo"
    if flags is not None:
        facts.write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr("image_index.machine.CPU_FACTS", facts)
    assert choose_dtype(Precision.AUTO, torch.device("cpu")) is chosen
    assert choose_dtype(Precision.FP32, torch.device("cpu")) is torch.float32
    assert choose_dtype(Precision.BF16, torch.device("cpu")) is torch.bfloat16
    assert choose_dtype(Precision.FP16, torch.device("cpu")) is torch.float16


@pytest.mark.parametrize(("native", "chosen"), [(True, torch.bfloat16), (False, torch.float16)])
def test_gpus_compute_in_sixteen_bits(monkeypatch: pytest.MonkeyPatch, native: bool, chosen: torch.dtype) -> None:
    """An older GPU has float16 alone; on Metal nothing is assumed."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    assert choose_dtype(Precision.AUTO, torch.device("cuda")) is chosen
    assert choose_dtype(Precision.AUTO, torch.device("mps")) is torch.float32


# Measured with AVX512-BF16, photos and drawings: 0.9974 and 0.9987 for `starter`, twice 0.99998 for the ViT. Another
# CPU adds up in another order: that moves single pictures, and a mean by much less than what the bound leaves.
@pytest.mark.parametrize(("name", "least"), [("starter", 0.995), ("vit", 0.9998)])
def test_bfloat16_gives_nearly_the_vectors_of_float32(
    vit: str, photos: list[Path], caplog: pytest.LogCaptureFixture, name: str, least: float
) -> None:
    """Half the bits cost little of the cosine, for drawings as for photos, and the self-test lets them pass."""
    chosen = vit if name == "vit" else name
    exact, fast = load(chosen), load(chosen, precision=Precision.BF16)
    assert caplog.text == ""
    for pixels in (photo_pixels(exact, photos), drawn_pixels(exact, 4)):
        expected, got = exact.encode_images(pixels), fast.encode_images(pixels)
        assert not np.array_equal(got, expected)
        assert float((got * expected).sum(axis=1).mean()) >= least


def test_bfloat16_leaves_texts_alone(vit: str) -> None:
    """The text tower stays in float32, so that every index is asked with the same vectors."""
    exact, fast = load(vit), load(vit, precision=Precision.BF16)
    np.testing.assert_array_equal(fast.encode_texts(TEXTS), exact.encode_texts(TEXTS))


def test_a_number_format_that_computes_something_else_is_not_used(
    vit: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The self-test is for formats as for devices; what is used then is float32, untouched by the try."""
    convert = Encoder.convert

    def lossy(self: Encoder, device: torch.device, dtype: torch.dtype) -> None:
        convert(self, device, dtype)
        self._mean = self._mean + 1

    monkeypatch.setattr(Encoder, "convert", lossy)
    fallen_back = load(vit, precision=Precision.BF16)
    assert "Not using bfloat16 on cpu, which fails the self-test" in caplog.text
    pixels = noise(encoder, 2)
    np.testing.assert_allclose(fallen_back.encode_images(pixels), encoder.encode_images(pixels), atol=1e-5)


@pytest.mark.parametrize(("name", "shown"), [("starter", "starter"), ("local-dir:{}", "local-dir:{}")])
def test_loading_is_logged_with_model_and_device(
    vit: str, caplog: pytest.LogCaptureFixture, name: str, shown: str
) -> None:
    """The log says what is loaded where, before it takes its time."""
    caplog.set_level(logging.INFO, "image_index.worker")
    directory = vit.removeprefix("local-dir:")
    load(name.format(directory))
    messages = [record.getMessage() for record in caplog.records if record.name == "image_index.worker"]
    assert messages == [f"Loading OpenCLIP model {shown.format(directory)} on cpu"]


@pytest.mark.parametrize("junk", [b"", b"not safetensors at all", os.urandom(4096)], ids=["empty", "text", "noise"])
def test_junk_in_place_of_weights_is_a_model_that_cannot_be_had(tmp_path: Path, junk: bytes) -> None:
    """Whatever open_clip makes of the file, one line names the model and the cause."""
    directory = save_small_vit(tmp_path / "junk", {})
    (directory / "open_clip_model.safetensors").write_bytes(junk)
    with pytest.raises(ModelUnavailable) as caught:
        load(f"local-dir:{directory}")
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_a_model_that_cannot_be_had(tmp_path: Path) -> None:
    """A configuration that does not fit its weights is refused before anything is embedded."""
    directory = save_small_vit(tmp_path / "other", {})
    config = json.loads((directory / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 96
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match=r"^cannot load the model local-dir:[^\n]*$"):
        load(f"local-dir:{directory}")


def test_a_configuration_open_clip_cannot_use_is_a_model_that_cannot_be_had(tmp_path: Path) -> None:
    """A config that lacks what every model has is no crash."""
    directory = save_small_vit(tmp_path / "other", {})
    (directory / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(ModelUnavailable, match=r"^cannot load the model local-dir:[^\n]*$"):
        load(f"local-dir:{directory}")


def test_two_directories_with_the_same_model_have_one_fingerprint(tmp_path: Path, encoder: Encoder) -> None:
    """A model that moved is the same model; its name is not part of what it is."""
    copy = load(f"local-dir:{save_small_vit(tmp_path / 'copy', {})}")
    assert copy.facts.name != encoder.facts.name
    assert copy.facts.fingerprint == encoder.facts.fingerprint


@pytest.mark.parametrize(
    ("preprocess", "seed"), [({}, 1), (OTHERWISE, 0), ({"mean": [0.1, 0.2, 0.3]}, 0), ({"resize_mode": "squash"}, 0)]
)
def test_another_model_has_another_fingerprint(
    tmp_path: Path, encoder: Encoder, preprocess: dict[str, Any], seed: int
) -> None:
    """Other weights, or the same ones behind another preprocessing, give other vectors and another fingerprint."""
    other = load(f"local-dir:{save_small_vit(tmp_path / 'other', preprocess, seed)}")
    assert other.facts.fingerprint != encoder.facts.fingerprint


FACTS = ModelFacts("name", "0" * 64, '{"embed_dim": 3}', Preprocess((8, 8), (0, 0, 0), (1, 1, 1)), 3)


OTHER_PREPROCESS: dict[str, Any] = {
    "size": (8, 9),
    "mean": (0, 0, 0.5),
    "std": (1, 1, 2),
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "fill_color": 1,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"weights_sha256": "1" * 64},
        {"config": '{"embed_dim": 4}'},
        {"dim": 4},
        *({"preprocess": replace(FACTS.preprocess, **{field: value})} for field, value in OTHER_PREPROCESS.items()),
    ],
    ids=str,
)
def test_fingerprint_changes_with_everything_that_decides_a_vector(changes: dict[str, Any]) -> None:
    """Weights, configuration, preprocessing and dimension each make another model."""
    assert replace(FACTS, **changes).fingerprint != FACTS.fingerprint


def test_fingerprint_does_not_depend_on_name_or_spelling() -> None:
    """The name and the order and spacing of a configuration's keys decide no vector."""
    config = '{"a": 1, "b": [2]}'
    facts = replace(FACTS, config=config)
    assert replace(facts, name="other").fingerprint == facts.fingerprint
    assert replace(facts, config='{"b":[2],"a":1}').fingerprint == facts.fingerprint


def test_facts_round_trip_through_the_catalog(tmp_path: Path, pair: Pair) -> None:
    """What a catalog says of its model is what the encoder said, fingerprint included."""
    with Catalog(tmp_path / "catalog.sqlite3", write=True) as catalog:
        catalog.set_model(pair.ours.facts)
        stored = catalog.read_model()
        assert stored == pair.ours.facts
        assert stored.fingerprint == pair.ours.facts.fingerprint


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it in /proc")
def test_memory_in_use_is_the_most_that_linux_has_seen(encoder: Encoder) -> None:
    """In bytes, to a hundredth."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    assert encoder.memory_bytes() == pytest.approx(1024 * int(line.split()[1]), rel=0.01)
