"""Every case of the reference's table on a real vLLM: one right event each, in Kafka.

The tests of this module run in order on one server: first all that it survives, then an outage of
the broker, at the end the death of the engine.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from schemas.event import RequestEvent
from tests.support.vllm.cases import CASES, chat, drive_admission_limit, drive_engine_death
from tests.support.vllm.cases import CHAT as CHAT_PATH
from tests.support.vllm.expected import EXPECTED, NOT_REPORTED
from tests.support.vllm.server import ADMISSION_LIMIT
from tests.vllm.conftest import Live

pytestmark = pytest.mark.vllm

FATAL = sorted(case for case in EXPECTED if case.startswith("engine_dies"))
SURVIVED = sorted(
    case for case in EXPECTED if case not in FATAL and not case.startswith("embeddings")
)
HOLDERS = [f"admission_holder_{index}" for index in range(ADMISSION_LIMIT)]
# How far a stream came before it was cut off differs from run to run.
VARYING = {"stream_client_gone": {"output_tokens"}}

Events = dict[str, list[RequestEvent]]
seen: dict[str, RequestEvent] = {}


def by_feature(events: list[RequestEvent]) -> Events:
    found: Events = {}
    for event in events:
        found.setdefault(str(event.feature), []).append(event)
    return found


def has(cases: list[str]) -> Any:
    return lambda events: set(cases) <= {event.feature for event in events}


@pytest.fixture(scope="module")
def driven(generate: Live) -> Events:
    """Drive every case that the server survives; return the events by case."""
    server = generate.running.client()

    async def drive() -> None:
        for case in CASES:
            if case.server == "generate":
                await case.drive(server, case.name)
        await drive_admission_limit(server, ADMISSION_LIMIT)

    asyncio.run(drive())
    return by_feature(generate.await_events(has([*SURVIVED, *HOLDERS])))


def check(case: str, events: Events) -> None:
    [event] = events[case]
    seen[case] = event
    wanted = {k: v for k, v in EXPECTED[case].items() if k not in VARYING.get(case, set())}
    # prefix caching depends on what ran before
    wanted.pop("cached_input_tokens", None)
    assert {name: getattr(event, name) for name in wanted} == wanted
    assert 0 <= time.time() - event.end_time_us / 1e6 < 600
    well = event.status_code == 200 and event.error_type is None and not event.aborted
    assert (event.queue_s is not None) == (well or case == "server_abort_stream")
    if well:
        assert event.prefill_s is not None
        assert event.e2e_s >= event.prefill_s
        assert event.cached_input_tokens is not None
    if event.stream and event.status_code == 200:
        assert event.ttft_s is not None
        assert 0 < event.ttft_s < event.e2e_s
        assert event.output_tokens


@pytest.mark.parametrize("case", SURVIVED)
def test_one_right_event(case: str, driven: Events) -> None:
    check(case, driven)


def test_nothing_else_is_reported(driven: Events) -> None:
    assert {name: len(events) for name, events in driven.items()} == Counter([*SURVIVED, *HOLDERS])
    assert not NOT_REPORTED & set(driven)


def test_event_ids_are_unique(driven: Events) -> None:
    ids = [event.event_id for events in driven.values() for event in events]
    assert len(set(ids)) == len(ids)


def test_the_engine_is_sampled_at_most_once_a_second(driven: Events, generate: Live) -> None:
    samples = generate.samples()
    assert samples
    assert {(s.server, s.model, s.engine_index) for s in samples} == {("vllm-generate", "tiny", 0)}
    times = sorted(sample.at_us for sample in samples)
    assert all(b - a >= 990_000 for a, b in itertools.pairwise(times))
    assert max(sample.running_requests for sample in samples) >= 1
    assert any((sample.kv_cache_usage or 0) > 0 for sample in samples)


def test_the_server_s_own_metrics_show_the_emitter(driven: Events, generate: Live) -> None:
    text = httpx.get(f"{generate.running.url}/metrics", timeout=10).text
    assert "tocsin_emit_enabled 1.0" in text
    sent = sum(len(events) for events in driven.values())
    assert f'tocsin_emit_events_total{{topic="llm.requests"}} {float(sent)}' in text
    assert "tocsin_emit_contained_failures_total{" not in text


async def ask(generate: Live, prefix: str, count: int = 20) -> list[float]:
    """Send requests; return the seconds that each took."""
    server = generate.running.client()
    times = []
    for index in range(count):
        started = time.monotonic()
        answer = await server.post(f"{prefix}_{index}", CHAT_PATH, chat())
        times.append(time.monotonic() - started)
        assert answer.status_code == 200
    return times


def test_requests_go_on_while_the_broker_cannot_be_reached(driven: Events, generate: Live) -> None:
    before = asyncio.run(ask(generate, "before"))
    generate.await_events(has(["before_19"]))
    generate.proxy.cut()
    during = asyncio.run(ask(generate, "during"))
    assert httpx.get(f"{generate.running.url}/health", timeout=10).status_code == 200
    assert max(during) < 5  # a request that waited for the broker would take its timeout, 10 s
    generate.proxy.up()
    found = by_feature(generate.await_events(has(["during_19"]), timeout_s=60))
    for index in range(20):
        assert (len(found[f"before_{index}"]), len(found[f"during_{index}"])) == (1, 1)
    print(  # noqa: T201
        f"\nmedian request with the broker {sorted(before)[10] * 1e3:.1f} ms,"
        f" without {sorted(during)[10] * 1e3:.1f} ms"
    )


def test_the_server_outlives_the_broker(driven: Events, generate: Live) -> None:
    """Kill the broker, and start an empty one in its place."""
    generate.end_broker()
    asyncio.run(ask(generate, "dead"))
    assert httpx.get(f"{generate.running.url}/health", timeout=10).status_code == 200
    generate.start_broker()
    time.sleep(8)  # longer than the emitter waits between attempts
    asyncio.run(ask(generate, "reborn"))
    found = by_feature(generate.await_events(has(["reborn_19"]), timeout_s=60))
    assert {len(events) for events in found.values()} == {1}
    assert {f"reborn_{index}" for index in range(20)} <= set(found)


def test_the_death_of_the_engine(generate: Live) -> None:
    """The server ends itself soon after: what it has seen is sent before."""
    asyncio.run(drive_engine_death(generate.running.client()))
    events = by_feature(generate.await_events(has(FATAL)))
    for case in FATAL:
        check(case, events)
    generate.running.process.wait(60)
    again = by_feature(generate.events())
    assert {case: len(again[case]) for case in FATAL} == dict.fromkeys(FATAL, 1)


def test_embeddings(embed: Live) -> None:
    server = embed.running.client()
    names = [case.name for case in CASES if case.server == "embed"]

    async def drive() -> None:
        for case in CASES:
            if case.server == "embed":
                await case.drive(server, case.name)

    asyncio.run(drive())
    events = by_feature(embed.await_events(has(names)))
    assert {name: len(found) for name, found in events.items()} == dict.fromkeys(names, 1)
    for name in names:
        [event] = events[name]
        seen[name] = event
        wanted = {k: v for k, v in EXPECTED[name].items() if k != "cached_input_tokens"}
        wanted.pop("queue_s", None)
        assert {field: getattr(event, field) for field in wanted} == wanted
        assert event.prompt_redacted is not None
        assert event.prompt_hash is not None
    assert events["embeddings"][0].queue_s is not None


def test_print_the_table() -> None:
    """Print what came of each case, for the record."""
    columns = ("case", "status", "error", "aborted", "finish", "in", "out", "ttft ms", "e2e ms")
    print("\n" + "{:26} {:>6} {:20} {:7} {:20} {:>4} {:>5} {:>8} {:>8}".format(*columns))  # noqa: T201
    for case, event in seen.items():
        ttft = "-" if event.ttft_s is None else f"{event.ttft_s * 1e3:.1f}"
        output = "?" if event.output_tokens is None else str(event.output_tokens)
        print(  # noqa: T201
            f"{case:26} {event.status_code:>6} {event.error_type or '-':20} "
            f"{'yes' if event.aborted else '-':7} {','.join(event.finish_reasons) or '-':20} "
            f"{'?' if event.input_tokens is None else event.input_tokens:>4} "
            f"{('~' if event.tokens_estimated else '') + output:>5} {ttft:>8} "
            f"{event.e2e_s * 1e3:>8.1f}"
        )
    assert set(seen) == set(EXPECTED)
