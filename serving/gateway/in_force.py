"""The flags that the gateway obeys, as one value that is looked up again a few times a second."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from schemas.flag import FlagKey
from serving.errors import FlagError
from serving.flags.reader import FlagReader
from serving.flags.store import FlagStore
from serving.gateway import metrics

__all__ = ["FlagWatch", "InForce", "read_flags"]

_log = structlog.get_logger("tocsin.gateway")

STRATEGY_CANARY = "canary"
STRATEGY_COMPLEXITY = "complexity"
_CANARY_WITHOUT_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class InForce:
    """What the flags say; the defaults hold for flags that are not there.

    ``provider`` and ``version`` are empty when no flag names one: the first target's then hold.
    """

    provider: str = ""
    version: str = ""
    canary_version: str = ""
    canary_percent: float = 0.0
    shadow_percent: float = 0.0
    enabled: bool = True
    strict: bool = False
    rules: bool = False
    fallback: bool = True
    limits: str = ""


def read_flags(flags: FlagReader, last: InForce) -> InForce:
    """Return what the flags say now; a share that is no number from 0 to 100 stays as it was."""
    strategy = flags.text(FlagKey.ROUTING_STRATEGY, "")
    default = f"{_CANARY_WITHOUT_PERCENT if strategy == STRATEGY_CANARY else 0.0}"
    return InForce(
        provider=flags.text(FlagKey.MODEL_PROVIDER, ""),
        version=flags.text(FlagKey.MODEL_VERSION, ""),
        canary_version=flags.text(FlagKey.CANARY_VERSION, ""),
        canary_percent=_percent(
            FlagKey.CANARY_PERCENT, flags.text(FlagKey.CANARY_PERCENT, default), last.canary_percent
        ),
        shadow_percent=_percent(
            FlagKey.SHADOW_PERCENT, flags.text(FlagKey.SHADOW_PERCENT, "0"), last.shadow_percent
        ),
        enabled=flags.switch(FlagKey.FEATURE_ENABLED, True),
        strict=flags.switch(FlagKey.GUARDRAILS_STRICT, False),
        rules=strategy == STRATEGY_COMPLEXITY,
        fallback=flags.switch(FlagKey.FALLBACK_ENABLED, True),
        limits=flags.text(FlagKey.RATE_LIMIT_PROFILE, ""),
    )


def _percent(key: FlagKey, text: str, last: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 <= value <= 100:
        return value
    metrics.FLAG_FAULTS.labels(key).inc()
    return last


class FlagWatch:
    """Keeps an `InForce` up to date.

    A file that does not parse leaves the last good values in force; that is logged once, and the
    gauge `tocsin_gateway_flags_valid` says 0 for as long as it lasts.

    Args:
        reader: where flags are read.
        poll_s: how often.
        changed: told each new value.
    """

    def __init__(
        self,
        reader: FlagReader,
        *,
        poll_s: float,
        changed: Callable[[InForce], None] = lambda _: None,
    ) -> None:
        self._reader = reader
        self._store = FlagStore(reader.path)
        self._poll_s = poll_s
        self._changed = changed
        self._stamp: tuple[int, int] | None = None
        self._fault: str | None = None
        self.now = InForce()

    def look(self) -> InForce:
        """Read the flags once."""
        self._check()
        found = read_flags(self._reader, self.now)
        if found != self.now:
            self.now = found
            self._changed(found)
        return found

    async def run(self) -> None:
        """Read the flags until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            self.look()

    def _check(self) -> None:
        """Note whether the file parses, when it has changed."""
        try:
            stat = self._reader.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
        except OSError:
            stamp = (0, 0)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        fault: str | None = None
        try:
            self._store.read()
        except FlagError as error:
            fault = str(error)
        if fault and fault != self._fault:
            _log.error("the flag file cannot be used; the last good flags hold", error=fault)
        elif self._fault and not fault:
            _log.info("the flag file is good again", path=str(self._reader.path))
        self._fault = fault
        metrics.FLAGS_VALID.set(0 if fault else 1)
