"""The end of llm.windows, read from a real broker."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from schemas.settings import KafkaSettings
from schemas.topics import Topics
from schemas.window import WindowBatch
from streams import tail
from streams.tail import Fence, WindowsTail
from tests.support.broker import Broker, create_topics


def said(sequence: int, up_to: int | None, fence: int | None = 0) -> bytes:
    return WindowBatch(
        schema_version=1,
        source="r",
        epoch="e",
        sequence=sequence,
        fence=fence,
        watermark_us=0,
        up_to_offset=up_to,
    ).to_json()


Log = Sequence[tuple[str, bytes]]


async def found(broker: Broker, log: Log, *sources: str) -> dict[str, int]:
    """Return what is counted, by a log whose last message announces every source."""
    await create_topics(broker.bootstrap, [Topics.WINDOWS])
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        for source, value in [*log, ("other", b"garbage")]:
            place = await producer.send_and_wait(Topics.WINDOWS.name, value, key=source.encode())
    reader = WindowsTail(KafkaSettings(bootstrap=broker.bootstrap))
    return await reader.up_to(dict.fromkeys(sources, Fence(place.offset)))


async def test_the_newest_offset_of_each_source_is_found_however_far_back(
    fresh_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_STEP", 4)
    log = [("r-0", said(1, None, None)), ("r-1", said(1, None, None)), ("r-1", said(2, 70, 1))]
    log += [("r-0", said(sequence, sequence * 10)) for sequence in range(2, 20)]
    log += [("r-0", said(20, None))]  # the first of two pieces: says nothing yet
    log += [("r-0", b"garbage"), ("r-0", b"[1]"), ("r-2", said(1, None, None))]
    sources = ("r-0", "r-1", "r-2", "r-3")
    assert await found(fresh_broker, log, *sources) == {"r-0": 190, "r-1": 70}


async def test_an_empty_log_counts_nothing(fresh_broker: Broker) -> None:
    assert await found(fresh_broker, [], "r-0") == {}


@pytest.mark.parametrize("step", [1, 2, 500])
async def test_what_a_stalled_owner_sent_behind_its_successors_announcement_is_not_counted(
    fresh_broker: Broker, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(tail, "_STEP", step)
    announced = said(1, None, None)
    log = [
        ("r", announced),  # 0: the first owner
        ("r", said(2, 5, 0)),
        ("r", announced),  # 2: its successor, who gets nothing done
        ("r", said(3, 9, 0)),  # 3: the first one, unaware
        ("r", announced),  # 4: the third owner, whose acknowledgement is lost
        ("r", said(4, 11, 0)),
        ("r", said(2, None, 2)),
        ("r", announced),  # 7: the third owner, again
        ("r", said(5, 12, 0)),
    ]
    assert await found(fresh_broker, log, "r") == {"r": 5}
