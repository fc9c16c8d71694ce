"""Every event is one row and one count; every bad input is a letter that says where it stood."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.codec import encode_batch
from schemas.dead_letter import DeadLetterReason as Reason
from schemas.topics import Topics
from tests.acceptance.running import (
    WINDOW_US,
    Running,
    eventually,
    new_events,
    producer,
    running_stack,
    start_worker,
)
from tests.support.broker import read_all

COUNT = 2_040
REQUESTS = Topics.REQUESTS.name


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_stack(tmp_path_factory.mktemp("once")) as stack:
        yield stack


def doc(**fields: Any) -> dict[str, Any]:
    """Return a valid event as JSON values, changed; a field that is None is left out."""
    (good,) = new_events(1, random.Random(time.time_ns()))
    values = {**json.loads(good.to_json()), **fields}
    return {name: value for name, value in values.items() if value is not None}


def bad(**fields: Any) -> bytes:
    return json.dumps(doc(**fields)).encode()


FUTURE_US = (time.time_ns() // 1_000) + 3_600_000_000

# Value: why it is refused, and which events of it are (None: the whole record).
BAD: dict[str, tuple[bytes | None, Reason, int | None]] = {
    "no value": (None, Reason.EMPTY, None),
    "empty value": (b"", Reason.EMPTY, None),
    "empty array": (b"[]", Reason.EMPTY, None),
    "garbage": (b"\x00\xff\xfe garbage", Reason.NOT_JSON, None),
    "truncated": (bad()[:-20], Reason.NOT_JSON, None),
    "truncated array": (b"[" + bad(), Reason.NOT_JSON, None),
    "not a number": (bad().replace(b'"e2e_s": ', b'"e2e_s": NaN, "x": '), Reason.NOT_JSON, None),
    "a number": (b"42", Reason.NOT_AN_EVENT, None),
    "array of a number": (b"[42]", Reason.NOT_AN_EVENT, 0),
    "wrong type": (bad(e2e_s="soon"), Reason.INVALID_VALUE, None),
    "wrong type of a list": (bad(finish_reasons="stop"), Reason.INVALID_VALUE, None),
    "negative duration": (bad(ttft_s=-1), Reason.INVALID_VALUE, None),
    "negative time": (bad(start_time_us=-5), Reason.TIME_OUT_OF_RANGE, None),
    "absurd time": (bad(end_time_us=10**18), Reason.TIME_OUT_OF_RANGE, None),
    "1970": (bad(start_time_us=1, end_time_us=2), Reason.TIME_OUT_OF_RANGE, None),
    "ends first": (bad(start_time_us=FUTURE_US), Reason.TIME_OUT_OF_RANGE, None),
    "future": (bad(end_time_us=FUTURE_US), Reason.TIME_IN_FUTURE, None),
    "unknown version": (bad(schema_version=99), Reason.UNKNOWN_SCHEMA_VERSION, None),
    "no version": (bad(schema_version=None), Reason.MISSING_FIELD, None),
    "unknown field": (bad(temperature=0.7), Reason.UNKNOWN_FIELD, None),
    "missing field": (bad(model=None), Reason.MISSING_FIELD, None),
    "10 MB": (bad(request_id="x" * 10_000_000), Reason.TOO_LARGE, None),
    "more than a fetch": (bad(request_id="x" * 20_000_000), Reason.TOO_LARGE, None),
}


async def test_bad_inputs_are_letters_and_their_neighbours_rows(running: Running) -> None:
    rng = random.Random(1)
    good: set[str] = set()
    expected: set[tuple[str, int, int, int | None]] = set()
    async with producer(running.bootstrap) as sender:
        for number, (value, reason, index) in enumerate(BAD.values()):
            before, after = new_events(2, rng)
            partition = number % 4
            sent = [
                await sender.send(REQUESTS, item, key=b"key", partition=partition)
                for item in (before.to_json(), value, after.to_json())
            ]
            place = await sent[1]
            good |= {str(before.event_id), str(after.event_id)}
            expected.add((reason.value, place.partition, place.offset, index))
        batch = new_events(3, rng)
        items = [
            batch[0].to_json(),
            bad(plan=7),
            batch[1].to_json(),
            b'"text"',
            batch[2].to_json(),
            bad(end_time_us=FUTURE_US),
        ]
        place = await sender.send_and_wait(REQUESTS, b"[" + b",".join(items) + b"]")
        good |= {str(event.event_id) for event in batch}
        for reason, index in [
            (Reason.INVALID_VALUE, 1),
            (Reason.NOT_AN_EVENT, 3),
            (Reason.TIME_IN_FUTURE, 5),
        ]:
            expected.add((reason.value, place.partition, place.offset, index))

    def letters() -> set[tuple[Any, ...]]:
        query = (
            "SELECT reason, partition, offset, `index` FROM dead_letters WHERE topic = {t:String}"
        )
        return set(running.rows(query, t=REQUESTS))

    await eventually(lambda: len(letters()) >= len(expected))
    assert letters() == expected

    await eventually(lambda: running.value("SELECT count() FROM requests") >= len(good))
    found = [str(row[0]) for row in running.rows("SELECT event_id FROM requests")]
    assert sorted(found) == sorted(good)

    told = [
        json.loads(value or b"")
        for _, value in await read_all(running.bootstrap, "llm.dead-letter")
    ]
    assert {
        (letter["reason"], letter["partition"], letter["offset"], letter.get("index"))
        for letter in told
    } == expected
    assert len(told) == len(expected)
    assert all(letter["topic"] == REQUESTS and letter["detail"] for letter in told)
    large = [letter for letter in told if letter["reason"] == Reason.TOO_LARGE]
    assert [letter["payload_size"] > 10_000_000 for letter in large] == [True, True]

    reasons = [reason for reason, *_ in expected]
    for reason in set(reasons):
        assert running.metric("tocsin_dead_letters_total", reason=reason) == reasons.count(reason)
    assert running.metric("tocsin_dead_letters_total") == len(expected)


async def test_one_row_an_event_and_windows_that_add_up(running: Running) -> None:
    before = running.value("SELECT count() FROM requests")
    rng = random.Random(2)
    sent = set()
    async with producer(running.bootstrap) as sender:
        while len(sent) < COUNT:
            batch, single = new_events(50, rng), new_events(1, rng)
            sent |= {event.event_id for event in (*batch, *single)}
            await sender.send_and_wait(REQUESTS, encode_batch(batch))
            await sender.send_and_wait(REQUESTS, single[0].to_json())
    await eventually(lambda: running.value("SELECT count() FROM requests") >= before + len(sent))
    assert running.rows("SELECT count(), uniqExact(event_id) FROM requests") == [
        (before + len(sent), before + len(sent))
    ]
    counted = "SELECT sum(requests) FROM windows FINAL"
    await eventually(lambda: running.value(counted) >= before + len(sent))
    by_window = """
        SELECT intDiv(toUnixTimestamp64Micro({time}), {{size:Int64}}) AS number, model_version,
               {counts}
        FROM {table}
        GROUP BY number, model_version
        ORDER BY number, model_version
    """
    of_rows = by_window.format(
        time="end_time",
        table="requests",
        counts="count(), countIf(failed), sum(input_tokens), sum(output_tokens)",
    )
    of_windows = by_window.format(
        time="window_start",
        table="windows FINAL",
        counts="sum(requests), sum(errors), sum(input_tokens), sum(output_tokens)",
    )
    rows = running.rows(of_rows, size=WINDOW_US)
    assert running.rows(of_windows, size=WINDOW_US) == rows
    assert len(rows) > 2


async def test_the_p95_of_each_window_is_within_one_percent(running: Running) -> None:
    query = """
        WITH exact AS (
            SELECT intDiv(toUnixTimestamp64Micro(end_time), {size:Int64}) AS number, model_version,
                   quantileExact(0.95)(e2e_s) AS e2e, quantileExact(0.5)(ttft_s) AS ttft,
                   count() AS requests
            FROM requests GROUP BY number, model_version
        )
        SELECT exact.requests, abs(e2e_p95_s / exact.e2e - 1), abs(ttft_p50_s / exact.ttft - 1)
        FROM windows FINAL
        JOIN exact ON exact.number = intDiv(toUnixTimestamp64Micro(window_start), {size:Int64})
            AND exact.model_version = windows.model_version
    """
    found = running.rows(query, size=WINDOW_US)
    assert len(found) > 2
    assert max(error for _, *errors in found for error in errors) <= 0.0101


async def test_an_event_sent_twice_is_one_row(running: Running) -> None:
    before = running.value("SELECT count() FROM requests")
    again = new_events(3, random.Random(3))
    async with producer(running.bootstrap) as sender:
        for partition in (0, 1):
            await sender.send_and_wait(REQUESTS, encode_batch(again), partition=partition)
        await sender.send_and_wait(REQUESTS, again[0].to_json(), partition=1)
    await eventually(
        lambda: running.metric("tocsin_duplicates_total", how="event_id") == len(again) + 1
    )
    # The second copy is counted while the first one's insert may be under way.
    await eventually(lambda: running.value("SELECT count() FROM requests") > before)
    assert running.value("SELECT count() FROM requests") == before + len(again)


async def test_a_stop_leaves_nothing_to_be_read_again(running: Running) -> None:
    before = running.value("SELECT count() FROM requests")
    rng = random.Random(4)
    first, second = new_events(500, rng), new_events(500, rng)
    async with producer(running.bootstrap) as sender:
        for event in first:
            await sender.send(REQUESTS, event.to_json())
        await sender.flush()
        await eventually(lambda: running.value("SELECT count() FROM requests") > before)
        assert running.stack.workers[0].stop() == 0
        for event in second:
            await sender.send(REQUESTS, event.to_json())
        await sender.flush()
    print(f"ready after {await start_worker(running.stack):.1f} s")  # noqa: T201
    total = before + len(first) + len(second)
    await eventually(lambda: running.value("SELECT count() FROM requests") >= total)
    await eventually(lambda: running.value("SELECT sum(requests) FROM windows FINAL") >= total)
    assert running.value("SELECT count() FROM requests") == total
    assert running.value("SELECT sum(requests) FROM windows FINAL") == total
    assert running.metric("tocsin_duplicates_total") == 0
