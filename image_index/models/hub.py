"""The Hugging Face hub: what its cache holds, and how a file gets there.

Where the cache is, which hub is asked, and whether it may be, huggingface_hub reads from the environment at import.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image_index.deadline import within
from image_index.errors import ModelUnavailable

ANSWER_SECONDS = 8.0  # the hub answers a HEAD in well under a second


def cache_directory() -> Path:
    """Return the hub's cache, which the environment names (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME)."""
    from huggingface_hub import constants  # 17 ms, which a command that needs no hub does not spend

    return Path(constants.HF_HUB_CACHE)


def has_folder(repo: str) -> bool:
    """Tell whether the cache has a folder for a repository, whole or not."""
    return (cache_directory() / f"models--{repo.replace('/', '--')}").is_dir()


def find_cached(repo: str, names: tuple[str, ...]) -> Path | None:
    """Return the first of these files that the cache holds."""
    if not has_folder(repo):
        return None
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def download(repo: str, name: str) -> bool:
    """Bring one file into the cache; False where the repository has no such file.

    Raises ModelUnavailable, whose text is the reason alone, in ANSWER_SECONDS where there is no network. The HEAD that
    goes before is for that: hf_hub_download by itself tries for 23 s (measured) to reach a hub that is not there.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise ModelUnavailable("it is not in the cache, and HF_HUB_OFFLINE is set")
    try:
        within(ANSWER_SECONDS, lambda: get_hf_file_metadata(hf_hub_url(repo, name), timeout=ANSWER_SECONDS))
        hf_hub_download(repo, name)
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


def _reason(error: Exception, repo: str) -> str:
    """Return why a download failed, in a few words on one line."""
    from huggingface_hub import constants

    chain = list(_causes(error))
    if any(getattr(one, "errno", None) in {errno.ENOSPC, errno.EDQUOT} for one in chain):
        return f"the disk of {cache_directory()} is full"
    if refusal := _refusal(error, repo):
        return refusal
    kinds = " ".join(type(one).__name__ for one in chain)
    if "Timeout" in kinds:
        return f"no answer from {constants.ENDPOINT} in {ANSWER_SECONDS:.0f} s"
    root = chain[-1]
    words = " ".join(str(getattr(root, "strerror", None) or root).split()) or type(root).__name__
    if "Connect" in kinds or "Proxy" in kinds:
        return f"no connection to {constants.ENDPOINT} ({words})"
    return f"{words} ({root.filename})" if isinstance(root, OSError) and root.filename else words


def _refusal(error: Exception, repo: str) -> str | None:
    """Return what the hub answered where it answered at all."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return f"its terms must be accepted at {constants.ENDPOINT}/{repo}, then a login with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no repository {repo}, or a private one"
    if isinstance(error, HfHubHTTPError):
        return f"{constants.ENDPOINT} answered HTTP {error.response.status_code}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then what it came from, down to the root."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
