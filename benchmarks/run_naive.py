"""The loop of open_clip's README over a directory; prints what it did as JSON. Run by `end_to_end.py` and `gpu.py`.

One process: Pillow opens a picture, open_clip's own transform prepares it, 32 at a time go through the model in fp32.
It knows nothing of imgidx.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

# The loop does not need it and does not install it; where our tests have, open_clip would import it for 0.9 s.
sys.modules["transformers"] = None  # type: ignore[assignment]

import open_clip  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

BATCH_SIZE = 32


def main() -> None:
    """Embed every picture once, and drop the vectors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("architecture")
    parser.add_argument("--pretrained")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    model, _, preprocess = open_clip.create_model_and_transforms(
        arguments.architecture, pretrained=arguments.pretrained, device=arguments.device
    )
    model.eval()
    embedded, decode_s, forward_s = 0, 0.0, 0.0
    photos = sorted(arguments.photos.iterdir())
    start = time.perf_counter()
    for position in range(0, len(photos), BATCH_SIZE):
        begun = time.perf_counter()
        pixels = torch.stack([preprocess(Image.open(path)) for path in photos[position : position + BATCH_SIZE]])
        prepared = time.perf_counter()
        with torch.no_grad():
            features = model.encode_image(pixels.to(arguments.device))
            features /= features.norm(dim=-1, keepdim=True)
            features = features.cpu()  # waits for the device
        embedded += len(features)
        decode_s += prepared - begun
        forward_s += time.perf_counter() - prepared
    record = {
        "embedded": embedded,
        "embedding_seconds": time.perf_counter() - start,
        "stage_seconds": {"read": 0.0, "decode": decode_s, "forward": forward_s},
    }
    json.dump(record, sys.stdout)


if __name__ == "__main__":
    main()
