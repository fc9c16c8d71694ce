"""Every way that a request to a real vLLM 0.32.0 ended gives exactly one right event."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from schemas.event import Operation, RequestEvent
from schemas.settings import EmitSettings
from tests.support.vllm.expected import EXPECTED, NOT_REPORTED
from tests.support.vllm.replay import RECORDINGS, START_US, Line, load, play

STREAMS = sorted(
    case
    for case, fields in EXPECTED.items()
    if fields.get("stream") and fields["status_code"] == 200
)


async def one_event(lines: list[Line], **options: Any) -> RequestEvent:
    played = await play(lines, adapters={"tiny-lora": "tiny"}, **options)
    assert len(played.events) == 1
    return played.events[0]


def bodies(lines: list[Line]) -> list[tuple[float, str]]:
    return [
        (line["t"], line["message"]["body"])
        for line in lines
        if line["kind"] == "send" and line["message"].get("body")
    ]


def test_each_recording_is_expected() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.jsonl")} == set(EXPECTED) | NOT_REPORTED


@pytest.mark.parametrize("case", sorted(EXPECTED))
async def test_one_right_event(case: str) -> None:
    lines = load(case)
    event = await one_event(lines)
    assert {name: getattr(event, name) for name in EXPECTED[case]} == EXPECTED[case]
    assert event.feature == case
    assert event.start_time_us == START_US
    assert event.end_time_us == START_US + round(event.e2e_s * 1e6)
    assert (event.server, event.provider, event.schema_version) == ("test", "vllm", 1)
    RequestEvent.model_validate_json(event.to_json())


@pytest.mark.parametrize("case", sorted(NOT_REPORTED))
async def test_what_asks_nothing_of_the_model_is_not_reported(case: str) -> None:
    played = await play(load(case))
    assert played.events == []


@pytest.mark.parametrize("case", sorted(EXPECTED))
async def test_the_client_gets_what_the_server_sent(case: str) -> None:
    lines = load(case)
    played = await play(lines)
    sent = [line["message"] for line in lines if line["kind"] == "send"]
    assert [m.get("body", b"").decode() for m in played.sent] == [m.get("body", "") for m in sent]
    for got, original in zip(played.sent, sent, strict=True):
        if got["type"] == "http.response.start":
            kept = [[k.decode(), v.decode()] for k, v in got["headers"] if k != b"x-request-id"]
            assert kept == original["headers"]
            assert got["status"] == original["status"]
    error = lines[-1]["error"]
    assert played.error == error  # what leaves the application still reaches the server


@pytest.mark.parametrize("case", sorted(EXPECTED))
async def test_the_end_is_the_last_byte_or_the_hang_up(case: str) -> None:
    lines = load(case)
    gone = [
        line["t"]
        for line in lines
        if line["kind"] == "receive" and line["message"]["type"] == "http.disconnect"
    ]
    last = [
        line["t"]
        for line in lines
        if line["kind"] == "send"
        and line["message"]["type"] == "http.response.body"
        and not line["message"].get("more_body", False)
    ]
    event = await one_event(lines)
    ended = gone[0] if event.aborted else (last or [lines[-1]["t"]])[0]
    assert event.e2e_s == pytest.approx(ended, abs=1e-9)


def _produces(case: str, body: str) -> bool:
    """Tell by eye, not by parser, whether a chunk brings a token."""
    if case.startswith(("responses", "engine_dies_responses")):
        return "response.output_text.delta" in body
    if case.startswith(("messages", "engine_dies_messages")):
        return "event: content_block_delta" in body
    return '"choices":[{' in body and '"role"' not in body and '"delta":{}' not in body


@pytest.mark.parametrize("case", STREAMS)
async def test_times_of_a_stream(case: str) -> None:
    lines = load(case)
    event = await one_event(lines)
    times = [t for t, body in bodies(lines) if _produces(case, body)]
    assert event.ttft_s == pytest.approx(times[0], abs=1e-9)
    if "n2" in case:
        return
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert event.itl_max_s == pytest.approx(max(gaps), abs=1e-9)
    assert event.itl_mean_s == pytest.approx(sum(gaps) / len(gaps), abs=1e-9)
    if event.error_type is None and not event.aborted:
        tokens = event.output_tokens
        assert tokens is not None
        assert event.tpot_s == pytest.approx((event.e2e_s - times[0]) / (tokens - 1), abs=1e-9)


@pytest.mark.parametrize("case", sorted(EXPECTED))
async def test_engine_figures_are_the_engine_s(case: str) -> None:
    lines = load(case)
    known = {line["request_id"] for line in lines if line["kind"] == "metadata"}
    own = [
        line
        for line in lines
        if line["kind"] == "finished"
        and any(line["request_id"].startswith(request_id) for request_id in known)
    ]
    event = await one_event(lines)
    if event.operation is Operation.EMBEDDINGS:
        return
    if not own:
        assert (event.queue_s, event.prefill_s, event.decode_s) == (None, None, None)
        assert event.preemptions is None
        return
    assert event.queue_s == max(line["queued_time"] for line in own)
    assert event.prefill_s == max(line["prefill_time"] for line in own)
    assert event.decode_s == max(line["decode_time"] for line in own)
    assert event.preemptions == sum(line["num_preemptions"] for line in own)
    if not event.stream and event.output_tokens and event.output_tokens > 1:
        assert event.tpot_s == max(line["mean_time_per_output_token"] for line in own)


async def test_embeddings_are_joined_by_the_request_id_that_was_given() -> None:
    lines = load("embeddings")
    finished = [line for line in lines if line["kind"] == "finished"]
    given = finished[0]["request_id"].removeprefix("embd-").removesuffix("-0")
    lines[0]["headers"].append(["x-request-id", given])
    event = await one_event(lines)
    assert event.queue_s == max(line["queued_time"] for line in finished)
    assert event.finish_reasons == ("stop", "stop")


@pytest.mark.parametrize("case", sorted(EXPECTED))
async def test_without_the_stat_logger(case: str) -> None:
    """Only the engine's own figures become unknown."""
    lines = load(case)
    with_engine, without = await one_event(lines), await one_event(lines, engine=False)
    unknown = {"queue_s", "prefill_s", "decode_s", "preemptions", "cached_input_tokens"}
    if not with_engine.stream:
        unknown |= {"tpot_s"}
    if case == "embeddings":
        unknown |= {"finish_reasons"}
    own = {"event_id", "request_id"}
    fields = set(RequestEvent.model_fields) - unknown - own
    assert {name: getattr(without, name) for name in fields} == {
        name: getattr(with_engine, name) for name in fields
    }
    assert without.queue_s is None


@pytest.mark.parametrize("case", STREAMS)
@pytest.mark.parametrize("seed", range(3))
async def test_chunk_borders_do_not_matter(case: str, seed: int) -> None:
    rng = random.Random(seed)

    def split(body: bytes) -> list[bytes]:
        cuts = sorted(rng.sample(range(1, len(body)), k=min(3, len(body) - 1)))
        return [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]

    lines = load(case)
    whole, cut = await one_event(lines), await one_event(lines, split=split)
    own = {"event_id", "request_id"}
    assert cut.model_dump(exclude=own) == whole.model_dump(exclude=own)


@pytest.mark.parametrize("case", sorted(EXPECTED))
async def test_request_ids(case: str) -> None:
    """vLLM is given an id when the client gave none, and the client learns which it was."""
    lines = load(case)
    played = await play(lines)
    event = played.events[0]
    given = dict(lines[0]["headers"]).get("x-request-id")
    seen = [value.decode() for name, value in played.seen_headers if name == b"x-request-id"]
    assert seen == [event.request_id]
    assert given is None or given == event.request_id
    starts = [m for m in played.sent if m["type"] == "http.response.start"]
    for start in starts:
        told = [v.decode() for k, v in start["headers"] if k == b"x-request-id"]
        assert told == [event.request_id]


@pytest.mark.parametrize("case", ["chat", "chat_stream", "completion_stream", "messages_stream"])
@pytest.mark.parametrize("capture", [False, True])
async def test_text_leaves_only_when_capture_is_on(case: str, capture: bool) -> None:
    lines = load(case)
    settings = EmitSettings(server="test", join_wait_s=0, capture_text=capture, prompt_hash=capture)
    event = await one_event(lines, settings=settings)
    if not capture:
        assert (event.prompt_hash, event.prompt_redacted, event.output_redacted) == (None,) * 3
        return
    body = json.loads(next(x["message"]["body"] for x in lines if x["kind"] == "receive"))
    asked = body.get("prompt") or body["messages"][0]["content"]
    assert event.prompt_redacted is not None
    assert event.prompt_redacted.endswith(asked)
    assert event.prompt_hash is not None
    assert event.output_redacted
