"""The layers: who may import whom, and what a command has loaded when it is done."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "image_index"

LEAVES = {
    "errors": set[str](),
    "records": set[str](),
    "formats": set[str](),
    "paths": set[str](),
    "disk": set[str](),
    "stop": set[str](),
    "channel": set[str](),
    "settings": {"errors"},
    "lock": {"errors"},
    "scan": {"errors", "formats", "paths", "records"},
    "plan": {"paths", "records"},
    "read": {"errors", "records"},
    "wholeness": set[str](),
    "exif": set[str](),
    "phash": set[str](),
    "decode": {"errors", "exif", "formats", "phash", "read", "records", "wholeness"},
    "devices": set[str](),
    "thumbnails": {"decode", "devices", "errors", "read", "records"},
    "work_queue": {"records"},
    "schema": {"errors"},
    "catalog_reader": {"paths", "records", "schema"},
    "dates": {"errors"},
    "filters": {"paths"},
    "selection": {"dates", "errors", "filters", "formats", "paths"},
    "catalog_pictures": {"catalog_reader", "filters", "paths", "records", "schema"},
    "account": {"catalog_pictures", "paths", "records"},
    "query_memory": {"catalog_pictures", "records", "schema"},
    "catalog": {"paths", "query_memory", "records", "schema"},
    "faiss_file": {"disk", "errors", "records"},
    "faiss_index": {"faiss_file", "records"},
    "moments": {"faiss_file", "records"},
    "near_hashes": set[str](),
    "ivf_training": {"records"},
    "faiss_build": {"faiss_file", "ivf_training", "records"},
    "registry": {"errors"},
    "hub": {"errors"},
    "models": {"errors", "hub", "registry"},
    "messages": {"devices", "models", "records"},
    "terms": {"errors"},
    "query_lines": {"errors", "terms"},
    "labels": {"errors", "records"},
    "text_tokens": set[str](),
    "text_files": {"disk", "errors"},
    "text_tower": {"records", "text_files", "text_tokens"},
    "text_export": {"records", "text_files", "text_tokens", "text_tower"},
    "encoder": {"devices", "errors", "models", "records", "text_export"},
    "embed": {"decode", "errors", "messages", "read", "records"},
    "worker": {"channel", "decode", "embed", "encoder", "errors", "messages", "models", "records"},
    "child": {"channel", "devices", "messages", "records", "worker"},
    "pool": {"channel", "child", "devices", "errors", "messages", "records", "work_queue", "worker"},
}
"""Which of our own modules each module below the composers may import."""

HEAVY = {"torch", "open_clip", "faiss", "onnxruntime"}


def modules() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def own_imports(path: Path) -> set[str]:
    """Return the modules of our own that a module imports, anywhere in it, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "image_index":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("image_index."):
            found.add(node.module.removeprefix("image_index."))
    return found


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_a_module_imports_only_what_its_layer_allows(name: str) -> None:
    """Data flows one way."""
    assert own_imports(PACKAGE / f"{name}.py") <= LEAVES[name]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nobody_but_the_command_line_imports_the_command_line(path: Path) -> None:
    """The library does not know its command line."""
    if path.parent.name != "cli" and path.name != "__main__.py":
        assert not {name for name in own_imports(path) if name.startswith("cli")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_stay_small(path: Path) -> None:
    """A module that needs 300 lines is two."""
    assert path.read_text(encoding="utf-8").count("\n") <= 300


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_below_the_command_line_prints_or_exits(path: Path) -> None:
    """Library code raises and returns."""
    names = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    if path.parent.name != "cli" and path.name != "progress.py":
        assert not names & {"print", "exit"}


def loaded_by(*arguments: str, index: Path) -> set[str]:
    """Return the heavy libraries that a command has imported in its own process by its end."""
    code = (
        "import sys\n"
        "from image_index.cli.app import run\n"
        "code = run(sys.argv[1:])\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    environment = {"IMGIDX_INDEX": str(index), "PATH": "/usr/bin:/bin", "HOME": str(index.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=PACKAGE.parent,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return set(done.stderr.rpartition("LOADED")[2].split())


def test_no_command_loads_torch_in_its_own_process(tmp_path: Path, sample_photos: Path) -> None:
    """torch lives in the children alone, and faiss and torch never meet."""
    index = tmp_path / "index"
    assert "torch" not in loaded_by("train", str(sample_photos / "coffee.png"), "--model", "starter", "-q", index=index)
    first = loaded_by("search", "a cup of coffee", index=index)
    assert first & HEAVY == {"faiss", "onnxruntime"}
    assert not first & {"multiprocessing", "huggingface_hub", "pathspec", "ftfy", "regex", "onnx"}
    assert loaded_by("search", "a cup of coffee", index=index) & HEAVY == {"faiss"}  # it is remembered
    assert loaded_by("search", "un caf\u00e9", index=index) & HEAVY == {"faiss", "onnxruntime"}
    assert not loaded_by("search", "--image", str(sample_photos / "coffee.png"), index=index) & (HEAVY - {"faiss"})
    assert not loaded_by("dupes", index=index) & (HEAVY - {"faiss"})
    exported = loaded_by("export", str(tmp_path / "exported"), index=index)
    assert not exported & ((HEAVY - {"faiss"}) | {"pyarrow"})


@pytest.mark.parametrize(
    "arguments",
    [("--help",), *((command, "--help") for command in ("train", "search", "failures", "dupes", "tag", "doctor"))],
)
def test_help_loads_nothing_heavy(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Help comes at once."""
    assert not loaded_by(*arguments, index=tmp_path) & (HEAVY | {"PIL", "numpy", "sqlite3"})


def test_the_list_of_models_loads_nothing_heavy(tmp_path: Path) -> None:
    """Models are known by a registry of ours, without open_clip."""
    assert not loaded_by("models", index=tmp_path) & HEAVY


def test_status_loads_nothing_heavy(tmp_path: Path, sample_photos: Path) -> None:
    """Status reads SQLite, and no more; what is known of a picture stands there too."""
    index = tmp_path / "index"
    loaded_by("train", str(sample_photos / "coffee.png"), "--model", "starter", "-q", index=index)
    assert not loaded_by("status", index=index) & HEAVY
    assert not loaded_by("show", str(sample_photos / "coffee.png"), index=index) & (HEAVY | {"PIL"})
