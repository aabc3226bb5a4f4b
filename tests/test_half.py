"""float16 numbers as float32, against numpy."""

from __future__ import annotations

import warnings

import numpy as np

from image_index.half import SCALE, scaled_down, to_float32

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def test_every_number_is_converted_exactly() -> None:
    """Subnormal ones, both zeros, infinite ones and those that are none too, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = to_float32(EVERY)
    assert converted.dtype == np.float32
    np.testing.assert_array_equal(converted, EVERY.astype(np.float32))
    finite = EVERY[np.isfinite(EVERY)].reshape(2, -1)
    assert to_float32(finite).tobytes() == finite.astype(np.float32).tobytes()
    np.testing.assert_array_equal(to_float32(finite[:, ::3]), finite[:, ::3].astype(np.float32))
    assert to_float32(converted) is converted


def test_scaled_numbers_fill_the_array_that_is_given() -> None:
    """They are the numbers divided by the scale."""
    finite = EVERY[np.isfinite(EVERY)]
    out = np.empty(len(finite), np.float32)
    assert np.shares_memory(scaled_down(finite, out), out)
    np.testing.assert_array_equal(out, finite.astype(np.float32) / SCALE)
