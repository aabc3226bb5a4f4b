"""`imgidx serve` as users and systemd run it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from image_index.catalog.catalog import Catalog
from tests.support.photos import REPOSITORY
from tests.support.served import make_served
from tests.support.servers import get, running
from tests.support.shell import Shell


def test_it_prints_its_address_and_ends_by_a_signal(tmp_path: Path) -> None:
    """The token is in the address and in a file of its owner's alone, which is gone at the end; nothing is logged."""
    home = make_served(tmp_path)
    with running(home) as (address, process):
        base, _, token = address.partition("?token=")
        assert base.startswith("http://127.0.0.1:")
        (file,) = home.path.glob("serve-*.token")
        assert (file.read_text().strip(), file.stat().st_mode & 0o777) == (token, 0o600)
        assert get(f"{base}api/v1/status")[0] == 401
        assert json.loads(get(f"{base}api/v1/status", token)[1])["images"] == 4
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")
    assert not list(home.path.glob("serve-*"))


def test_the_token_gets_into_no_log(tmp_path: Path) -> None:
    """Nor into what is said of requests that cannot be read, although each of them has it."""
    kept = tmp_path / "token"
    with running(make_served(tmp_path), "--token-file", str(kept), "--verbose") as (address, process):
        token = kept.read_text().strip()
        assert get(f"{address}?token={token}")[0] == 200
        assert get(f"{address}nowhere?token={token}", token)[0] == 404
        port = int(address.rpartition(":")[2].rstrip("/"))
        for request in (b"GET /?token=%b HTTP/9\r\n\r\n", b"\0%b\r\n\r\n", b"GET /%b\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                connection.sendall(request % token.encode())
                assert b" 400 " in connection.recv(1000)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert token not in out + err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_it_listens_on_this_machine_alone_and_loads_no_torch(tmp_path: Path) -> None:
    """By default; a token that is kept is not printed, for what starts the server may log that."""
    kept = tmp_path / "token"
    with running(make_served(tmp_path), "--token-file", str(kept)) as (address, process):
        assert "token" not in address
        assert get(f"{address}api/v1/status", kept.read_text().strip())[0] == 200
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        port = int(address.rpartition(":")[2].rstrip("/"))
        listening = [
            line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if f":{port:04X} " in line
        ]
    assert "torch" not in maps
    assert "0100007F" in {place.partition(":")[0] for place in listening}
    assert "00000000" not in {place.partition(":")[0] for place in listening}


ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "image_index", "serve", *sys.argv[2:]])
"""
"""What systemd does: it passes a socket as file descriptor 3."""


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_socket_that_systemd_passes_is_taken(tmp_path: Path, address: str) -> None:
    """In place of one of our own; who may ask depends on where it listens."""
    home = make_served(tmp_path)
    with socket.create_server((address, 0)) as listener:
        number = listener.fileno()
        command = [sys.executable, "-c", ACTIVATED, str(number), "--index", str(home.path), "--no-token"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, pass_fds=[number]
        )
        try:
            assert process.stdout is not None
            printed = process.stdout.readline().strip()
            if address == "127.0.0.1":
                assert printed == f"http://127.0.0.1:{listener.getsockname()[1]}/"
                assert get(f"{printed}api/v1/status")[0] == 200
                process.terminate()
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    expected = (0, False) if address == "127.0.0.1" else (2, True)
    assert (process.returncode, "without a token anybody could ask at 0.0.0.0" in err) == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--no-token", "--host", "0.0.0.0"), "without a token anybody could ask"),
        (("--no-token", "--token-file", "t"), "cannot be had at once"),
        (("--root-path", "pictures"), "--root-path"),
        (("--root-path", "/pictures/"), "--root-path"),
        (("--host", "no.such.host.invalid"), "cannot listen"),
    ],
)
def test_wrong_use_is_told(shell: Shell, tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    """Before anything listens."""
    done = shell.run("serve", "--index", make_served(tmp_path).path, *options)
    assert done.code == 2
    assert says in done.complaint


def test_a_port_that_is_taken_is_told(shell: Shell, tmp_path: Path) -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = shell.run("serve", "--index", make_served(tmp_path).path, "--port", str(taken.getsockname()[1]))
    assert done.code == 2
    assert "--port 0 takes a port that is free" in done.complaint


def test_without_an_index_there_is_nothing_to_serve(shell: Shell) -> None:
    """The exit code is that of every command."""
    assert shell.run("serve").code == 4


def test_without_the_extra_one_line_says_how_to_get_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the core installs does not bring a server."""
    for name in [name for name in sys.modules if name.startswith("image_index.service")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = shell.run("serve")
    assert done.code == 2
    assert "pip install 'imgidx[web]'" in done.complaint


def open_slowly(port: int, count: int) -> list[socket.socket]:
    """Return connections on which half a request has been sent."""
    connections = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(count)]
    for connection in connections:
        connection.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: ")
    return connections


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs 500 descriptors, which macOS does not give")
def test_many_slow_clients_keep_nobody_waiting(tmp_path: Path) -> None:
    """Five hundred connections that never end their request; neither do they hold up the end of the server."""
    with running(make_served(tmp_path), "--no-token") as (address, process):
        connections = open_slowly(int(address.rpartition(":")[2].rstrip("/")), 500)
        try:
            hits = json.loads(get(f"{address}api/v1/search?image_id=1")[1])["hits"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            for connection in connections:
                connection.close()
    assert len(hits) == 3


@pytest.mark.slow
def test_a_request_at_work_is_answered_before_the_end(tmp_path: Path) -> None:
    """A signal comes while a file is being sent; it comes whole."""
    home = make_served(tmp_path)
    photo = home.path.parent / "photos/red.png"
    grown = photo.read_bytes() + bytes(32 << 20)
    photo.write_bytes(grown)
    with Catalog(home.catalog, write=True) as catalog, catalog.transaction() as connection:
        status = photo.stat()
        connection.execute(
            "UPDATE images SET size = ?, mtime_ns = ? WHERE id = 1", (status.st_size, status.st_mtime_ns)
        )
    with running(home, "--no-token") as (address, process):
        with urllib.request.urlopen(f"{address}api/v1/images/1/file", timeout=60) as answer:
            begun = answer.read(1000)
            process.send_signal(signal.SIGTERM)
            assert begun + answer.read() == grown
        assert process.wait(10) == 0


@pytest.mark.slow
def test_a_closed_terminal_ends_it_too(tmp_path: Path) -> None:
    """As SIGINT does, and its token goes with it."""
    home = make_served(tmp_path)
    for number in (signal.SIGHUP, signal.SIGINT):
        with running(home) as (_, process):
            process.send_signal(number)
            assert process.wait(10) == 0
        assert not list(home.path.glob("serve-*"))


@pytest.mark.slow
def test_two_servers_of_one_index_live_side_by_side(tmp_path: Path) -> None:
    """Each has its own port and token."""
    home = make_served(tmp_path)
    with running(home) as (first, one), running(home) as (second, _):
        assert len(list(home.path.glob("serve-*.token"))) == 2
        one.send_signal(signal.SIGTERM)
        assert one.wait(10) == 0
        base, _, token = second.partition("?token=")
        assert get(f"{base}api/v1/status", token)[0] == 200
        assert get(f"{base}api/v1/status", first.partition("?token=")[2])[0] == 401
