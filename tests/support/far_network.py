"""A second network on this machine, joined to the first by a link that can be cut: Linux, and as root.

A process in it has another address and reaches the others by the link alone, as one on another machine does; its files
are those of this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class NoNetwork(Exception):
    """There can be no second network here; the text says why."""


@dataclass(frozen=True)
class FarNetwork:
    """A network namespace with one link to the network of this machine."""

    name: str
    here: str
    """The address of this end of the link."""
    there: str
    """The address of the other end."""

    @property
    def link(self) -> str:
        """The device at this end."""
        return f"{self.name}h"

    @property
    def inside(self) -> list[str]:
        """The words before a command that is to run in the namespace."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Cut the link: what is sent from now on is lost, and nobody is told."""
        _ip("link", "set", self.link, "down")

    def mend(self) -> None:
        """Put the link together again."""
        _ip("link", "set", self.link, "up")

    def processes(self) -> list[int]:
        """Return the ids of the processes in the namespace."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]


@contextmanager
def far_network() -> Iterator[FarNetwork]:
    """Give a second network, which is gone afterwards. Raises `NoNetwork` where there can be none."""
    number = os.getpid() % 64
    network = FarNetwork(f"far{os.getpid()}", f"198.18.14.{4 * number + 1}", f"198.18.14.{4 * number + 2}")
    if shutil.which("ip") is None:
        raise NoNetwork("there is no ip; on Debian: apt install iproute2")
    _ip("netns", "add", network.name)
    try:
        far = f"{network.name}f"
        _ip("link", "add", network.link, "type", "veth", "peer", "name", far)
        _ip("link", "set", far, "netns", network.name)
        _ip("addr", "add", f"{network.here}/30", "dev", network.link)
        _ip("-n", network.name, "addr", "add", f"{network.there}/30", "dev", far)
        for device in (far, "lo"):
            _ip("-n", network.name, "link", "set", device, "up")
        network.mend()
        yield network
    finally:
        _ip("netns", "del", network.name)  # the link goes with it


def _ip(*arguments: str) -> str:
    """Run `ip`; return what it prints."""
    try:
        return subprocess.run(("ip", *arguments), capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise NoNetwork(f"a network namespace cannot be had, for that takes root: {error.stderr.strip()}") from error
