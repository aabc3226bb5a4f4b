"""What this installation, this machine and this index look like, for a bug report; looking changes nothing."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from image_index.catalog.reader import CatalogReader
from image_index.catalog.schema import is_there, sqlite_version
from image_index.cluster.client import ClusterClient
from image_index.cluster.join import examine_cluster
from image_index.cluster.messages import Examined
from image_index.cluster.paths import PathMap
from image_index.errors import ImgidxError, StorageError
from image_index.machine import core_count, memory_bytes
from image_index.models import hub
from image_index.models.listing import list_models
from image_index.settings import IndexHome
from image_index.upkeep.health import IndexHealth, Problem, examine_index

PACKAGES = ("torch", "open-clip-torch", "faiss-cpu", "onnxruntime", "numpy", "pillow", "rich", "typer")
"""Distributions whose version a bug report needs."""

EXTRAS = {
    "cluster": "ray",
    "preview": "chafa.py",
    "parquet": "pyarrow",
    "queue": "rq",
    "raw": "rawpy",
    "transformers": "transformers",
    "watch": "watchfiles",
    "web": "fastapi",
    "mcp": "mcp",
}
"""What each extra brings."""

VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NO_COLOR")
"""Environment variables that change what imgidx does, besides its own. None of them holds a secret."""

TORCH_SECONDS = 20.0
"""How long torch may take to load and to name its devices; it took 3 s from a warm disk."""

ASK_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
mps = getattr(torch.backends, "mps", None)
names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({"cuda": names, "mps": bool(mps and mps.is_available())}))
"""


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices that torch can use besides the CPU; with an `error` they are not known."""

    cuda: tuple[str, ...] = ()
    mps: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ModelCache:
    """The directory of the downloaded models, and the names of the models there."""

    directory: Path
    bundled: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    error: ImgidxError | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and the software; a package's version is None if it is not installed."""

    imgidx: str
    python: str
    platform: str
    packages: dict[str, str | None]
    extras: dict[str, bool]
    devices: Devices
    cores: int
    memory_bytes: int
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that `imgidx doctor` shows."""

    machine: Machine
    models: ModelCache
    index: IndexHealth
    cluster: tuple[Examined, ...] | ImgidxError | None = None
    """The machines of the cluster, or why it cannot be joined; None where none was asked for."""

    def problems(self) -> tuple[Problem, ...]:
        """Return every problem, each with its next step."""
        found = [
            Problem("packages", f"{name} is not installed", "pip install --force-reinstall imgidx")
            for name, version in self.machine.packages.items()
            if version is None
        ]
        if self.machine.devices.error:
            found.append(Problem("devices", self.machine.devices.error, "run again, or reinstall torch"))
        if self.models.error:
            found.append(Problem.of("models", self.models.error))
        return (*found, *self.index.problems(), *self._cluster_problems())

    def _cluster_problems(self) -> Iterator[Problem]:
        """Yield what keeps the cluster or a machine of it from being used."""
        if isinstance(self.cluster, ImgidxError):
            yield Problem.of("cluster", self.cluster)
            return
        for machine, report in ((one.machine.name, one.report) for one in self.cluster or ()):
            if isinstance(report, str):
                yield Problem("cluster", f"{machine}: {report}", "is imgidx installed there, with the same Python?")
                continue
            if report.imgidx != self.machine.imgidx:
                different = f"{machine} has imgidx {report.imgidx}, not {self.machine.imgidx}"
                yield Problem("cluster", different, "install the same version there")
            for root in (root for root, there in report.sees.items() if not there):
                yield Problem("cluster", f"{machine} does not see {root}", "mount it there, or use --map HERE=THERE")


def examine(
    home: IndexHome,
    torch_seconds: float = TORCH_SECONDS,
    cluster: str | None = None,
    path_map: PathMap = PathMap(),  # noqa: B008  # it is frozen
) -> Report:
    """Examine this machine and the index at `home`; torch gets `torch_seconds` to answer.

    With the address of a `cluster` its machines are asked too.
    """
    with _asking_torch() as child:  # it loads while the rest is looked at
        models, index = _model_cache(), examine_index(home)
        machine = _machine(_answer(child, torch_seconds))
    return Report(machine, models, index, None if cluster is None else _cluster(cluster, home, path_map))


def _cluster(address: str, home: IndexHome, path_map: PathMap) -> tuple[Examined, ...] | ImgidxError:
    """Return what the machines of a cluster say of themselves and of the roots of the index."""
    try:
        roots: tuple[bytes, ...] = ()
        if is_there(home.catalog):
            with CatalogReader(home.catalog) as catalog:
                roots = tuple(root.path for root in catalog.roots())
        return examine_cluster(ClusterClient(address), roots, path_map)
    except ImgidxError as error:
        return error


def _machine(devices: Devices) -> Machine:
    """Return what imgidx runs on."""
    return Machine(
        imgidx=metadata.version("imgidx"),
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: _version(name) for name in PACKAGES} | {"sqlite": sqlite_version()},
        extras={extra: _version(package) is not None for extra, package in EXTRAS.items()},
        devices=devices,
        cores=core_count(),
        memory_bytes=memory_bytes(),
        environment={
            name: value for name, value in sorted(os.environ.items()) if name in VARIABLES or name.startswith("IMGIDX_")
        },
    )


def _version(name: str) -> str | None:
    """Return the version of an installed distribution, without importing it."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _model_cache() -> ModelCache:
    """Return which models are at hand."""
    directory = hub.cache_directory()
    try:
        listings = list_models()
    except ImgidxError as error:
        return ModelCache(directory, error=error)
    except OSError as error:
        return ModelCache(directory, error=StorageError(f"cannot read the models in {directory}: {error.strerror}"))
    bundled, cached = (
        tuple(listing.name for listing in listings if listing.kind == kind) for kind in ("bundled", "cached")
    )
    return ModelCache(directory, bundled, cached)


@contextmanager
def _asking_torch() -> Iterator[subprocess.Popen[str]]:
    """Yield a process that asks torch; with -P, so that a torch.py in the working directory is not imported."""
    # A process of its own: the parent never loads torch, and a broken driver can make torch hang for ever. Its own
    # directory too: torch does not load in one that has been deleted.
    command = [sys.executable, "-P", "-c", ASK_TORCH]
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(
        command, stdin=nothing, stdout=pipe, stderr=pipe, text=True, errors="replace", cwd="/"
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def _answer(child: subprocess.Popen[str], seconds: float) -> Devices:
    """Return what torch answers within `seconds`."""
    try:
        out, err = child.communicate(timeout=seconds)
        if child.returncode:
            last = (err.strip().splitlines() or [f"exit {child.returncode}"])[-1]
            return Devices(error=f"torch does not load: {last}")
        answer = json.loads(out.splitlines()[-1])
        return Devices(tuple(answer["cuda"]), answer["mps"])
    except subprocess.TimeoutExpired:
        return Devices(error=f"torch did not answer in {seconds:g} s")
    except (ValueError, LookupError, TypeError):
        return Devices(error="torch gave no answer that can be read")
