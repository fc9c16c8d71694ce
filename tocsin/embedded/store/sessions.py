"""Sessions by name: a connection kept between requests, one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tocsin.embedded.store.connection import EngineConnection
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.query import SessionRequest
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["SessionRegistry"]


@dataclass(slots=True)
class _Session:
    connection: EngineConnection
    expires_at: float
    busy: bool


class SessionRegistry:
    """Open, lend and expire sessions; safe to use from several threads.

    Args:
        connect: opens a connection for a new session.
        now: monotonic seconds.
        limit: sessions kept at most; the idle one that would expire first makes room.
    """

    def __init__(
        self,
        connect: Callable[[], EngineConnection],
        now: Callable[[], float],
        limit: int = 1000,
    ) -> None:
        self._connect = connect
        self._now = now
        self._limit = limit
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def take(self, wanted: SessionRequest) -> EngineConnection:
        """Lend the session's connection until `give_back`.

        Raises:
            EngineError: the session is in use (373), or absent though it must exist (372).
        """
        with self._lock:
            self._expire()
            session = self._sessions.get(wanted.name)
            if session is None:
                if wanted.must_exist:
                    raise EngineError(
                        ErrorCode.SESSION_NOT_FOUND,
                        f"Session {wanted.name} not found. (SESSION_NOT_FOUND)",
                    )
                self._make_room()
                session = _Session(self._connect(), expires_at=0.0, busy=False)
                self._sessions[wanted.name] = session
            if session.busy:
                raise EngineError(
                    ErrorCode.SESSION_IS_LOCKED,
                    f"Session {wanted.name} is locked by a concurrent client. (SESSION_IS_LOCKED)",
                )
            session.busy = True
            session.expires_at = self._now() + wanted.timeout_s
            return session.connection

    def give_back(self, wanted: SessionRequest) -> None:
        """Take the connection back; its time-out starts anew."""
        with self._lock:
            session = self._sessions[wanted.name]
            session.busy = False
            session.expires_at = self._now() + wanted.timeout_s
            if wanted.close_after:
                self._drop(wanted.name)

    def close(self) -> None:
        """Close every session."""
        with self._lock:
            for name in list(self._sessions):
                self._drop(name)

    def _expire(self) -> None:
        now = self._now()
        due = [n for n, s in self._sessions.items() if not s.busy and s.expires_at <= now]
        for name in due:
            self._drop(name)

    def _make_room(self) -> None:
        if len(self._sessions) < self._limit:
            return
        idle = [(s.expires_at, n) for n, s in self._sessions.items() if not s.busy]
        if not idle:
            raise EngineError(
                ErrorCode.LIMIT_EXCEEDED,
                f"all {self._limit} sessions are in use. (LIMIT_EXCEEDED)",
            )
        self._drop(min(idle)[1])

    def _drop(self, name: str) -> None:
        self._sessions.pop(name).connection.close()
