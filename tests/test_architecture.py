"""The layers: who may import whom, and what a command has loaded when it is done."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from image_index.settings import IndexHome
from tests.support.library import Library

PACKAGE = Path(__file__).parents[1] / "image_index"

GROUND = (
    "errors",
    "records",
    "settings",
    "formats",
    "paths",
    "dates",
    "stop",
    "machine",
    "deadline",
    "dataless",
    "grid",
    "half",
    "words",
    "positions",
)
"""The modules of the ground floor: what everybody needs."""

ROOMS: dict[str, tuple[str, ...]] = {
    "ground": (),
    "files": (),
    "pictures": ("files",),
    "models": ("files",),
    "workers": ("files", "pictures", "models"),
    "cluster": ("files", "models", "workers"),
    "catalog": ("files", "models"),
    "vectors": ("files",),
    "training": ("files", "models", "workers", "catalog", "vectors"),
    "search": ("models", "workers", "catalog", "vectors"),
    "upkeep": ("files", "models", "cluster", "catalog", "vectors", "training"),
    "index": ("workers", "catalog", "search", "upkeep"),
    "present": ("files", "pictures", "models", "training", "search", "upkeep"),
    "service": (
        "files",
        "pictures",
        "models",
        "workers",
        "catalog",
        "training",
        "search",
        "upkeep",
        "index",
        "present",
    ),
    "cli": (
        "files",
        "models",
        "workers",
        "cluster",
        "catalog",
        "training",
        "search",
        "upkeep",
        "index",
        "present",
        "service",
    ),
}
"""Each room and the rooms that it may import, beside itself and the ground floor; it stands below all of them."""

HOMES = {
    "torch": ("workers.encoder", "workers.light_import", "models.mapped_weights", "models.tower_export"),
    "open_clip": ("workers.encoder", "models.tower_export"),
    "faiss": ("vectors",),
    "PIL": ("pictures",),
    "pillow_heif": ("pictures",),
    "rawpy": ("pictures",),
    "sqlite3": ("catalog",),
    "pathspec": ("files",),
    "huggingface_hub": ("models",),
    "onnx": ("models",),
    "onnxruntime": ("models",),
    "ftfy": ("models",),
    "tokenizers": ("models",),
    "regex": ("models",),
    "ray": ("cluster.rays",),
    "pyarrow": ("upkeep",),
    "platformdirs": ("settings",),
    "rich": ("present", "cli"),
    "chafa": ("present",),
    "fastapi": ("service",),
    "starlette": ("service",),
    "pydantic": ("service",),
    "uvicorn": ("service",),
    "prometheus_client": ("service",),
    "rq": ("service",),
    "redis": ("service",),
    "mcp": ("service.mcp_server", "service.mcp_tools"),
    "typer": ("cli",),
    "watchfiles": ("training.watch",),
}
"""Each library that is heavy, or that should be easy to exchange, and the rooms or modules that may import it."""

HEAVY = {"torch", "open_clip", "faiss", "onnxruntime"}


def modules() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the dotted name of a module without the package's: `workers.pool`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def room_of(name: str) -> str:
    """Return the room of a module; the package's own two, `__init__` and `__main__`, are front doors like `cli`."""
    first = name.partition(".")[0]
    if first in GROUND:
        return "ground"
    return "cli" if first in {"__init__", "__main__"} else first


def imports(path: Path) -> set[str]:
    """Return the dotted names that a module imports, also inside functions and for the type checker alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "image_index":
            names = {alias.name for alias in node.names}
            found |= {f"image_index.{name if name in {*ROOMS, *GROUND} else '__init__'}" for name in names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def arrows() -> set[tuple[str, str]]:
    """Return the pairs of different rooms of which the first imports the second."""
    found = set()
    for path in modules():
        own = {name.removeprefix("image_index.") for name in imports(path) if name.startswith("image_index.")}
        found |= {(room_of(module_name(path)), room_of(name)) for name in own}
    return {(here, there) for here, there in found if here != there}


def test_rooms_stand_in_order() -> None:
    """A room may import only rooms above it in the table: data flows one way, and there is no cycle."""
    names = list(ROOMS)
    for place, room in enumerate(names):
        assert {*ROOMS[room]} <= {*names[:place]}


def test_every_module_is_in_a_room() -> None:
    """A module that stands in the corridor belongs to the ground floor by name."""
    assert {room_of(module_name(path)) for path in modules()} == {*ROOMS}


def test_a_room_imports_only_what_the_table_names() -> None:
    """And what the table names is needed: neither more nor less."""
    named = {(room, other) for room, others in ROOMS.items() for other in others}
    assert {arrow for arrow in arrows() if arrow[1] != "ground"} == named


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_a_heavy_library_stays_in_its_home(path: Path) -> None:
    """So a command loads it only where it is needed, and it can be exchanged in one place."""
    name = module_name(path)
    for library in {imported.partition(".")[0] for imported in imports(path)} & HOMES.keys():
        assert any(name == home or name.startswith(f"{home}.") for home in HOMES[library]), library


@pytest.mark.parametrize("path", modules(), ids=module_name)
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
    """Return the modules that a command has imported in its own process by its end."""
    code = (
        "import sys\n"
        "from image_index.cli.app import run\n"
        "code = run(sys.argv[1:])\n"
        "print('LOADED', *sys.modules, file=sys.stderr)\n"
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


@pytest.mark.slow
def test_no_command_loads_torch_in_its_own_process(tmp_path: Path, sample_photos: Path) -> None:
    """torch lives in the children alone, and faiss and torch never meet."""
    index = tmp_path / "index"
    assert "torch" not in loaded_by("train", str(sample_photos / "coffee.png"), "--model", "starter", "-q", index=index)
    first = loaded_by("search", "a cup of coffee", index=index)
    assert first & HEAVY == {"onnxruntime"}  # FAISS serves large libraries alone
    assert not first & {"multiprocessing", "huggingface_hub", "pathspec", "ftfy", "regex", "onnx", "rich", "pydantic"}
    assert not loaded_by("search", "a cup of coffee", index=index) & HEAVY  # it is remembered
    assert loaded_by("search", "un caf\u00e9", index=index) & HEAVY == {"onnxruntime"}
    assert not loaded_by("search", "--image", str(sample_photos / "coffee.png"), index=index) & HEAVY
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


def test_status_loads_nothing_heavy(tmp_path: Path, home: IndexHome) -> None:
    """Status reads SQLite, and no more; what is known of a picture stands there too."""
    library = Library(tmp_path / "photos", home)
    library.add("a.png")
    library.train()
    status = loaded_by("status", index=home.path)
    assert not status & (
        HEAVY | {"fastapi", "starlette", "uvicorn", "rich", "pydantic", "image_index.training.pipeline"}
    )
    assert {name for name in status if name.startswith("image_index.cli.")} == {
        f"image_index.cli.{name}" for name in ("app", "options", "status")
    }
    assert not loaded_by("show", str(library.photos / "a.png"), index=home.path) & (HEAVY | {"PIL"})
