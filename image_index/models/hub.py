"""The Hugging Face hub: what its cache holds, and how a file gets there.

huggingface_hub reads the environment once, at import; here it is read at each call and said to the library.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeVar

from image_index.errors import ModelUnavailable

ANSWER_SECONDS = 8.0  # the hub answers a HEAD in well under a second

T = TypeVar("T")


def cache_directory() -> Path:
    """Return the hub's cache, by the hub's own rules: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME."""
    home = os.environ.get("HF_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(hub)))


def is_offline() -> bool:
    """Tell whether the user forbids to reach the hub."""
    asked = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return asked.upper() in {"1", "ON", "YES", "TRUE"}


def has_folder(repo: str) -> bool:
    """Tell whether the cache has a folder for a repository, whole or not."""
    return (cache_directory() / f"models--{repo.replace('/', '--')}").is_dir()


def find_cached(repo: str, names: tuple[str, ...]) -> Path | None:
    """Return the first of these files that the cache holds."""
    if not has_folder(repo):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, name, cache_dir=cache_directory()) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def download(repo: str, name: str) -> bool:
    """Bring one file into the cache; False where the repository has no such file.

    Raises ModelUnavailable, whose text is the reason alone, in ANSWER_SECONDS where there is no network. The HEAD that
    goes before is for that: hf_hub_download by itself tries for 23 s (measured) to reach a hub that is not there.
    """
    if is_offline():
        raise ModelUnavailable("it is not in the cache, and HF_HUB_OFFLINE is set")
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        url = hf_hub_url(repo, name, endpoint=_endpoint())
        _within(ANSWER_SECONDS, lambda: get_hf_file_metadata(url, timeout=ANSWER_SECONDS))
        hf_hub_download(repo, name, cache_dir=cache_directory(), endpoint=_endpoint())
    except Exception as error:  # the library's own errors, those of its HTTP client (which one varies), the system's
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return False
        raise ModelUnavailable(_reason(error, repo)) from error
    return True


@contextmanager
def progress_bars(*, shown: bool) -> Iterator[None]:
    """Let the hub draw its bars on stderr, or not."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` does, or raise TimeoutError: a name server that does not answer knows no deadline."""
    outcome: Future[T] = Future()

    def answer() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=answer, daemon=True).start()
    return outcome.result(timeout=seconds)


def _reason(error: Exception, repo: str) -> str:
    """Return why a download failed, in a few words on one line."""
    chain = list(_causes(error))
    if any(getattr(one, "errno", None) in {errno.ENOSPC, errno.EDQUOT} for one in chain):
        return f"the disk of {cache_directory()} is full"
    if refusal := _refusal(error, repo):
        return refusal
    kinds = " ".join(type(one).__name__ for one in chain)
    if "Timeout" in kinds:
        return f"no answer from {_endpoint()} in {ANSWER_SECONDS:.0f} s"
    root = chain[-1]
    words = " ".join(str(getattr(root, "strerror", None) or root).split()) or type(root).__name__
    if "Connect" in kinds or "Proxy" in kinds:
        return f"no connection to {_endpoint()} ({words})"
    return f"{words} ({root.filename})" if isinstance(root, OSError) and root.filename else words


def _refusal(error: Exception, repo: str) -> str | None:
    """Return what the hub answered where it answered at all."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return f"its terms must be accepted at {_endpoint()}/{repo}, then a login with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"{_endpoint()} has no repository {repo}, or a private one"
    if isinstance(error, HfHubHTTPError):
        return f"{_endpoint()} answered HTTP {error.response.status_code}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then what it came from, down to the root."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
