from __future__ import annotations

from typing import cast

import pytest

from tocsin.embedded.store.connection import EngineConnection
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.query import SessionRequest
from tocsin.embedded.store.sessions import SessionRegistry


class FakeConnection:
    closed = False

    def close(self) -> None:
        self.closed = True


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> SessionRegistry:
    return SessionRegistry(lambda: cast("EngineConnection", FakeConnection()), clock, limit=2)


def ask(name: str = "a", *, must_exist: bool = False, close_after: bool = False) -> SessionRequest:
    return SessionRequest(name, timeout_s=60, must_exist=must_exist, close_after=close_after)


def test_a_session_is_the_same_connection_until_it_expires(
    registry: SessionRegistry, clock: Clock
) -> None:
    first = registry.take(ask())
    registry.give_back(ask())
    clock.time = 59
    assert registry.take(ask()) is first
    registry.give_back(ask())
    clock.time = 118
    assert registry.take(ask()) is first
    registry.give_back(ask())
    clock.time = 179
    assert registry.take(ask()) is not first
    assert cast("FakeConnection", first).closed


def test_a_session_serves_one_request_at_a_time(registry: SessionRegistry, clock: Clock) -> None:
    registry.take(ask())
    clock.time = 1000
    with pytest.raises(EngineError) as caught:
        registry.take(ask())
    assert caught.value.code == 373


def test_a_session_that_must_exist_and_one_that_is_closed(registry: SessionRegistry) -> None:
    with pytest.raises(EngineError) as caught:
        registry.take(ask(must_exist=True))
    assert caught.value.code == 372
    registry.take(ask(close_after=True))
    registry.give_back(ask(close_after=True))
    assert len(registry) == 0


def test_idle_sessions_make_room_and_busy_ones_do_not(
    registry: SessionRegistry, clock: Clock
) -> None:
    first = registry.take(ask("a"))
    registry.give_back(ask("a"))
    clock.time = 1
    registry.take(ask("b"))
    registry.take(ask("c"))
    assert cast("FakeConnection", first).closed
    with pytest.raises(EngineError) as caught:
        registry.take(ask("d"))
    assert caught.value.code == 290
    registry.close()
    assert len(registry) == 0
