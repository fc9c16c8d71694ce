"""Count what the emitter does, drops and survives, on the model server's own /metrics."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Counter, Gauge

__all__ = [
    "BATCHES",
    "CONNECTED",
    "DROPPED",
    "EMITTED",
    "ENABLED",
    "FAILURES",
    "QUEUED",
    "SEND_FAILURES",
    "contained",
]

EMITTED: Final = Counter(
    "tocsin_emit_events", "Messages that the broker has acknowledged, by topic.", ["topic"]
)
DROPPED: Final = Counter(
    "tocsin_emit_dropped",
    "Messages given up, by reason: queue_full, too_large, invalid, shutdown, broken.",
    ["reason"],
)
BATCHES: Final = Counter("tocsin_emit_batches", "Kafka records acknowledged.", ["topic"])
SEND_FAILURES: Final = Counter(
    "tocsin_emit_send_failures", "Attempts to connect or to send that failed and are tried again."
)
FAILURES: Final = Counter(
    "tocsin_emit_contained_failures",
    "Errors inside the emitter that were kept away from requests, by step.",
    ["step"],
)
QUEUED: Final = Gauge(
    "tocsin_emit_queue_messages", "Messages waiting to be sent.", multiprocess_mode="livesum"
)
CONNECTED: Final = Gauge(
    "tocsin_emit_connected", "1 while the broker is reached.", multiprocess_mode="livemin"
)
ENABLED: Final = Gauge(
    "tocsin_emit_enabled",
    "1 when requests are reported, 0 when wrong settings have switched it off.",
    multiprocess_mode="livemin",
)

_log = structlog.get_logger("tocsin.emit")
_seen: set[tuple[str, str]] = set()


def contained(step: str, error: BaseException) -> None:
    """Count an error that must not reach a request; write the first of each kind to the log.

    The log gets the class of the error and the places it went through, but neither its text nor
    local variables: these may hold what a user wrote.
    """
    FAILURES.labels(step).inc()
    kind = (step, type(error).__name__)
    if kind in _seen or len(_seen) >= 1_000:
        return
    _seen.add(kind)
    frames = traceback.extract_tb(error.__traceback__)
    where = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
    with suppress(Exception):  # a log that cannot be written must not reach a request either
        _log.error(
            "contained an error; requests are not affected", step=step, error=kind[1], where=where
        )
