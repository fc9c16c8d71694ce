"""Partitions that come and go: who is told, and in which order."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from schemas.settings import Settings
from schemas.topics import Topics
from streams import app as app_module
from streams import ownership as module
from streams.app import create_app
from streams.ownership import Ownership

REQUESTS = [TP(Topics.REQUESTS.name, number) for number in (2, 0)]
WINDOWS = TP(Topics.WINDOWS.name, 0)


class Told:
    """Everything that Ownership talks to; notes what it was told."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.mine: set[TP] = set()
        self.stuck = False
        signal = SimpleNamespace(connect=lambda *_, **__: None)
        consumer = SimpleNamespace(commit=self._commit, assignment=lambda: self.mine)
        app: Any = SimpleNamespace(
            consumer=consumer, on_partitions_revoked=signal, on_rebalance_complete=signal
        )
        windows: Any = SimpleNamespace(
            revoked=self._revoked,
            flush=self._flush,
            assigned=lambda partitions: self.notes.append(("announce", partitions)),
        )
        ingest: Any = SimpleNamespace(
            revoked=lambda p: self.notes.append(("forget", p)),
            assigned=lambda: self.notes.append("begin"),
        )
        self.ownership = Ownership(
            app, windows, ingest, (Part("merge", self),), (Part("mail", self),)
        )
        self.ownership.connect()

    async def _commit(self) -> None:
        self.notes.append("commit")

    async def _revoked(self, partitions: list[int]) -> None:
        self.notes.append(("send", partitions))

    async def _flush(self) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        self.notes.append("flush")


class Part:
    def __init__(self, name: str, told: Told) -> None:
        self.name, self.told = name, told

    async def assigned(self, owner: bool) -> None:
        self.told.notes.append((self.name, owner))


async def test_what_goes_is_sent_and_committed_first_and_nobody_is_paged_twice() -> None:
    told = Told()
    await told.ownership._revoked(None, {*REQUESTS, WINDOWS})
    assert told.notes == [("mail", False), ("send", [0, 2]), ("forget", [0, 2]), "commit"]


@pytest.mark.parametrize("decides", [True, False])
async def test_one_worker_decides(decides: bool) -> None:
    told = Told()
    told.mine = {*REQUESTS, WINDOWS} if decides else {*REQUESTS}
    await told.ownership._settled()
    assert told.notes == ["begin", ("announce", [0, 2]), ("merge", decides), ("mail", decides)]


async def test_the_end_waits_for_the_last_flush_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told()
    await told.ownership.leave()
    assert told.notes == ["flush"]
    monkeypatch.setattr(module, "_LAST_FLUSH_S", 0.01)
    told.stuck = True
    await told.ownership.leave()


async def test_held_messages_keep_no_stop_waiting_and_the_others_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = create_app(Settings())
    held, unfinished = (SimpleNamespace(message=object()) for _ in range(2))
    unacked = {held.message, unfinished.message}
    app.consumer = SimpleNamespace(unacked=unacked)
    app.hold([held])
    assert unacked == {unfinished.message}

    async def wait_empty(_: Any) -> None:
        while unacked:  # noqa: ASYNC110 - as Faust does
            await asyncio.sleep(0.001)

    monkeypatch.setattr(app_module, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(app_module.faust.App, "on_stop", wait_empty)
    async with asyncio.timeout(5):
        await app.on_stop()


def test_a_worker_leaves_when_it_stops_and_while_partitions_move() -> None:
    app = create_app(Settings())
    assert not app.leaving
    app.rebalancing = True
    assert app.leaving
