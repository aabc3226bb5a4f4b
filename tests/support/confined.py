"""Python in a process of its own that is held to limits: how much it may write, and what permission bits allow."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
"""From linux/prctl.h and linux/capability.h: what lets root pass by permission bits."""


def run_confined(
    *arguments: str | bytes | Path, file_bytes: int | None = None, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS...`, whoever we are, as a user whom permission bits bind.

    `file_bytes` limits the size of the files it writes, which is what a full disk looks like: SQLite and FAISS meet an
    error in the middle of a write. `home` is its HOME and TMPDIR.
    """

    def confine() -> None:
        if os.geteuid() == 0:  # else the bits bind us anyway; these two are lost for good at the next exec
            libc = ctypes.CDLL(None)
            for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
                libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        if file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if file_bytes is not None:  # what `make coverage` has counted could not be written either, and it would say so
        environment.pop("COVERAGE_PROCESS_CONFIG", None)
    if home is not None:
        environment |= {"HOME": str(home), "TMPDIR": str(home)}
        environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, preexec_fn=confine, capture_output=True, text=True, timeout=120, check=False
    )
