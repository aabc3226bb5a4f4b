"""Tests of `image_index.service`."""
