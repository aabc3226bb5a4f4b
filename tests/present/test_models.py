"""The table of models."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from image_index.models.listing import list_models
from image_index.present.models import models_table
from image_index.present.screen import Screen


@pytest.mark.parametrize("width", [40, 80, 200])
def test_models_table_fits_the_width_and_names_every_model(width: int) -> None:
    """A narrow terminal folds what does not fit."""
    models = list_models(everything=True)
    shown = models_table(models, Screen(width=width, colour=False))
    assert all(cell_len(line) <= width for line in shown.splitlines())
    if width >= 200:
        assert all(model.name in shown for model in models)
