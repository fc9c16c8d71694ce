"""The event of a span: its id, its times, and which attributes the operator has named."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.dead_letter import DeadLetterReason
from schemas.event import RequestEvent, Route
from schemas.settings import Settings
from serving.errors import SpanRefusedError
from serving.otlp.genai import read_genai
from serving.otlp.process import maker_of
from serving.otlp.span import Span
from tests.support.events import NOW_US
from tests.unit.serving.otlp.world import CHAT, END_NS, START_NS, span

YEAR_NS = 365 * 86_400 * 1_000_000_000


def event_of(one: Span, **otlp: Any) -> RequestEvent:
    told = read_genai(one)
    assert told is not None
    return maker_of(Settings.model_validate({"otlp": otlp})).event(one, told, NOW_US)


def test_the_times_are_the_spans() -> None:
    event = event_of(span())
    assert (event.start_time_us, event.end_time_us) == (START_NS // 1_000, END_NS // 1_000)
    assert event.e2e_s == 2.0


def test_the_id_is_the_spans_own_whenever_it_comes() -> None:
    one, again, other = event_of(span(1)), event_of(span(1, resource={"a": "b"})), event_of(span(2))
    assert one.event_id == again.event_id != other.event_id
    assert str(one.event_id) == "5a03e50e-e9dd-5392-85b6-955fe3dc0c06"  # of all versions to come


def test_what_nobody_tells_is_unknown() -> None:
    event = event_of(span(attributes={"gen_ai.operation.name": "chat"}))
    names = (event.server, event.provider, event.model, event.model_version)
    assert names == ("unknown",) * 4
    assert event.request_id == f"{1:032x}/{1:016x}"
    told = event.model_dump(exclude_none=True)
    assert set(told) == {
        "schema_version", "event_id", "request_id", "start_time_us", "end_time_us", "server",
        "provider", "model", "model_version", "operation", "route", "finish_reasons", "aborted",
        "tokens_estimated", "e2e_s", "failed_attempts",
    }  # fmt: skip


def test_the_operators_attributes_come_first_and_a_span_before_its_resource() -> None:
    names = {
        "model_version": ["deployment.id", "service.version"],
        "feature": ["app.feature"],
        "plan": ["tenant.plan"],
        "user_id": ["tenant.id"],
        "route": ["app.route"],
        "server": ["host.name"],
        "provider": ["app.provider"],
        "model": ["app.model"],
    }
    one = span(
        attributes=CHAT | {"app.feature": "search", "tenant.plan": "pro", "app.route": "canary"},
        resource={
            "app.feature": "other",
            "service.version": "v7",
            "tenant.id": "t-1",
            "host.name": "gpu-1",
            "app.provider": "own",
            "app.model": "large",
        },
    )
    event = event_of(one, attributes=names)
    assert (event.feature, event.plan, event.user_id) == ("search", "pro", "t-1")
    assert (event.model_version, event.route) == ("v7", Route.CANARY)
    assert (event.server, event.provider, event.model) == ("gpu-1", "own", "large")


def test_the_defaults_are_tocsins_own_names() -> None:
    one = span(attributes=CHAT | {"tocsin.plan": "pro", "user.id": "u-1", "tocsin.route": "?"})
    event = event_of(one)
    assert (event.plan, event.user_id, event.route) == ("pro", "u-1", Route.STABLE)
    assert event.model_version == "gpt-5-2026-08-01"


@pytest.mark.parametrize(
    ("attributes", "tpot_s"),
    [
        ({"gen_ai.response.time_to_first_chunk": 0.5, "gen_ai.usage.output_tokens": 4}, 0.5),
        ({"gen_ai.response.time_to_first_chunk": 0.5, "gen_ai.usage.output_tokens": 1}, None),
        ({"gen_ai.response.time_to_first_chunk": 0.5}, None),
        ({"gen_ai.usage.output_tokens": 4}, None),
        (
            {
                "gen_ai.response.time_to_first_chunk": 0.5,
                "gen_ai.usage.output_tokens": 8,
                "gen_ai.request.choice.count": 2,
            },
            0.5,
        ),
        (
            {
                "gen_ai.response.time_to_first_chunk": 0.5,
                "gen_ai.usage.output_tokens": 4,
                "error.type": "timeout",
            },
            None,
        ),
    ],
)
def test_the_time_per_token_needs_all_of_its_parts(
    attributes: dict[str, Any], tpot_s: float | None
) -> None:
    assert event_of(span(attributes=CHAT | attributes)).tpot_s == tpot_s


def test_more_cached_tokens_than_tokens_are_unknown() -> None:
    usage = {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.cache_read.input_tokens": 9}
    event = event_of(span(attributes=CHAT | usage))
    assert (event.input_tokens, event.cached_input_tokens) == (3, None)


def test_a_refusal_of_the_request_is_no_failure_and_an_unknown_status_is_one() -> None:
    limited = event_of(span(attributes=CHAT | {"error.type": "RateLimitError"}, failed=True))
    assert (limited.status_code, limited.rejected, limited.failed) == (429, True, False)
    broken = event_of(span(failed=True))
    assert (broken.status_code, broken.rejected, broken.failed) == (None, False, True)


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"trace_id": ""}, DeadLetterReason.MISSING_FIELD, "trace_id '': expected 32"),
        ({"trace_id": "0" * 32}, DeadLetterReason.INVALID_VALUE, "not all of them 0"),
        ({"span_id": "ab"}, DeadLetterReason.INVALID_VALUE, "span_id 'ab': expected 16"),
        ({"start_ns": 0}, DeadLetterReason.MISSING_FIELD, "start 0"),
        ({"end_ns": 0}, DeadLetterReason.MISSING_FIELD, "end 0"),
        ({"end_ns": START_NS - 1_000}, DeadLetterReason.TIME_OUT_OF_RANGE, "before start"),
        ({"start_ns": 1_000}, DeadLetterReason.TIME_OUT_OF_RANGE, "before 2020"),
        ({"end_ns": END_NS + 61 * 10**9}, DeadLetterReason.TIME_IN_FUTURE, "61000000 us later"),
        ({"start_ns": END_NS - YEAR_NS}, DeadLetterReason.INVALID_VALUE, "e2e_s"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, Any], reason: DeadLetterReason, said: str
) -> None:
    with pytest.raises(SpanRefusedError, match=said) as caught:
        event_of(span(**changes))
    assert caught.value.reason is reason


def test_a_clock_may_be_a_little_ahead() -> None:
    assert event_of(span(end_ns=END_NS + 59 * 10**9)).end_time_us > NOW_US
