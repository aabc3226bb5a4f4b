"""The documents say what the program does: help, exit codes, JSON, tables, links."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from image_index import errors
from image_index.catalog.schema import open_database
from image_index.cli.app import COMMANDS, program, run
from image_index.formats import PICTURE_EXTENSIONS, RAW_EXTENSIONS
from image_index.models.listing import list_models
from image_index.present.doctor import Terminal, report_record
from image_index.present.groups import group_record
from image_index.present.hits import hit_record
from image_index.present.jsonl import json_line
from image_index.present.known import known_record
from image_index.present.models import model_record
from image_index.present.screen import Screen
from image_index.present.status import failure_record, status_record
from image_index.present.summary import exported_record, plan_record, summary_record
from image_index.present.tags import tagged_record
from image_index.records import (
    Counts,
    DerivedState,
    Failure,
    ImageFile,
    KnownFailure,
    KnownRun,
    Outcome,
    Root,
    Stage,
    Stamp,
    Summary,
)
from image_index.search.duplicates import Duplicate
from image_index.search.labels import Label, TaggedImage
from image_index.training.plan import Plan
from image_index.upkeep.doctor import EXTRAS, PACKAGES, Devices, Machine, ModelCache, Report
from image_index.upkeep.export import Exported
from image_index.upkeep.health import CatalogHealth, IndexHealth
from image_index.upkeep.known import KnownPicture, PictureState
from image_index.upkeep.status import IndexStatus
from tests.support.commands import parsed, simple_commands
from tests.support.fake_hub import hub_settings
from tests.support.records import hit, image_facts
from tests.test_architecture import ROOMS

FAILURE = KnownFailure(Failure(ImageFile(b"/a.png", 1, 1), Stage.DECODE, "why"), 1, 1, 1)
KNOWN = KnownPicture(b"/a.png", FAILURE.failure.file, PictureState.CHANGED, None, None, None, FAILURE, None, b"/", None)

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md")
    for path in REPOSITORY.glob(pattern)
    if not path.name.startswith(".")
)
GUIDES = [path for path in DOCUMENTS if path.parent.name != "decisions"]
REFERENCE = REPOSITORY / "docs/reference.md"


@pytest.fixture(scope="module")
def reference() -> str:
    """Return the reference's text."""
    return REFERENCE.read_text(encoding="utf-8")


def commands() -> dict[str, Any]:
    """Return every command of the program by what is typed for it; the program itself is ``""``."""
    found: dict[str, Any] = {"": typer.main.get_command(program())}
    for name, command in found.copy().items():
        found |= inner_commands(name, command)
    return found


def inner_commands(name: str, command: Any) -> dict[str, Any]:
    """Return the commands below a command."""
    found: dict[str, Any] = {}
    for word, inner in getattr(command, "commands", {}).items():
        path = f"{name} {word}".strip()
        found |= {path: inner, **inner_commands(path, inner)}
    return found


def help_block(reference: str, command: str) -> str:
    """Return the help of a command as the reference shows it."""
    marker = f"<!-- help: {command} -->" if command else "<!-- help: -->"
    return reference.partition(marker)[2].partition("<!-- end of help -->")[0]


def test_every_command_and_option_is_in_the_reference(reference: str) -> None:
    """No command goes undocumented, and no option of it."""
    assert {"", "train", "search", "status", "failures", "models", "models fetch"} <= set(commands())
    for name, command in commands().items():
        block = help_block(reference, name)
        assert block, name
        for option in (option for parameter in command.params for option in parameter.opts):
            assert not option.startswith("-") or option in block, f"{name} {option}"


def test_the_readme_tells_of_each_recommended_model_what_the_list_does(tmp_path: Path) -> None:
    """Costs, recall and licences stand in one place alone, and the README cannot drift from it."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = text.partition("<!-- models -->")[2].partition("<!-- end of models -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()[2:]]
    with hub_settings(tmp_path):  # of a model in the cache the list has the size of its file
        records = [model_record(one) for one in list_models() if one.about]
    assert rows == [readme_row(record) for record in records]


def readme_row(record: dict[str, Any]) -> list[str]:
    """Return what the README says of a model."""
    recall = record["recall_percent"] or {}
    return [
        ", ".join(f"`{choice}`" for choice in record["choices"]),
        f"`{record['name']}`",
        f"{record['size_mb']} MB" if record["size_mb"] else "",
        str(record["dim"] * 2),
        f"{record['relative_speed']:.2f}" if record["relative_speed"] else "",
        f"{record['memory_mb'] / 1000:.1f} GB" if record["memory_mb"] else "",
        *(f"{recall[language]} %" if recall else "" for language in ("en", "de")),
        record["languages"],
        record["licence"],
    ]


@pytest.mark.slow
def test_the_help_blocks_are_what_help_prints() -> None:
    """What the reference shows is what a user sees; `make docs` refreshes it."""
    tool = [sys.executable, str(REPOSITORY / "tools/write_reference.py"), "--check"]
    done = subprocess.run(tool, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_list_of_commands_is_whole_and_fits_its_lines() -> None:
    """Every command stands in one group, and its line in `imgidx --help` is not cut at 80 columns."""
    known = typer.main.get_command(program()).commands  # type: ignore[attr-defined]
    assert sorted(name for names in COMMANDS.values() for name in names) == sorted(known)
    tool, environment = [sys.executable, "-m", "image_index", "--help"], {**os.environ, "COLUMNS": "80"}
    shown = subprocess.run(tool, capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environment).stdout
    for heading, names in COMMANDS.items():
        section = shown.partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in section.splitlines()] == list(names)
        assert "..." not in section


def test_no_document_names_an_inner_room() -> None:
    """What a program of a user's may import can be had from the package itself."""
    public = {"image_index", "image_index.errors"}
    named = {
        (path.name, module)
        for path in DOCUMENTS
        if "decisions" not in path.parts
        for module in re.findall(r"(?:from|import) (image_index[\w.]*)", path.read_text(encoding="utf-8"))
    }
    assert {found for found in named if found[1] not in public} == set()


def test_every_exit_code_is_documented(reference: str) -> None:
    """The table of exit codes knows the outcomes and every error's code."""
    codes = {0, 1, 3} | {error.exit_code for error in all_errors() if error is not errors.Interrupted}
    text = reference.partition("## Exit codes")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (\S+) \|", text, re.MULTILINE)[1:] == [*map(str, sorted(codes)), "128+N"]


def all_errors() -> list[type[errors.ImgidxError]]:
    """Return every class of the error tree but its root, which is never raised."""
    tree = [errors.ImgidxError]
    for error in tree:
        tree += error.__subclasses__()
    return tree[1:]


def printed_records() -> dict[str, dict[str, Any]]:
    """Return a record of each kind of JSON that the program prints."""
    summary = Summary(excluded={"thumbnails": 3})
    run = KnownRun(1, 1, Outcome.DONE, summary=summary)
    return {
        "hit": hit_record(hit(1, 0.5, b"/a.png"), "a cat"),
        "group": group_record((Duplicate(image_facts(), 1.0, exact=True),)),
        "tagged": tagged_record(TaggedImage(image_facts(), (Label("cat", 0.5),))),
        "known": known_record(KNOWN),
        "export": exported_record(Exported(Path("/a"), "parquet", 1, 1, 4, gone=1, mark="a-b-1-1")),
        "summary": summary_record(summary),
        "preview": plan_record(Plan()),
        "status": status_record(IndexStatus(Counts(0, 0, 0), (Root(b"/a", 1, None),), None, 0, run)),
        "failure": failure_record(FAILURE),
        "model": model_record(list_models()[0]),
        "doctor": doctor_record(),
    }


def doctor_record() -> dict[str, Any]:
    """Return what `doctor --json` prints of an index that lacks its file of vectors."""
    states = (DerivedState.ABSENT, DerivedState.ABSENT, DerivedState.CURRENT, DerivedState.CURRENT)
    catalog = CatalogHealth(1, Counts(24, 0, 0), None, True, None, *states)
    index = IndexHealth(Path("/index"), True, True, 1, 10**12, None, catalog, None)
    packages: dict[str, str | None] = dict.fromkeys((*PACKAGES, "sqlite"), "1")
    extras, environment = dict.fromkeys(EXTRAS, True), {"HF_HUB_OFFLINE": "1"}
    machine = Machine("0", "3", "Linux", packages, extras, Devices(), 1, 1, environment)
    report = Report(machine, ModelCache(Path("/cache")), index)
    return report_record(report, Terminal(Screen(), None, None, "utf-8"))


@pytest.mark.parametrize("kind", printed_records())
def test_the_examples_of_json_have_the_keys_that_are_printed(reference: str, kind: str) -> None:
    """Keys are pinned by the reference, in their order, at every depth."""
    example = reference.partition(f"<!-- json: {kind} -->\n```json\n")[2].partition("\n```")[0]
    assert list(keys(json.loads(example))) == list(keys(json.loads(json_line(printed_records()[kind]))))


def keys(value: Any, above: str = "") -> Iterator[str]:
    """Yield the path of every key."""
    if isinstance(value, list):
        for item in value:
            yield from keys(item, f"{above}[]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"{above}.{key}"
            yield from keys(inner, f"{above}.{key}")


def test_every_table_and_column_of_the_catalog_is_in_the_reference(reference: str, tmp_path: Path) -> None:
    """The index format is documented down to the columns."""
    open_database(tmp_path / "catalog.sqlite3", write=True).close()
    connection = sqlite3.connect(tmp_path / "catalog.sqlite3")
    names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    names += " AND name NOT LIKE 'image_words_%'"  # FTS5's own
    tables = [name for (name,) in connection.execute(names)]
    assert tables
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", reference, re.MULTILINE))
    for table in tables:
        for column in connection.execute(f"PRAGMA table_info({table})").fetchall():
            assert f"`{column[1]}`" in rows[table], f"{table}.{column[1]}"
    connection.close()


@pytest.mark.parametrize("document", ["docs/guide.md", "docs/reference.md"])
def test_the_configuration_shown_can_be_used(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every command starts with it in place."""
    (example,) = re.findall(r"^```toml\n(.*?)^```$", (REPOSITORY / document).read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "config.toml").write_text(example, encoding="utf-8")
    monkeypatch.setenv("IMGIDX_CONFIG", str(tmp_path / "config.toml"))
    assert run(["models", "--json"]) == 0, capfd.readouterr().err


@pytest.mark.parametrize("document", ["docs/guide.md", "docs/reference.md"])
def test_the_configuration_shown_sets_options_that_exist(document: str) -> None:
    """A key that is no option of its command would be wrong use."""
    (example,) = re.findall(r"^```toml\n(.*?)^```$", (REPOSITORY / document).read_text(encoding="utf-8"), re.M | re.S)
    for command, keys_set in tables(tomllib.loads(example)).items():
        options = {option for parameter in commands()[command].params for option in parameter.opts}
        assert {f"--{key}" for key in keys_set} <= options, command


def tables(config: dict[str, Any], above: str = "") -> dict[str, set[str]]:
    """Return the keys of each table of a configuration file, by the command that it names."""
    inner = {key: value for key, value in config.items() if isinstance(value, dict)}
    found = {above: set(config) - set(inner)} if above else {}
    for key, value in inner.items():
        found |= tables(value, f"{above} {key}".strip())
    return found


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_our_parser_accepts_every_command_that_is_shown(document: str) -> None:
    """Its options exist and its values have the right form."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    lines = [line.partition("  # ")[0] for line in re.findall(r"^\$ (imgidx .*)$", text, re.MULTILINE)]
    shown = [command for line in lines for command in simple_commands(line)]
    assert len(shown) >= len(lines) > 5
    for command in shown:
        assert parsed(command) is not None, command


def test_every_make_target_that_is_named_exists() -> None:
    """In the workflows and in the documents."""
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    workflows = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / ".github/workflows").glob("*.yml"))
    named = set(" ".join(re.findall(r"run: make ([a-z ]+?) *(?:#.*)?$", workflows, re.MULTILINE)).split())
    named |= {name for names in re.findall(r"target: \[(.+)\]", workflows) for name in names.split(", ")}
    for path in DOCUMENTS:
        named |= set(re.findall(r"`make ([a-z]+)", path.read_text(encoding="utf-8")))
    assert {"lint", "unit", "faults", "coverage"} <= named
    assert named <= targets


def test_the_readme_fits_a_first_look() -> None:
    """Whatever a newcomer need not know in the first minutes stands in docs/."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert readme.count("\n") <= 150
    assert re.search(r"^!\[", readme, re.MULTILINE), "no picture"


def test_every_decision_is_in_the_index() -> None:
    """By its number, title and date."""
    directory = REPOSITORY / "docs/decisions"
    index = (directory / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d+)\]\((\S+)\) \| (.*?) \| (\S+) \| .+ \|$", index, re.MULTILINE)
    pages = []
    for path in sorted(directory.glob("[0-9]*.md")):
        title, _, date = path.read_text(encoding="utf-8").split("\n")[:3]
        number, _, name = title.removeprefix("# ").partition(": ")
        pages.append((number, path.name, name, date[:10]))
    assert rows == pages


def test_every_room_is_on_the_map() -> None:
    """The architecture knows every room, in order, and what each imports."""
    table = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8").partition("| room |")[2]
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*)\|", table.partition("\n## ")[0], re.MULTILINE)
    assert [room for room, _ in rows] == list(ROOMS)
    for room, imported in rows:
        assert imported.strip() in ("all", ", ".join(ROOMS[room])), room


def test_the_map_names_modules_that_exist() -> None:
    """Where a promise is kept can be looked up."""
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{'|'.join(ROOMS)})/\w+)`", text)
    assert named
    assert [name for name in named if not (REPOSITORY / f"image_index/{name}.py").exists()] == []


def test_every_test_that_holds_a_promise_exists() -> None:
    """Whoever doubts a promise finds its test."""
    table = (REPOSITORY / "docs/reliability.md").read_text(encoding="utf-8").partition("## Figures")[0]
    named = set(re.findall(r"`(\w+/test_\w+\.py)`", table))
    assert len(named) > 20
    assert {name for name in named if not (REPOSITORY / "tests" / name).exists()} == set()


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_no_guide_imports_from_an_inner_room(path: Path) -> None:
    """Users import from the package itself and from `image_index.errors`; the rooms may be rebuilt at any time."""
    dotted = re.findall(r"\bimage_index\.(\w+)", path.read_text(encoding="utf-8"))
    assert {name for name in dotted if name in ROOMS} == set()


def test_the_trailer_of_the_faiss_file_is_documented(reference: str) -> None:
    """The stamp's keys stand in the index format."""
    trailer = reference.partition("### index.faiss")[2]
    assert all(f"`{name}`" in trailer for name in Stamp.__dataclass_fields__)


def test_every_extension_is_documented(reference: str) -> None:
    """The lists of extensions are those of the scan."""
    text = reference.partition("## Which files are taken")[2].partition("A root that")[0]
    assert set(re.findall(r"\.[a-z0-9]+(?=[ `\n])", text)) == {
        extension.decode() for extension in PICTURE_EXTENSIONS | RAW_EXTENSIONS
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link resolves, and every fragment is a heading."""
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        file, _, fragment = target.partition("#")
        goal = path.parent / file if file else path
        assert goal.exists(), target
        if fragment:
            assert fragment in headings(goal), target


def headings(path: Path) -> set[str]:
    """Return the fragments of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
