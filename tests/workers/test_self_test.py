"""The pictures of the self-test: such that whatever a device gets wrong shows."""

from __future__ import annotations

import numpy as np
import pytest

from image_index.workers.self_test import self_test_pictures


@pytest.mark.parametrize(("height", "width"), [(224, 224), (64, 64), (160, 256), (384, 378)])
def test_pictures_fit_any_model_and_are_the_same_every_time(height: int, width: int) -> None:
    """A child and its successor, and the CPU and the device, are asked about the same pixels."""
    pictures = self_test_pictures(height, width)
    assert pictures.dtype == np.uint8
    assert pictures.shape[1:] == (height, width, 3)
    np.testing.assert_array_equal(self_test_pictures(height, width), pictures)


def test_pictures_are_unlike_each_other() -> None:
    """No two of them agree in more than a tenth of their pixels, nor rise and fall together."""
    flat = self_test_pictures(224, 224).reshape(-1, 224 * 224 * 3).astype(float)
    assert len(flat) >= 3
    for first in range(len(flat)):
        for second in range(first):
            assert (flat[first] == flat[second]).mean() < 0.1
    assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).max() < 0.1


def test_pictures_hold_every_value_and_none_is_flat() -> None:
    """A kernel may be wrong for some values alone; a flat picture has no vector to speak of."""
    pictures = self_test_pictures(224, 224)
    assert len(np.unique(pictures)) == 256
    assert all(np.ptp(picture) > 200 for picture in pictures)


def test_an_order_that_is_lost_shows() -> None:
    """Some picture changes when its channels, its axes or its sides are swapped."""
    pictures = self_test_pictures(224, 224).astype(float)
    for changed in (pictures[..., ::-1], pictures.swapaxes(1, 2), pictures[:, ::-1], pictures[:, :, ::-1]):
        assert np.abs(pictures - changed).mean(axis=(1, 2, 3)).max() > 50
