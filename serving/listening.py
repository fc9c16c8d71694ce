"""Listening sockets whose connections send small pieces at once."""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["is_loopback", "listen", "origin_of"]


def listen(host: str, port: int, *, backlog: int = 1_024, shared: bool = False) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    With `shared`, other processes of the same user can listen at the same address, and the kernel
    spreads connections over them (`SO_REUSEPORT`).

    Its connections inherit TCP_NODELAY. asyncio sets that itself only on sockets that it made, and
    without it a second small write waits for the client's delayed acknowledgement: 40 ms between
    the head of an answer and its first token.

    Raises:
        OSError: the address is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, port), family=family, backlog=backlog, reuse_port=shared)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def origin_of(sock: socket.socket) -> str:
    """Return the URL, without a path, under which a socket that listens is reached."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether a host, by its name or address, can only be this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
