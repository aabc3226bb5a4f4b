"""`imgidx models` as users and scripts run it."""

from __future__ import annotations

import pytest

from image_index.models.names import DEFAULT_MODEL
from tests.support.shell import Done, Shell


def test_models_lists_what_is_recommended_and_all_the_rest(shell: Shell) -> None:
    """`imgidx models` works with no network and no cache."""
    done = shell.run("models", "--json")
    assert (done.code, done.err) == (0, "")
    keys = ("name", "choices", "kind", "dim", "size_mb", "relative_speed", "memory_mb", "recall_percent", "languages")
    assert list(done.records[0]) == [*keys, "licence", "note"]
    assert (done.records[0]["name"], done.records[0]["choices"]) == (DEFAULT_MODEL, ["fast", "default"])
    assert ("starter", "bundled") in {(one["name"], one["kind"]) for one in done.records}
    assert b"multilingual" in shell.run("models").out
    everything = shell.run("models", "--json", "--all").records
    assert everything[: len(done.records)] == list(done.records)
    assert len(everything) > 100


def test_fetching_what_is_there_says_where(shell: Shell) -> None:
    """The bundled model needs no network; --quiet says nothing."""
    done = shell.run("models", "fetch", "starter")
    assert (done.code, done.out) == (0, b"")
    assert done.err.startswith("starter: ")
    assert shell.run("models", "fetch", "starter", "--quiet") == Done(0, b"", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MobileCLIP2-S0", "AMLR, allows research only"),
        ("hf-hub:apple/DFN5B-CLIP-ViT-H-14-378", "AMLR, allows research only"),
        ("ViT-B-16/metaclip_400m", "CC-BY-NC-4.0, allows non-commercial use only"),
        ("ViT-B-32", None),
        ("hf-hub:somebody/a-model", None),
    ],
)
def test_a_fetch_warns_of_a_licence_with_a_limit(shell: Shell, name: str, said: str | None) -> None:
    """One line, before the download; none with --quiet, and none of a model that may be used for anything."""
    lines = shell.run("models", "fetch", name).err.splitlines()
    assert [line for line in lines if "licence" in line] == lines[:-1]
    assert len(lines) == (2 if said else 1)
    assert (said or "") in lines[0]
    assert len(shell.run("models", "fetch", name, "--quiet").err.splitlines()) == 1


def test_a_fetch_that_cannot_be_made_is_exit_6(shell: Shell) -> None:
    """Offline there is nothing to fetch from."""
    done = shell.spawn("models", "fetch", "ViT-B-32")  # the hub's client reads the environment once
    assert done.code == 6
    assert "ViT-B-32/laion2b_s34b_b79k" in done.complaint
