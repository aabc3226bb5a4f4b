"""`imgidx mcp` as an assistant starts it: a process that is spoken with over stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from tests.support.photos import REPOSITORY
from tests.support.served import make_served
from tests.support.shell import Shell

COMMAND = ["-m", "image_index", "mcp", "--index"]
WITH_HANGING_CHILD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from image_index.service.mcp_server import serve_stdio\n"
    "from image_index.settings import IndexHome\n"
    "from image_index.workers.engine import Engine\n"
    "from tests.support import fake_models\n"
    "serve_stdio(IndexHome(Path(sys.argv[1])), Engine('cpu', loader=fake_models.load_and_hang))\n"
)
"""A server whose child never has its model."""

HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a test", "version": "1"}},
}


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process of Python with pipes."""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[bytes], *lines: bytes | dict[str, Any]) -> None:
    """Send lines, as JSON where they are not bytes."""
    assert process.stdin is not None
    for line in lines:
        process.stdin.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
    process.stdin.flush()


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the request that calls a tool."""
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def answer(process: subprocess.Popen[bytes], number: int) -> dict[str, Any]:
    """Return the answer of that number; every line before it is one of the protocol too."""
    assert process.stdout is not None
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        if message.get("id") == number:
            return message
    raise AssertionError("the server has closed stdout")


def test_the_sdks_client_speaks_with_it(tmp_path: Path) -> None:
    """The handshake, the tools, and a picture with its preview."""
    home = make_served(tmp_path)
    command = StdioServerParameters(command=sys.executable, args=[*COMMAND, str(home.path)], cwd=REPOSITORY)

    async def ask() -> tuple[list[str], Any]:
        async with Client(stdio_client(command)) as client:
            tools = (await client.list_tools()).tools
            return [tool.name for tool in tools], await client.call_tool("show", {"image_id": 1})

    names, shown = asyncio.run(ask())
    assert names == ["search", "similar", "show", "status", "duplicates"]
    assert [block.type for block in shown.content] == ["text", "text", "image"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_stdout_belongs_to_the_protocol_and_the_end_of_stdin_ends_it(tmp_path: Path) -> None:
    """Whatever is sent, whatever it has to say goes to stderr; torch is never loaded."""
    home = make_served(tmp_path)
    with running(*COMMAND, str(home.path)) as process:
        say(process, HELLO)
        assert answer(process, 0)["result"]["serverInfo"]["name"] == "imgidx"
        say(process, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        say(process, b"{\n", b"\xff\xfe\n", b"[]\n", b"[" * 100_000 + b"\n", b'{"jsonrpc": "2.0", "id": 1}\n', b"\n")
        say(
            process,
            b'{"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "show", "arguments": 7}}\n',
        )
        assert answer(process, 2)["error"]["code"] == -32602
        say(process, call(3, "duplicates"))  # which warns that the pictures of this index have no grid
        assert not answer(process, 3)["result"].get("isError")
        assert "torch" not in Path(f"/proc/{process.pid}/maps").read_text()
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, b"")
    assert b"Traceback" not in err
    assert b"without their grid" in err


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stdin is closed", "every pipe is closed", "SIGTERM", "SIGINT"])
def test_a_client_that_goes_leaves_nothing_behind(tmp_path: Path, end: str) -> None:
    """Though it waits for an answer, and a child for its model: neither outlives it."""
    home = make_served(tmp_path)
    with running("-c", WITH_HANGING_CHILD, str(home.path)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        say(process, HELLO, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call(1, "search", text="r"))
        assert answer(process, 0)
        wait_until(lambda: len(group_of(process)) > 1)
        if end.startswith("SIG"):
            process.send_signal(signal.Signals[end])
        elif end.startswith("every"):
            process.stdout.close()
        if not end.startswith("SIG"):
            process.stdin.close()
        code = process.wait(10)
        assert code == (-signal.Signals[end] if end.startswith("SIG") else 0)
        wait_until(lambda: not group_of(process))


def group_of(process: subprocess.Popen[bytes]) -> list[str]:
    """Return the ids of the processes in the group of a process, but for zombies, which wait to be reaped."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,state="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in table.splitlines())
    return [pid for pid, group, state in rows if group == str(process.pid) and not state.startswith("Z")]


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once a condition holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_an_index_there_is_nothing_to_ask(shell: Shell) -> None:
    """The exit code is that of every command."""
    assert shell.run("mcp").code == 4


def test_it_needs_no_web_framework() -> None:
    """What the extra `mcp` brings is enough."""
    code = "import image_index.service.mcp_server, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not {"fastapi", "prometheus_client", "torch", "faiss"} & set(done.stdout.split())


def test_without_the_extra_one_line_says_how_to_get_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the core installs does not bring the protocol."""
    for name in [name for name in sys.modules if name.startswith(("image_index.service", "mcp"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    done = shell.run("mcp")
    assert done.code == 2
    assert "pip install 'imgidx[mcp]'" in done.complaint
