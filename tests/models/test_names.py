"""A model is named, found where it lies, fetched when it is not there, and listed; the network only when it must."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import huggingface_hub.constants
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.factory import _find_checkpoint_in_dir
from open_clip.pretrained import download_pretrained, get_pretrained_cfg

from image_index.errors import ModelUnavailable, UsageError
from image_index.models import hub
from image_index.models.names import (
    DEFAULT_MODEL,
    PREFERRED_WEIGHTS,
    STARTER,
    digest_weights,
    ensure_model,
    fetch_model,
    locate_weights,
    parse_model,
    warn_of_assumption,
)
from image_index.models.registry import CHOICES, load_registry
from tests.support.fake_hub import FakeHub, put

REPO = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
TEXT_REPO = "timm/ViT-B-16-SigLIP2"
CONFIG = MappingProxyType({"model_cfg": {"embed_dim": 8, "text_cfg": {"hf_tokenizer_name": "org/words"}}})
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


pytestmark = pytest.mark.usefixtures("hf_home")


def make_directory(directory: Path, *, config: object = CONFIG, files: tuple[str, ...] = ()) -> Path:
    """Write a model's directory."""
    directory.mkdir(parents=True, exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config, default=dict)
    (directory / "open_clip_config.json").write_text(text)
    for name in files:
        (directory / name).write_bytes(name.encode())
    return directory


@pytest.mark.parametrize("text", ["starter", "hf-hub:org/name", "local-dir:/models/mine", DEFAULT_MODEL])
def test_canonical_name_means_itself(text: str) -> None:
    """A name read from an index is the name that was stored."""
    assert parse_model(text).name == text


def test_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index finds its model from any working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_model("local-dir:mine/../yours").architecture == f"local-dir:{tmp_path}/yours"
    assert parse_model("local-dir:~/mine").name == "local-dir:/home/me/mine"


def test_weights_trained_with_quickgelu_are_loaded_with_it() -> None:
    """OpenAI's weights keep the name a user gives and get the architecture they were trained in."""
    spec = parse_model("ViT-B-32/openai")
    assert (spec.name, spec.architecture, spec.pretrained) == ("ViT-B-32/openai", "ViT-B-32-quickgelu", "openai")


@pytest.mark.parametrize(
    "text", ["local-dir:", "hf-hub:", "hf-hub:name", "hf-hub:../etc/x", "hf-hub:a/b/c", "hf-hub:a/ü"]
)
def test_misspelt_place_is_refused_with_the_right_spelling(text: str) -> None:
    """A scheme without a usable place says how it is written."""
    with pytest.raises(UsageError, match="local-dir:PATH or hf-hub:ORG/NAME"):
        parse_model(text)


def test_a_directory_whose_name_is_no_text_is_wrong_use() -> None:
    """An index notes the name of its model as text."""
    assert parse_model("local-dir:/models/größer").name == "local-dir:/models/größer"
    with pytest.raises(UsageError, match="UTF-8"):
        parse_model(os.fsdecode(b"local-dir:/models/\xff"))


@pytest.mark.parametrize("choice", CHOICES)
def test_a_word_for_a_choice_means_a_model_by_its_own_name(choice: str) -> None:
    """What an index stores, and what messages say, is the model and not the word."""
    spec = parse_model(choice)
    assert spec == parse_model(spec.name)
    assert spec.name in load_registry()


@pytest.mark.usefixtures("no_network")
def test_starter_is_at_hand() -> None:
    """The bundled model needs neither cache nor network."""
    assert ensure_model(parse_model("starter"), quiet=True).parent == STARTER


def test_starter_is_the_one_whose_digests_are_shipped() -> None:
    """The bundled files are what SHA256SUMS says, in the format of sha256sum, and it names every one that decides."""
    lines = (STARTER / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    assert listed == {
        name: sha256((STARTER / name).read_bytes()).hexdigest()
        for name in ("open_clip_config.json", "open_clip_model.safetensors")
    }
    weights = ensure_model(parse_model("starter"), quiet=True)
    assert digest_weights(weights) == listed[weights.name]
    assert listed[weights.name] in (STARTER / "MODEL_CARD.md").read_text()


NAMES = (*PREFERRED_WEIGHTS, "a.bin", "b.safetensors", "c.pth", "a.safetensors", "notes.txt")


@given(st.sets(st.sampled_from(NAMES)))
@settings(max_examples=60, deadline=None)
def test_directory_gives_the_file_that_open_clip_takes(names: set[str]) -> None:
    """Among any files, ours is the choice of open_clip itself; where it takes none, the model is unavailable."""
    with tempfile.TemporaryDirectory() as place:
        directory = make_directory(Path(place), config={"model_cfg": {}}, files=tuple(names))
        theirs = _find_checkpoint_in_dir(directory)
        if theirs is None:
            with pytest.raises(ModelUnavailable, match="holds no weights"):
                locate_weights(parse_model(f"local-dir:{place}"))
        else:
            assert str(locate_weights(parse_model(f"local-dir:{place}"))) == theirs


@pytest.mark.parametrize(
    ("config", "files", "cause"),
    [
        (CONFIG, (), "holds no weights"),
        ("{", ("a.safetensors",), "is not JSON"),
        ("[]", ("a.safetensors",), "has no model_cfg"),
        ({"embed_dim": 8}, ("a.safetensors",), "has no model_cfg"),
        (CONFIG, ("a.safetensors",), "lacks the tokenizer's files"),
    ],
)
def test_directory_that_is_no_whole_model_is_refused(
    tmp_path: Path, config: object, files: tuple[str, ...], cause: str
) -> None:
    """What is wrong with a directory is said in one line that names it and what it must hold."""
    directory = make_directory(tmp_path / "mine", config=config, files=files)
    with pytest.raises(ModelUnavailable, match=cause) as refused:
        locate_weights(parse_model(f"local-dir:{directory}"))
    assert str(directory) in str(refused.value)
    assert "must hold open_clip_config.json" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_directory_or_config_is_named(tmp_path: Path) -> None:
    """A directory that is not there is told from one without a config."""
    with pytest.raises(ModelUnavailable, match=re.escape(f"{tmp_path}/none: No such file")):
        locate_weights(parse_model(f"local-dir:{tmp_path}/none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match=re.escape(f"{tmp_path}/empty/open_clip_config.json: No such file")):
        locate_weights(parse_model(f"local-dir:{tmp_path}/empty"))


def test_directory_with_weights_and_tokenizer_is_whole(tmp_path: Path) -> None:
    """A local model with a tokenizer of its own is taken when it brings it."""
    directory = make_directory(tmp_path, files=("a.safetensors", "tokenizer.json"))
    assert locate_weights(parse_model(f"local-dir:{directory}")) == directory / "a.safetensors"


@pytest.mark.parametrize(
    ("said", "unsaid"),
    [
        ({}, "mean and std"),
        ({"preprocess_cfg": None}, "mean and std"),
        ({"preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}, "std"),
        ({"preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, None),
    ],
    ids=str,
)
def test_a_model_that_does_not_say_how_colours_are_scaled_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: dict[str, object], unsaid: str | None
) -> None:
    """One line names the file, what it lacks, and what open_clip takes instead."""
    directory = make_directory(tmp_path, config={**CONFIG, **said}, files=("a.safetensors", "tokenizer.json"))
    warn_of_assumption(parse_model(f"local-dir:{directory}"))
    taken = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    if unsaid is None:
        assert not caplog.messages
    else:
        (line,) = caplog.messages
        assert line.startswith(f"{directory}/open_clip_config.json says nothing of {unsaid} in preprocess_cfg")
        assert all((f"{name} {values}" in line) == (name in unsaid) for name, values in taken.items())


def test_models_of_open_clip_itself_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """open_clip knows how their colours are scaled, and the bundled one says so."""
    for name in (DEFAULT_MODEL, "starter"):
        warn_of_assumption(parse_model(name))
    assert not caplog.messages


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("names", [("open_clip_model.safetensors",), ("open_clip_pytorch_model.bin",), ()])
def test_cached_weights_are_those_that_open_clip_loads_offline(
    hf_home: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """With any file in the cache, and with none, ours is the answer of open_clip itself."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in (*names, "README.md"):
        put(hf_home, REPO, name, name.encode())
    try:
        theirs = download_pretrained(get_pretrained_cfg(*DEFAULT_MODEL.split("/")), cache_dir=str(hf_home / "hub"))
    except FileNotFoundError:
        theirs = "None"
    assert str(locate_weights(parse_model(DEFAULT_MODEL))) == theirs


def test_safetensors_come_before_a_pickle(hf_home: Path) -> None:
    """Where the cache has both forms the safe one is taken, also under a name that is not the default."""
    for name in ("pytorch_model.bin", "pytorch_model.safetensors"):
        put(hf_home, "jienengchen/ViTamin-S", name)
    found = locate_weights(parse_model("ViTamin-S"))
    assert found is not None
    assert found.name == "pytorch_model.safetensors"


def test_model_without_its_tokenizer_is_not_there_yet(hf_home: Path) -> None:
    """A model that reads text with a tokenizer of the hub is whole only with it."""
    weights = put(hf_home, TEXT_REPO, "open_clip_model.safetensors")
    for name in TOKENIZER:
        assert locate_weights(parse_model("ViT-B-16-SigLIP2")) is None
        put(hf_home, TEXT_REPO, name, name.encode())
    assert locate_weights(parse_model("ViT-B-16-SigLIP2")) == weights


@pytest.mark.usefixtures("no_network")
def test_model_of_the_hub_needs_config_weights_and_tokenizer(hf_home: Path) -> None:
    """A whole hf-hub: model in the cache is found without the network; before that it is not there yet."""
    spec = parse_model("hf-hub:org/mine")
    weights = put(hf_home, "org/mine", "open_clip_model.safetensors")
    assert locate_weights(spec) is None
    put(hf_home, "org/mine", "open_clip_config.json", json.dumps(CONFIG, default=dict).encode())
    assert locate_weights(spec) is None
    for name in TOKENIZER:
        put(hf_home, "org/words", name, name.encode())
    assert ensure_model(spec, quiet=True) == weights


def test_digest_of_a_cached_file_is_its_blobs_name(hf_home: Path) -> None:
    """A large file in the hub's cache is not read again: its name is trusted, whatever it holds."""
    path = put(hf_home, REPO, "file", b"content")
    path.resolve().write_bytes(b"other content of the same name")
    assert digest_weights(path) == sha256(b"content").hexdigest()


def test_digest_is_not_the_name_in_a_store_behind_the_blobs(hf_home: Path) -> None:
    """Newer caches link blobs to a store that names files by another hash; the blob's own name counts, unread."""
    path = put(hf_home, REPO, "file", b"content")
    stored = hf_home / "hub" / "blobs" / ("a" * 64)
    stored.parent.mkdir()
    stored.write_bytes(b"other content of the same name")
    blob = path.resolve()
    blob.unlink()
    blob.symlink_to(stored)
    assert digest_weights(path) == sha256(b"content").hexdigest()


def test_digest_of_any_other_file_is_computed(hf_home: Path, tmp_path: Path) -> None:
    """Small files of the cache have another kind of name, and a local file may be called anything."""
    small = put(hf_home, REPO, "small", b"content")
    os.rename(small.resolve(), small.resolve().with_name("0" * 40))
    small.unlink()
    small.symlink_to(f"../../blobs/{'0' * 40}")
    local = tmp_path / ("b" * 64)
    local.write_bytes(b"content")
    assert digest_weights(small) == digest_weights(local) == sha256(b"content").hexdigest()


def test_digest_of_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    """Weights that vanish between finding and reading end the run as a model that is unavailable."""
    with pytest.raises(ModelUnavailable, match="No such file"):
        digest_weights(tmp_path / "gone")


def test_fetched_model_is_there_for_good(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched once is found the next time without a request, and offline."""
    fake.files[REPO, "open_clip_pytorch_model.bin"] = b"weights"
    spec = parse_model(DEFAULT_MODEL)
    fetched = fetch_model(spec, quiet=True)
    assert fetched.read_bytes() == b"weights"
    fake.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch_model(spec, quiet=True) == ensure_model(spec, quiet=True) == locate_weights(spec) == fetched
    assert fake.requests == []


def test_fetch_prefers_safetensors(fake: FakeHub) -> None:
    """Of two forms on the hub only the safe one is downloaded."""
    for name in ("open_clip_pytorch_model.bin", "open_clip_model.safetensors"):
        fake.files[REPO, name] = name.encode()
    assert fetch_model(parse_model(DEFAULT_MODEL), quiet=True).name == "open_clip_model.safetensors"
    assert not any("open_clip_pytorch_model.bin" in request for request in fake.requests)


def test_fetch_brings_config_and_tokenizer_too(fake: FakeHub) -> None:
    """After a fetch a model of the hub can be used offline, words included."""
    fake.files["org/mine", "open_clip_config.json"] = json.dumps(CONFIG, default=dict).encode()
    fake.files["org/mine", "open_clip_model.safetensors"] = b"weights"
    for name in (*TOKENIZER, "merges.txt"):
        fake.files["org/words", name] = name.encode()
    fetch_model(parse_model("hf-hub:org/mine"), quiet=True)
    assert all(hub.find_cached(repo, (name,)) for repo, name in fake.files)


def test_model_that_the_hub_has_in_parts_is_unavailable(fake: FakeHub) -> None:
    """Weights without their tokenizer are not taken for a model."""
    fake.files[TEXT_REPO, "open_clip_model.safetensors"] = b"weights"
    with pytest.raises(ModelUnavailable, match="only parts"):
        fetch_model(parse_model("ViT-B-16-SigLIP2"), quiet=True)


def test_repository_without_weights_is_unavailable(fake: FakeHub) -> None:
    """A repository that holds something else is named with the files that were looked for."""
    with pytest.raises(ModelUnavailable, match=r"org/mine holds no open_clip_config\.json"):
        fetch_model(parse_model("hf-hub:org/mine"), quiet=True)
    with pytest.raises(ModelUnavailable, match=rf"{REPO} holds no open_clip_model\.safetensors or"):
        fetch_model(parse_model(DEFAULT_MODEL), quiet=True)


def test_unavailable_model_ends_quickly_in_one_line_with_ways_out(hf_home: Path) -> None:
    """Without network and cache: the model, the cause and three ways out, in seconds, with no torch and no noise."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
    program = (
        "import sys\n"
        "from image_index.models import names\n"
        "try: names.ensure_model(names.parse_model(names.DEFAULT_MODEL), quiet=False)\n"
        "except names.ModelUnavailable as error: print(error)\n"
        "assert not {'torch', 'open_clip', 'numpy'} & sys.modules.keys()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_HOME": str(hf_home), "HF_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert run.stderr == ""
    (line,) = run.stdout.splitlines()
    for part in (DEFAULT_MODEL, "no connection", "imgidx models fetch", "HF_HOME", "--model starter"):
        assert part in line
    assert not hf_home.exists()
