"""What comes in is poison, double, or out of order."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from schemas.dead_letter import DeadLetterReason as Reason
from schemas.topics import Topics
from tests.acceptance.running import producer
from tests.faults.conftest import Start

pytestmark = pytest.mark.faults

REQUESTS: Final = Topics.REQUESTS.name
_DEEP: Final = 100_000

POISON: Final[dict[str, tuple[bytes | None, Reason]]] = {
    "no value": (None, Reason.EMPTY),
    "no text": (b"\x00\xff\xfe\x80", Reason.NOT_JSON),
    "brackets without end": (b"[" * _DEEP, Reason.NOT_JSON),
    "brackets within brackets": (b"[" * _DEEP + b"]" * _DEEP, Reason.NOT_JSON),
    "half a surrogate": (b'{"model": "\\ud800"}', Reason.NOT_JSON),
    "another version": (b'{"schema_version": 99}', Reason.UNKNOWN_SCHEMA_VERSION),
    "closes the next one's bracket": (b"{}, {}", Reason.NOT_JSON),
}


def test_poison_among_good_records_costs_them_nothing(start: Start) -> None:
    scene = start(workers=2)
    scene.load()
    scene.until_rows(500)
    places = asyncio.run(_poison(scene.rig.broker.bootstrap))
    scene.check(letters=len(places))
    query = "SELECT partition, offset, reason FROM dead_letters FINAL"
    assert dict(_by_place(scene.rig.rows(query))) == places


def test_events_sent_twice_and_out_of_order_count_once(start: Start) -> None:
    scene = start(workers=2)
    scene.load(duplicates=0.3, reordered=0.5)
    scene.until_rows(500)
    scene.rig.kill_worker(1)
    scene.until_more(300)
    scene.rig.start_worker(1)
    scene.check()


async def _poison(bootstrap: str) -> dict[tuple[int, int], str]:
    places = {}
    async with producer(bootstrap) as sender:
        for value, reason in POISON.values():
            for partition in range(4):
                place = await sender.send_and_wait(REQUESTS, value, key=b"key", partition=partition)
                places[place.partition, place.offset] = reason.value
    return places


def _by_place(rows: list[tuple[int, int, str]]) -> list[tuple[tuple[int, int], str]]:
    return [((partition, offset), reason) for partition, offset, reason in rows]
