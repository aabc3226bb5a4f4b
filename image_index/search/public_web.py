"""Fetches a picture for somebody who asks a server: from the public web, never from where only the server may look.

What is asked for is an address that a stranger has made up (server-side request forgery): it may name this machine, a
router, or the metadata service of a cloud, directly, by a name that leads there, or by a redirect. So the address to
which we connect is the one that was checked; a name is not looked up again between check and connection.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.request
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from image_index.search.web import fetch_in_time

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses that a gateway takes to the IPv4 address in their last four bytes (RFC 6052)."""


def fetch_public(url: str) -> bytes:
    """Return the content of the picture at `url`; raise `QueryError` where it cannot be had, or is not public.

    Within the limits of `web`, and through no proxy, which would look names up by itself. After the time limit no
    connection is left.
    """
    sockets: list[socket.socket] = []
    handlers = (
        urllib.request.UnknownHandler(),
        _PublicHandler(sockets),
        _PublicSecureHandler(sockets),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    )
    try:
        return fetch_in_time(url, handlers)
    finally:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # a thread that still reads from it ends


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet: not private, loopback, link-local, multicast, ..."""
    found = ipaddress.ip_address(address)
    inner = _inner(found) if isinstance(found, IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    is_local = isinstance(found, IPv6Address) and found.is_site_local
    return found.is_global and not (found.is_multicast or found.is_reserved or is_local)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address to which an IPv6 address leads in the end, if it does."""
    if address in _TRANSLATED:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    """Return a connection to a public address of a host; raise `OSError` where it has another one, or none answers."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not all(is_public(str(address[0])) for _, _, _, _, address in found):
        raise OSError("it is not on the public web, and nothing else is fetched")
    problem = OSError("it has no address")
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(timeout_s)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise problem


class _PublicConnection(HTTPConnection):
    """Connects to public addresses alone; what it opens is noted in `sockets`."""

    def __init__(self, host: str, *, sockets: list[socket.socket], **options: Any) -> None:
        super().__init__(host, **options)
        self._sockets = sockets

    def connect(self) -> None:
        """Connect."""
        self.sock = _connect(self.host, self.port, self.timeout or 0)
        self._sockets.append(self.sock)


class _PublicSecureConnection(HTTPSConnection):
    """The same, with TLS."""

    def __init__(self, host: str, *, sockets: list[socket.socket], **options: Any) -> None:
        super().__init__(host, **options)
        self._sockets = sockets

    def connect(self) -> None:
        """Connect, and check the certificate."""
        plain = _connect(self.host, self.port, self.timeout or 0)
        context = ssl.create_default_context()
        secure = context.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = secure
        self._sockets.append(secure)
        secure.do_handshake()


class _PublicHandler(urllib.request.HTTPHandler):
    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Ask over HTTP."""
        return self.do_open(_PublicConnection, req, sockets=self._sockets)  # type: ignore[arg-type]


class _PublicSecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Ask over HTTPS."""
        return self.do_open(_PublicSecureConnection, req, sockets=self._sockets)  # type: ignore[arg-type]
