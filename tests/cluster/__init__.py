"""Tests of `image_index.cluster`."""
