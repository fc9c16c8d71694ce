"""Read flags the way serving does: through OpenFeature, from the file, without a daemon."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.exception import OpenFeatureError
from openfeature.provider.no_op_provider import NoOpProvider

from schemas.flag import FlagKey

__all__ = ["FlagReader", "evaluate"]

_log = structlog.get_logger(__name__)
_UPSTREAM = logging.getLogger("openfeature.contrib")


class _OncePerFault(logging.Filter):
    """Let an error of the file watcher through once, without traceback, until its text changes.

    The watcher repeats itself twice a second for as long as a file is torn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is news."""
        if record.levelno < logging.ERROR:
            return True
        record.exc_info = None
        fresh = record.getMessage() != self._last
        self._last = record.getMessage()
        return fresh


_FILTER = _OncePerFault()


class FlagReader:
    """Flags as they are in force, seen again at most `poll_s` seconds after a change.

    Never raises while reading: a file that is missing or torn gives the last good value, and the
    caller's default when there was none.

    Args:
        path: the flag file.
        poll_s: how often the provider looks at the file.
    """

    def __init__(self, path: Path, *, poll_s: float = 0.25) -> None:
        self.path = path
        self._poll_ms = max(1, round(poll_s * 1000))
        self._domain = f"tocsin-{uuid.uuid4()}"
        self._client: OpenFeatureClient | None = None

    def open(self) -> Self:
        """Start to watch the file."""
        if _FILTER not in _UPSTREAM.filters:
            _UPSTREAM.addFilter(_FILTER)
        # The provider notes the file's time after it has read it, so it would overlook a change
        # made between the two: read again until nothing changed meanwhile.
        for _ in range(5):
            before = self._stamp()
            provider = FlagdProvider(
                resolver_type=ResolverType.FILE,
                offline_flag_source_path=str(self.path),
                deadline_ms=self._poll_ms,
            )
            try:
                api.set_provider_and_wait(provider, self._domain)
            except OpenFeatureError:
                _log.warning("no flags yet, defaults hold", path=str(self.path))
            if before == self._stamp():
                break
        self._client = api.get_client(self._domain)
        return self

    def close(self) -> None:
        """Stop to watch the file."""
        if self._client is not None:
            api.set_provider_and_wait(NoOpProvider(), self._domain)  # shuts the watcher down
            self._client = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def text(self, key: FlagKey, default: str) -> str:
        """Return the value in force of a flag of text."""
        if self._client is None:
            return default
        return self._client.get_string_value(key, default)

    def switch(self, key: FlagKey, default: bool) -> bool:
        """Return the value in force of a flag that is on or off."""
        if self._client is None:
            return default
        return self._client.get_boolean_value(key, default)

    def _stamp(self) -> int | None:
        try:
            return self.path.stat().st_mtime_ns
        except OSError:
            return None


def evaluate(data: bytes, key: FlagKey) -> Any:
    """Return what an OpenFeature reader of this content would get; None when nothing."""
    core = FlagdCore()
    try:
        core.set_flags(data.decode())
    except (OpenFeatureError, ValueError):
        return None
    for resolve, default in ((core.resolve_string_value, ""), (core.resolve_boolean_value, False)):
        try:
            details = resolve(key, default)
        except (OpenFeatureError, ValueError):
            continue
        if details.variant is not None:
            return details.value
    return None
