"""Rebuilds the starter model from packages on PyPI; see README.md."""
