"""Import open_clip without the libraries that it imports in passing and this model does not use.

`import open_clip` loads torchvision for its transforms and through it the whole of torch's compiler, timm with all of
its models, and transformers where that is installed. Our pictures are preprocessed without transforms, nothing is
compiled, and a plain CLIP needs neither of the others; transformers is for text towers that are models of its own.
Measured: 0.4 s instead of 2.5 s, and 110 MB less.

While open_clip is being imported, torchvision is played by stand-ins that have every name and do nothing: a default
argument or an `isinstance` may mention one, and whoever calls one gets `StandInCalled`. timm and transformers, which
open_clip does without where they are not installed, cannot be found unless the model's configuration names them. None
of this outlives the import. Whatever goes wrong with it or with the model afterwards, open_clip is imported anew as
usual and the model is loaded again: new versions of these libraries can make the start slower, never a vector wrong.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.abc import Loader as ModuleLoader
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Never

from image_index.errors import UsageError
from image_index.models.names import ModelSpec, find_config
from image_index.workers.devices import Precision
from image_index.workers.messages import LoadedEncoder

PLAYED = frozenset({"torchvision"})
"""Libraries that open_clip cannot be imported without, and uses only to transform pictures and to train."""

MENTIONS = {"timm": "timm_model_name", "transformers": '"hf_model_name"'}
"""Libraries that open_clip can be imported without, and what stands in the configuration of a model that needs one."""

IMPORTED = ("open_clip", "timm", "image_index.workers.encoder", "image_index.models.tower_export")
"""The packages and modules that were imported with stand-ins, or that hold something that was."""

logger = logging.getLogger("image_index.worker")


class StandInCalled(Exception):
    """A library that was thought to be unused is used."""


class _StandInClass(type):
    """The class of a stand-in, which is itself a class, so that it may be inherited from and asked for instances."""

    def __getattr__(cls, name: str) -> type:
        return _stand_in(cls, name)

    def __call__(cls, *_: object, **__: object) -> Never:
        raise StandInCalled(cls.__name__)


class _StandInModule(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> type:
        return _stand_in(self, name)


def _stand_in(holder: Any, name: str) -> type:
    """Give `holder` a stand-in of that name; a name of Python's own, as `__version__`, it does not have."""
    if name.startswith("__"):
        raise AttributeError(name)
    made = _StandInClass(name, (), {})
    setattr(holder, name, made)  # asked again, it is the same one
    return made


class _Finder(MetaPathFinder, ModuleLoader):
    """Finds stand-ins for the modules of some libraries, and lets no others of theirs be found."""

    def __init__(self, played: Collection[str], hidden: Collection[str]) -> None:
        self._played = played
        self._hidden = hidden

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Return how a module is made; None where it is none of ours."""
        library = name.partition(".")[0]
        if library in self._hidden:
            raise ModuleNotFoundError(f"{name} is not needed", name=name)
        return ModuleSpec(name, self, is_package=True) if library in self._played else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module that has every name."""
        return _StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it is."""


@contextmanager
def stand_ins(played: Collection[str], hidden: Collection[str]) -> Iterator[None]:
    """Let the libraries `played` be imported as stand-ins and those `hidden` not be found, within the block."""
    finder = _Finder(played, hidden)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _forget(played)


def _forget(packages: Collection[str]) -> None:
    """Let packages be imported anew by whoever asks for them next."""
    for name in list(sys.modules):
        if any(name == package or name.startswith(f"{package}.") for package in packages):
            del sys.modules[name]


def unused_libraries(spec: ModelSpec) -> frozenset[str]:
    """Return which of timm and transformers the model does not need; none where its configuration is not found."""
    try:
        text = _config_file(spec).read_text(encoding="utf-8")
        compact = json.dumps(json.loads(text))
    except (OSError, ValueError):
        return frozenset()
    return frozenset(library for library, mention in MENTIONS.items() if mention not in compact)


def _config_file(spec: ModelSpec) -> Path:
    """Return the file that describes the model: its own, or the one of its architecture in open_clip's package."""
    package = find_spec("open_clip")
    folders = package.submodule_search_locations if package else None
    return find_config(spec) or Path(*(folders or ["."])[:1], "model_configs", f"{spec.architecture}.json")


def load_lightly(spec: ModelSpec, weights_sha256: str, device: str, precision: Precision) -> LoadedEncoder:
    """Load the model as `workers.encoder.load_encoder` does, and import little for it; a `Loader`."""
    unused = unused_libraries(spec)
    if "open_clip" in sys.modules or "transformers" not in unused:  # which looks itself at what else is installed
        return _load()(spec, weights_sha256, device, precision)
    try:
        with stand_ins(PLAYED, unused), _nothing_is_compiled(), _no_garbage():
            load = _load()
        return load(spec, weights_sha256, device, precision)
    except UsageError:  # a device that is not there does not appear
        raise
    except Exception as error:
        logger.info("Importing the whole of open_clip, because with parts of it the model did not load (%s)", error)
        _forget(IMPORTED)
    return _load()(spec, weights_sha256, device, precision)


def _load() -> Callable[[ModelSpec, str, str, Precision], LoadedEncoder]:
    """Import torch and open_clip, in this process, now."""
    from image_index.workers.encoder import load_encoder

    return load_encoder


@contextmanager
def _nothing_is_compiled() -> Iterator[None]:
    """Let functions be marked as not to be compiled, within the block, without loading the compiler for it."""
    import torch

    def disable(function: Any = None, *_: object, **__: object) -> Any:
        return function if function is not None else lambda marked: marked

    marking = torch.compiler.disable
    torch.compiler.disable = disable  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = marking


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Look for no garbage within the block, and never in what it leaves: a tenth of the time of torch's import."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
