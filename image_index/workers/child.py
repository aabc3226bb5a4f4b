"""The parent's handle on one child process: its pipe, what it holds, and when it is overdue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from time import monotonic

from image_index.records import Batch
from image_index.workers.channel import Channel, ChannelClosed, open_pair
from image_index.workers.child_main import DEVICE_FAILED, OUT_OF_MEMORY
from image_index.workers.devices import Slot
from image_index.workers.messages import ChildSetup, Job

MOST_HELD = 3
"""Jobs a child holds: one at the model, one that its threads decode (if it has any), one in its pipe."""

SEND_TIMEOUT_S = 10.0
"""A live child takes a message at once; the socket's buffer takes it even from a busy one."""


BEGIN = """
import sys
from importlib import import_module
sys.path[:] = sys.argv[3:]
import_module(sys.argv[1]).main(int(sys.argv[2]))
"""
"""What a child's Python runs: given its module, the descriptor of its channel, where its parent looks for modules."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a child may take without a sign of life, in seconds.

    `load_s` is for loading the model, `file_s` for reading and decoding one file. The forward pass of a batch may take
    `file_s` times 1 + pictures / `PICTURES_PER_DEADLINE`: with 120 s and 16 pictures that is 312 s.
    """

    # A limit per file and not per batch: the child tells which file it is about to read, so that a hung decoder is
    # found after the same time in a batch of 2 as in one of 500, and it is known which file to blame. The limit is
    # far above what any picture takes, for a disk that spins up or a network that stalls must not cost a file.
    load_s: float = 600.0
    file_s: float = 120.0

    PICTURES_PER_DEADLINE = 10

    def forward_s(self, pictures: int) -> float:
        """Return how long the forward pass of a batch may take."""
        return self.file_s * (1 + pictures / self.PICTURES_PER_DEADLINE)


class State(Enum):
    """How far a child has come."""

    LOADING = auto()
    """It tries to load the model."""
    TRIED = auto()
    """That failed; it tries once more with its first job."""
    READY = auto()
    """The model is loaded."""


@dataclass(slots=True, eq=False)
class Child:
    """One spawned process and what the parent knows of it."""

    setup: ChildSetup
    slot: Slot
    process: subprocess.Popen[bytes]
    channel: Channel
    deadlines: Deadlines
    held: deque[Job] = field(default_factory=deque)
    """The jobs it owes an answer to, oldest first."""
    state: State = State.LOADING
    position: int | None = None
    """The file of its first batch that it was last seen at; None before the first sign of life."""
    due: float = 0.0
    failed_starts: int = 0
    """How many children in a row died in this place before they were ready."""
    first_memory_bytes: int = 0

    @classmethod
    def start(cls, setup: ChildSetup, slot: Slot, deadlines: Deadlines) -> Child:
        """Spawn a child in `slot`; it begins to load its model at once."""
        ours, theirs = open_pair()
        its_own = replace(setup, device=slot.device, decode_threads=slot.decode_threads)
        ours.send(its_own, SEND_TIMEOUT_S)  # it waits in the channel
        process = start_process("image_index.workers.child_main", theirs, slot.environment())
        return cls(setup, slot, process, ours, deadlines, due=monotonic() + deadlines.load_s)

    def successor(self) -> Child:
        """Spawn another child in its place; where the exported tower did not load, one with the whole model."""
        setup = self.setup if self.state is State.READY else replace(self.setup, exported=None)
        child = Child.start(setup, self.slot, self.deadlines)
        child.failed_starts = self.failed_starts
        return child

    @property
    def room(self) -> int:
        """How many jobs it may hold now."""
        if self.state is State.LOADING or any(job.alone for job in self.held):
            return 0
        if self.state is State.TRIED:
            return 1
        return MOST_HELD if self.slot.decode_threads else MOST_HELD - 1

    @property
    def overlaps(self) -> bool:
        """Tell whether more than one file may be in work."""
        return self.slot.decode_threads > 0 and not any(job.alone for job in self.held)

    @property
    def is_busy(self) -> bool:
        """Tell whether it owes an answer."""
        return bool(self.held) or self.state is State.LOADING

    @property
    def is_overdue(self) -> bool:
        """Tell whether it owes an answer and has given no sign of life in time."""
        return self.is_busy and monotonic() > self.due

    def give(self, job: Job) -> None:
        """Send a job. A child that is gone or takes nothing holds it all the same, until its loss is noticed."""
        self.held.append(job)
        if len(self.held) == 1:
            self.expect(None)
        with suppress(ChannelClosed):
            self.channel.send(job, SEND_TIMEOUT_S)

    def expect(self, position: int | None) -> None:
        """Note a sign of life at file `position` of the first batch, and when the next one is due."""
        self.position = position
        job = self.held[0] if self.held else None
        if self.state is not State.READY and position is None:
            wait = self.deadlines.load_s
        elif isinstance(job, Batch) and position == len(job.files):
            wait = self.deadlines.forward_s(position)
        else:
            wait = self.deadlines.file_s
        self.due = monotonic() + wait

    def answered(self) -> Job:
        """Note that the oldest job is answered, and return it."""
        job = self.held.popleft()
        self.expect(None)
        return job

    def stop(self) -> None:
        """Ask it to leave after what it holds."""
        with suppress(ChannelClosed):
            self.channel.send(None, SEND_TIMEOUT_S)

    @property
    def is_alive(self) -> bool:
        """Tell whether its process is there."""
        return self.process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait for the end of its process, but not for long."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def kill(self) -> None:
        """End it now. A process that even SIGKILL does not end (stuck in the kernel) is left behind."""
        self.process.kill()
        self.wait(5)
        if self.process.stdin:
            self.process.stdin.close()
        self.channel.close()


def start_process(module: str, channel: Channel, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a Python of its own that runs `main` of a module, and hand it its end of a channel."""
    # Not by `multiprocessing`, which starts a process more, its resource tracker: that outlives the run for a moment,
    # and a service manager takes it for one left behind. It would also import a caller's main module in the child.
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN, module, str(channel.fileno()), *sys.path],
        stdin=subprocess.PIPE,  # nothing is written to it: its end tells the child that the parent is gone
        pass_fds=[channel.fileno()],
        env={**os.environ, **environment},
    )
    channel.close()
    return process


def cause_of_death(exit_code: int | None) -> str:
    """Say in words how a process ended."""
    if exit_code == OUT_OF_MEMORY:
        return "the child ran out of memory"
    if exit_code == DEVICE_FAILED:
        return "the device of the child computed no more"
    if exit_code is None or exit_code >= 0:
        return f"the child left with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"the child was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
