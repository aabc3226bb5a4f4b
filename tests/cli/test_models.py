"""`imgidx models` as users and scripts run it."""

from __future__ import annotations

from tests.support.shell import Done, Shell


def test_models_lists_the_bundled_one_first(shell: Shell) -> None:
    """`imgidx models` works with no network and no cache."""
    done = shell.run("models", "--json")
    assert (done.code, done.err) == (0, "")
    assert list(done.records[0]) == ["name", "kind", "dim", "size_mb", "licence", "note"]
    assert (done.records[0]["name"], done.records[0]["kind"]) == ("starter", "bundled")
    assert b"starter" in shell.run("models").out


def test_fetching_what_is_there_says_where(shell: Shell) -> None:
    """The bundled model needs no network; --quiet says nothing."""
    done = shell.run("models", "fetch", "starter")
    assert (done.code, done.out) == (0, b"")
    assert done.err.startswith("starter: ")
    assert shell.run("models", "fetch", "starter", "--quiet") == Done(0, b"", "")


def test_a_fetch_that_cannot_be_made_is_exit_6(shell: Shell) -> None:
    """Offline there is nothing to fetch from."""
    done = shell.spawn("models", "fetch", "ViT-B-32")  # the hub's client reads the environment once
    assert done.code == 6
    assert "ViT-B-32/laion2b_s34b_b79k" in done.complaint
