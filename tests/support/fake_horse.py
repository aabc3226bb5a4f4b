"""A training with a fake model behind it, in the work-horse of a queue's worker, which imports it by name."""

from __future__ import annotations

from functools import partial

from image_index.cli.worker import train_here as train_really
from image_index.workers import engine as engines
from image_index.workers.engine import Engine
from tests.support import fake_models


def fake_model() -> None:
    """Have trainings of this process load a fake model."""
    vars(engines)["Engine"] = partial(Engine, loader=fake_models.load)


def train_here(arguments: list[str], *, quiet: bool) -> int:
    """Train with a fake model."""
    fake_model()
    return train_really(arguments, quiet=quiet)
