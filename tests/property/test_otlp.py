"""Whatever bytes and spans come: an answer of OTLP's, and every span accounted for."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from schemas.codec import decode_records, encode_batch
from schemas.dead_letter import DeadLetter
from serving.otlp.span import Span
from tests.support.events import NOW_US
from tests.unit.serving.emit.test_answer import json_values
from tests.unit.serving.otlp.world import END_NS, START_NS, World, export

_NAMES = [
    "gen_ai.operation.name", "gen_ai.system", "gen_ai.provider.name", "gen_ai.request.model",
    "gen_ai.response.model", "gen_ai.response.id", "gen_ai.response.finish_reasons",
    "gen_ai.usage.input_tokens", "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.output_tokens", "gen_ai.request.stream", "gen_ai.request.n",
    "gen_ai.response.time_to_first_chunk", "gen_ai.latency.e2e", "gen_ai.request.id",
    "gen_ai.latency.time_to_first_token", "llm.request.type", "openinference.span.kind",
    "error.type", "http.response.status_code", "server.address", "server.port", "user.id",
    "gen_ai.prompt.0.content", "gen_ai.input.messages", "gen_ai.output.messages", "input.value",
    "tocsin.route", "tocsin.model_version",
]  # fmt: skip
_WORDS = ["chat", "embeddings", "LLM", "execute_tool", "canary", "429", "chatcmpl-1", "m", ""]

_texts = st.sampled_from(_WORDS) | st.text(st.characters(codec="utf-8"), max_size=12)
_numbers = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.integers(0, 40)
_values = st.recursive(
    _texts | _numbers | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_attributes = st.dictionaries(st.sampled_from(_NAMES) | _texts, _values, max_size=8)
_requests = _attributes.map(lambda found: {"gen_ai.operation.name": "chat"} | found)
_times = st.sampled_from([0, 1, START_NS, END_NS, 2**64 - 1]) | st.integers(START_NS, END_NS)


def _hex(length: int) -> st.SearchStrategy[str]:
    return st.sampled_from([length, length, 0, 3]).flatmap(
        lambda size: st.binary(min_size=size, max_size=size).map(bytes.hex)
    )


_spans = st.builds(
    Span,
    trace_id=_hex(16),
    span_id=_hex(8),
    parent_id=_hex(8),
    trace_state=_texts,
    name=_texts | st.just("llm_request"),
    kind=st.integers(0, 6),
    start_ns=_times,
    end_ns=_times,
    attributes=_attributes | _requests,
    resource=_attributes,
    scope=_texts | st.just("vllm.x"),
    failed=st.booleans(),
)

_WORLD = World(body_bytes=100_000, emit={"capture_text": True, "prompt_hash": True})


@settings(deadline=None)
@given(
    body=st.binary(max_size=300) | json_values.map(orjson.dumps),
    packed=st.booleans(),
    content_type=st.sampled_from(["application/x-protobuf", "application/json", "text/plain"]),
    content_encoding=st.sampled_from(["", "gzip", "identity", "br"]),
)
def test_arbitrary_bytes_get_an_answer(
    body: bytes, packed: bool, content_type: str, content_encoding: str
) -> None:
    body = gzip.compress(body) if packed else body
    headers = {"content_type": content_type, "content_encoding": content_encoding}
    assert _WORLD.post(body, **headers).status_code in (200, 400, 415)


@settings(deadline=None)
@given(st.lists(_spans, max_size=4), st.data())
def test_torn_exports_get_an_answer(spans: list[Span], data: st.DataObject) -> None:
    body = bytearray(export(spans).SerializeToString())
    for place in data.draw(st.lists(st.integers(0, max(len(body) - 1, 0)), max_size=3)):
        body[place : place + 1] = data.draw(st.binary(max_size=2))
    assert _WORLD.post(bytes(body)).status_code in (200, 400)


@settings(deadline=None)
@given(st.lists(_spans, max_size=5))
def test_every_span_is_accounted_for_and_every_event_is_taken_by_its_readers(
    spans: list[Span],
) -> None:
    world = World(emit={"capture_text": True, "prompt_hash": True})
    response = world.send(*spans)
    assert response.status_code == 200
    said = ExportTraceServiceResponse.FromString(response.content).partial_success
    events, letters = world.taking.events, world.taking.letters
    assert said.rejected_spans == len(letters) <= len(spans)
    assert len(events) + len(letters) <= len(spans)
    read = decode_records(
        [encode_batch(events)] if events else [],
        now_us=NOW_US,
        future_us=60_000_000,
        max_bytes=2**20,
    )
    assert read.refused == []
    assert read.events == events
    for letter in letters:
        assert DeadLetter.model_validate_json(letter.to_json()) == letter


@settings(deadline=None)
@given(json_values)
def test_arbitrary_json_gets_an_answer(document: Any) -> None:
    wrapped = {"resourceSpans": [{"scopeSpans": [{"spans": [document]}]}]}
    for body in (document, wrapped):
        response = _WORLD.post(orjson.dumps(body), content_type="application/json")
        assert response.status_code in (200, 400)
