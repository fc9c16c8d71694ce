"""vLLM's spans, as a real vLLM 0.32 has sent them (tests/data/otlp)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from schemas.event import Operation
from serving.otlp.decode import Encoding, parse, spans_in
from serving.otlp.span import Span
from serving.otlp.vllm import read_vllm
from tests.support.vllm.record_spans import PARENT
from tests.unit.serving.otlp.world import END_NS, START_NS, World, span

DATA = Path(__file__).parents[3] / "data/otlp"
ENGINE = {
    "gen_ai.request.id": "chatcmpl-client-1",
    "gen_ai.latency.time_to_first_token": 0.2,
    "gen_ai.latency.e2e": 1.9,
    "gen_ai.latency.time_in_queue": 0.01,
    "gen_ai.latency.time_in_model_prefill": 0.1,
    "gen_ai.latency.time_in_model_decode": 1.7,
    "gen_ai.usage.prompt_tokens": 12,
    "gen_ai.usage.completion_tokens": 18,
    "gen_ai.request.n": 1,  # of each choice, however many there are
}


def recorded(name: str) -> list[Span]:
    body = (DATA / f"vllm_{name}.bin").read_bytes()
    return list(spans_in(parse(body, Encoding.PROTOBUF)))


def playing(spans: list[Span]) -> World:
    return World(now_us=max(one.end_ns for one in spans) // 1_000)


def engine(number: int = 1, **changes: object) -> Span:
    return span(number, ENGINE | changes, name="llm_request", scope="vllm.tracing.otel", kind=2)


def test_what_the_engine_tells() -> None:
    found = read_vllm(engine())
    assert found is not None
    assert (found.operation, found.provider) == (Operation.CHAT, "vllm")
    assert found.request_id == "chatcmpl-client-1"
    assert (found.ttft_s, found.e2e_s, found.queue_s) == (0.2, 1.9, 0.01)
    assert (found.prefill_s, found.decode_s) == (0.1, 1.7)
    assert (found.input_tokens, found.output_tokens) == (12, 18)
    # What it does not tell.
    assert (found.model, found.stream, found.status_code, found.user_id) == (None,) * 4


def test_times_of_what_was_never_scheduled_are_unknown() -> None:
    found = read_vllm(engine(**{"gen_ai.latency.time_in_model_decode": -12.5}))
    assert found is not None
    assert found.decode_s is None


def test_other_spans_are_none_of_its_requests() -> None:
    assert read_vllm(span(attributes=ENGINE, name="Loading (CPU)", scope="vllm.x")) is None
    assert read_vllm(span(attributes={}, name="llm_request", scope="mine")) is None


def test_the_choices_of_a_request_are_one_event() -> None:
    world = World()
    slow = {"gen_ai.usage.completion_tokens": 4, "gen_ai.latency.e2e": 2.0}
    late = engine(2, **slow, **{"gen_ai.latency.time_to_first_token": 0.3})
    assert world.send(engine(1), late, engine(1)).status_code == 200
    (event,) = world.taking.events
    assert (event.input_tokens, event.output_tokens) == (12, 22)
    assert (event.ttft_s, event.e2e_s) == (0.2, 2.0)
    assert event.tpot_s == pytest.approx((2.0 - 0.2) / (22 / 2 - 1))


def test_the_prompts_of_a_request_are_one_event_and_each_has_its_tokens() -> None:
    world = World()
    world.send(*(engine(1 + n, **{"gen_ai.request.id": f"cmpl-x-{n}"}) for n in range(3)))
    (event,) = world.taking.events
    assert (event.request_id, event.operation) == ("cmpl-x", Operation.TEXT_COMPLETION)
    assert (event.input_tokens, event.output_tokens) == (36, 54)


def test_a_part_whose_tokens_are_unknown_makes_the_sum_unknown() -> None:
    world = World()
    world.send(engine(1), engine(2, **{"gen_ai.usage.completion_tokens": None}))
    (event,) = world.taking.events
    assert (event.output_tokens, event.tpot_s) == (None, None)


def test_parts_that_come_apart_have_the_same_id() -> None:
    world = World()
    world.send(engine(1))
    world.send(engine(2))
    one, other = world.taking.events
    assert one.event_id == other.event_id


def test_an_id_that_a_client_uses_again_is_another_request() -> None:
    world = World()
    later = span(
        2, ENGINE, name="llm_request", scope="vllm.x", start_ns=START_NS + 1, end_ns=END_NS
    )
    world.send(engine(1), later)
    assert len({event.event_id for event in world.taking.events}) == 2


def test_a_recorded_server_gives_an_event_for_every_request() -> None:
    spans = recorded("plain")
    requests = [one for one in spans if read_vllm(one) is not None]
    assert len(requests) < len(spans), "vLLM also traces how it starts"
    world = playing(spans)
    assert world.send(*spans).content == b""
    events = world.taking.events
    # Two choices share an event, and two prompts; what was rejected has no span.
    assert Counter(event.operation for event in events) == {
        Operation.CHAT: 6,
        Operation.TEXT_COMPLETION: 2,
        Operation.RESPONSES: 1,
    }
    assert len(requests) == len(events) + 3
    for event in events:
        assert (event.model, event.model_version, event.provider) == ("tiny", "tiny-v1", "vllm")
        assert event.server
        assert event.input_tokens
        assert event.ttft_s is not None
        assert 0 < event.ttft_s <= event.e2e_s
        assert event.queue_s is not None
        assert (event.status_code, event.stream, event.error_type) == (None, None, None)
    by_id = {event.request_id: event for event in events}
    assert by_id["chatcmpl-client-1"].output_tokens == 8
    assert by_id["chatcmpl-client-1"].tpot_s is not None
    assert by_id["chatcmpl-client-3"].output_tokens == 16
    assert by_id["chatcmpl-client-3"].input_tokens == by_id["chatcmpl-client-1"].input_tokens


def test_a_recorded_server_that_embeds() -> None:
    spans = recorded("embed")
    world = playing(spans)
    world.send(*spans)
    events = world.taking.events
    assert {event.operation for event in events} == {Operation.EMBEDDINGS}
    assert [(event.input_tokens, event.output_tokens) for event in events] == [(1, 0), (1, 0)]
    assert all(event.ttft_s is None for event in events)


def test_a_recorded_server_with_the_middleware_is_not_counted_again() -> None:
    spans = recorded("reported")
    requests = [one for one in spans if read_vllm(one) is not None]
    assert len(requests) == 12
    assert all(one.attributes["tocsin.reported"] is True for one in requests)
    world = playing(spans)
    world.send(*spans)
    assert world.taking.events == []
    # The trace shows it, too, and keeps what others have put into its state.
    traced = [one for one in requests if one.parent_id == PARENT]
    assert len(traced) == 3
    assert {one.trace_state for one in traced} == {f"tocsin={PARENT},vendor=1"}


@pytest.mark.parametrize("name", ["plain", "embed", "reported"])
def test_the_recordings_hold_no_text(name: str) -> None:
    assert b"hello" not in (DATA / f"vllm_{name}.bin").read_bytes()
