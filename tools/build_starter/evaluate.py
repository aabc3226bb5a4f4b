"""The measurement: `python tools/build_starter/evaluate.py MODEL PHOTOS` searches photos sorted by category."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch import Tensor

BATCH = 32
TOP = 10


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos by category: the folder names, and for each photo its path and the number of its category, (N,) int64."""

    categories: list[str]
    paths: list[Path]
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares in [0, 1]: right ones among the first ten, first hits right, first neighbours of the same category."""

    precision_at_10: float
    first_hit_right: float
    first_neighbour_right: float


def main() -> None:
    """Print the scores of one model on one folder of photos."""
    parser = argparse.ArgumentParser(prog="evaluate", description="Measure a model on photos sorted by category.")
    parser.add_argument("model", type=Path, help="a directory with open_clip_config.json and weights")
    parser.add_argument("photos", type=Path, help="a directory with one sub-directory of photos for each category")
    options = parser.parse_args()
    scores = evaluate(options.model, find_photos(options.photos))
    print(f"text to picture, precision at 10:   {scores.precision_at_10:.1%}")
    print(f"text to picture, first hit right:   {scores.first_hit_right:.1%}")
    print(f"picture to picture, first neighbour {scores.first_neighbour_right:.1%}")


def find_photos(root: Path) -> Photos:
    """List the photos below `root`, whose sub-directories are the categories; all in sorted order."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    found = [(label, path) for label, folder in enumerate(folders) for path in sorted(folder.iterdir())]
    labels = torch.tensor([label for label, _ in found])
    return Photos([folder.name for folder in folders], [path for _, path in found], labels)


def query(category: str) -> str:
    """Return the text searched for: the folder's bare name, "car_side" as "car side", with no phrase around it."""
    return category.replace("_", " ")


@torch.inference_mode()
def evaluate(model_directory: Path, photos: Photos) -> Scores:
    """Search all photos for every category's name, then for every photo's nearest other photo."""
    name = f"local-dir:{model_directory}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    tokens = open_clip.get_tokenizer(name)([query(category) for category in photos.categories])
    texts = model.encode_text(tokens, normalize=True)
    batches = (torch.stack([transform(picture) for picture in batch]) for batch in _picture_batches(photos.paths))
    pictures = torch.cat([model.encode_image(batch, normalize=True) for batch in batches])
    return score(texts, pictures, photos.labels)


def score(texts: Tensor, pictures: Tensor, labels: Tensor) -> Scores:
    """Score unit vectors, of one text (C, D) for each category and of the pictures (N, D) with labels (N,)."""
    found = labels[(texts @ pictures.T).topk(TOP).indices]
    right = (found == torch.arange(len(texts)).unsqueeze(1)).float()
    similarities = (pictures @ pictures.T).fill_diagonal_(-torch.inf)
    same = (labels[similarities.argmax(1)] == labels).float()
    return Scores(right.mean().item(), right[:, 0].mean().item(), same.mean().item())


def _picture_batches(paths: list[Path]) -> Iterator[list[Image.Image]]:
    for start in range(0, len(paths), BATCH):
        yield [Image.open(path).convert("RGB") for path in paths[start : start + BATCH]]


if __name__ == "__main__":
    main()
