"""Texts as people search for, as vectors of an index's own model: what a search of inverted lists is tuned with.

The vectors of texts lie far from those of pictures, in a way that is each model's own; made-up ones tell too little.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from image_index.catalog.reader import CatalogReader
from image_index.models.text_tower import open_text_tower
from image_index.records import Vectors
from image_index.settings import IndexHome

# fmt: off
SUBJECTS = (
    "a dog", "a cat", "two children", "a woman", "an old man", "a bird", "a horse", "a red car", "a bicycle", "a boat",
    "a plate of food", "a birthday cake", "flowers", "a tree", "a mountain", "a church", "an old house", "a bridge",
    "a screenshot", "a document with text", "a map", "a cup of coffee", "musical instruments", "people dancing",
)
# fmt: on
SETTINGS = ("{}", "{} on the beach", "{} in the snow", "a black and white photo of {}", "{} at night")


def sample_queries(catalog: CatalogReader, home: IndexHome) -> Vectors | None:
    """Return the vectors (Q, D) of common texts, or None where the model has no text tower that can be used."""
    model = catalog.read_model()
    tower = open_text_tower(home.towers, model.fingerprint) if model else None
    if tower is None:
        return None
    encoded = (tower.encode(setting.format(subject)) for subject, setting in product(SUBJECTS, SETTINGS))
    found = [vector for vector in encoded if vector is not None]
    return np.stack(found) if found else None
