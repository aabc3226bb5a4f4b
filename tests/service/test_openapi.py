"""Another program reads the OpenAPI document and tries what it promises, and what it does not (schemathesis)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.served import TOKEN, listening, make_served

EXAMPLES = 20
"""How many requests are made up for each route and phase."""

NOT_CHECKED = "positive_data_acceptance"
"""That all is accepted that fits the schema: no schema knows which directories, dates and cursors make sense."""


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_the_document_is_true(tmp_path: Path) -> None:
    """No request leads to an answer that the document does not describe, and none that it forbids is taken."""
    home = make_served(tmp_path, copies={"red": ["red2"]})
    program = str(Path(sys.executable).with_name("schemathesis"))
    with listening(home) as address:
        parts = urlsplit(address)
        command = [program, "run", f"http://{parts.netloc}/openapi.json", "--exclude-checks", NOT_CHECKED]
        command += ["--header", f"Authorization: Bearer {TOKEN}", "--max-examples", str(EXAMPLES), "--seed", "1"]
        done = subprocess.run(
            command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=1100, check=False
        )
    assert done.returncode == 0, done.stdout[-20_000:]
