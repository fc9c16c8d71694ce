"""Ports of loopback: free ones, and whether a given one is."""

from __future__ import annotations

import socket

from tocsin.embedded.errors import PortTakenError

__all__ = ["LOOPBACK", "choose_port"]

LOOPBACK = "127.0.0.1"


def choose_port(part: str, port: int, option: str) -> int:
    """Return the port, or a free one for 0.

    Raises:
        PortTakenError: something listens there; the text names the option that changes it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise PortTakenError(part, port, option) from None
        return int(probe.getsockname()[1])
