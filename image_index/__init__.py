"""Index directories of pictures and find them again by meaning."""

__version__ = "0.1.0"
