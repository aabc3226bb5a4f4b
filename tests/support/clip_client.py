"""clip-retrieval's own client, as it is on PyPI, without the packages that its back end and its training need."""

from __future__ import annotations

import importlib.util
from importlib.metadata import distribution
from typing import Any


def clip_client() -> Any:
    """Return the module `clip_retrieval.clip_client`.

    The package's `__init__` imports the back end: torch, flask, autofaiss. So the module is loaded by its file.
    """
    path = str(distribution("clip-retrieval").locate_file("clip_retrieval/clip_client.py"))
    spec = importlib.util.spec_from_file_location("clip_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
