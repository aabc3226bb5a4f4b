"""Fetch the JavaScript libraries of the page anew, and check each file against its digest in `vendored.toml`.

    python tools/vendor.py

They are downloaded by `npm pack` from whatever registry npm is set up for; nothing of them is run. To take another
version, change it in `vendored.toml` and run this: it writes the new files, names those whose digests differ, and fails
until the table has the digests of what was reviewed.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parents[1] / "image_index/service/page/vendor"


def read_table() -> list[dict[str, Any]]:
    """Return the libraries: `name`, `version`, `licence`, and `files`, digests by the paths in the package."""
    libraries: list[dict[str, Any]] = tomllib.loads((VENDOR / "vendored.toml").read_text())["library"]
    return libraries


def fetch(name: str, version: str, paths: list[str]) -> dict[str, bytes]:
    """Return the contents of some files of an npm package."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", scratch, f"{name}@{version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as package:
            return {path: _content(package, f"package/{path}") for path in paths}


def _content(package: tarfile.TarFile, path: str) -> bytes:
    member = package.extractfile(path)
    assert member is not None, f"{path} is no file"
    return member.read()


def main() -> int:
    """Write every file of the table; return 1 if one has another digest."""
    wrong = 0
    for library in read_table():
        for path, content in fetch(library["name"], library["version"], list(library["files"])).items():
            target = VENDOR / library["name"] / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            if (digest := sha256(content).hexdigest()) != library["files"][path]:
                print(f'{library["name"]} {library["version"]}: "{path}" = "{digest}"', file=sys.stderr)
                wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
