"""The examples in the documents do what they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.console_examples import BLOCK, DOCUMENT, Examples, alike, check

REPOSITORY = Path(__file__).parents[1]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def examples(caltech: Path, tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Give a shell with an index of the photos that the documents speak of."""
    return Examples(caltech, tmp_path_factory.mktemp("examples"))


@pytest.mark.examples
def test_the_commands_print_what_the_document_shows(examples: Examples) -> None:
    """Every one of them; `python -m tests.support.console_examples PHOTOS` refreshes it."""
    assert BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert "\n".join(check(examples)) == ""


@pytest.mark.examples
def test_the_python_examples_run(examples: Examples, caltech: Path) -> None:
    """One after the other, in one process, as a reader would paste them: no `if __name__ == "__main__"` is needed."""
    text = (REPOSITORY / "docs/python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    script = examples.scratch / "example.py"
    script.write_text("\n".join(blocks).replace("/photos", str(caltech)), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "IMGIDX_INDEX": str(examples.scratch / "index")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=environment,
        cwd=examples.scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("0.45 3.5 /photos/a.jpg\n", "0.46 3.4 /photos/a.jpg\n", True),
        ("2024-01-01T10:00:00Z 3.5\n", "2026-11-24T12:41:23Z 3.5\n", True),
        ("0.45 /photos/a.jpg\n", "0.45 /photos/b.jpg\n", False),
        ("0.45 /photos/a.jpg\n", "0.75 /photos/a.jpg\n", False),
        ("4\n", "5\n", False),
        ("", "0.45\n", False),
    ],
)
def test_outputs_are_alike_up_to_what_processors_do(shown: str, printed: str, same: bool) -> None:
    """Numbers with a fraction may differ a little, dates by any amount, nothing else."""
    assert alike(shown, printed) == same
