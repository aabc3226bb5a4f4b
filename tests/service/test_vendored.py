"""The JavaScript libraries that the page ships: all of them are told of, and they are what npm ships."""

from __future__ import annotations

import tomllib
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

VENDOR = Path(str(files("image_index.service").joinpath("page/vendor")))
LIBRARIES = tomllib.loads((VENDOR / "vendored.toml").read_text())["library"]


def test_every_file_is_in_the_table_and_has_its_digest() -> None:
    """A file that was changed by hand, left over from another version, or added without a row is found."""
    found = {
        str(path.relative_to(VENDOR)): sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path != VENDOR / "vendored.toml"
    }
    assert found == {
        f"{library['name']}/{path}": digest for library in LIBRARIES for path, digest in library["files"].items()
    }


def test_each_library_comes_with_its_licence() -> None:
    """Its text lies beside the code, and is that of the licence that the table names."""
    beginnings = {"MIT": "The MIT License (MIT)", "Apache-2.0": "Apache License"}
    for library in LIBRARIES:
        text = (VENDOR / library["name"] / "LICENSE").read_text()
        assert beginnings[library["licence"]] in text, library["name"]
        assert library["version"]
