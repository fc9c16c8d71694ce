"""Senders: OpenTelemetry's SDK and exporter, and two instrumentations of the OpenAI client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai import OpenAIInstrumentor as OpenLLMetry
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from schemas.clock import system_clock
from schemas.event import Operation
from tests.support.fleet import fleet_of, running_fleet
from tests.unit.serving.otlp.test_process import running
from tests.unit.serving.otlp.world import Taking

MODEL = "llama-3.1-70b"
HELLO: Any = [{"role": "user", "content": "hello"}]


@contextmanager
def provider(url: str, token: str = "", **resource: str) -> Iterator[TracerProvider]:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    exporter = OTLPSpanExporter(endpoint=url, headers=headers, compression=Compression.Gzip)
    made = TracerProvider(resource=Resource.create(resource))
    made.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield made
    finally:
        made.shutdown()


async def test_spans_of_the_sdk_become_events() -> None:
    def work(url: str) -> None:
        with provider(url, "secret", **{"service.name": "web", "tocsin.plan": "pro"}) as made:
            tracer = made.get_tracer("mine")
            with tracer.start_as_current_span("agent") as agent:
                agent.set_attribute("gen_ai.operation.name", "invoke_agent")
                for number in range(1_000):  # more than one export
                    with tracer.start_as_current_span("chat m", kind=SpanKind.CLIENT) as span:
                        span.set_attribute("gen_ai.operation.name", "chat")
                        span.set_attribute("gen_ai.request.model", f"m-{number % 2}")
                        span.set_attribute("gen_ai.response.finish_reasons", ["stop"])
                        span.set_attribute("gen_ai.usage.output_tokens", number)
                with tracer.start_as_current_span("chat m", kind=SpanKind.CLIENT) as span:
                    span.set_attribute("gen_ai.operation.name", "chat")
                    span.record_exception(TimeoutError("late"))
                    span.set_status(Status(StatusCode.ERROR))

    taking = Taking()
    async with running(taking, token="secret", clock=system_clock) as url:
        await asyncio.to_thread(work, url)
    assert len(taking.events) == 1_001
    assert len({event.event_id for event in taking.events}) == 1_001
    assert {event.output_tokens for event in taking.events} == {None, *range(1_000)}
    assert {event.plan for event in taking.events} == {"pro"}
    (failed,) = (event for event in taking.events if event.failed)
    assert (failed.error_type, failed.status_code) == ("timeout_error", None)
    assert all(e.finish_reasons == ("stop",) for e in taking.events if e is not failed)


async def test_the_sdks_exporter_comes_again_when_the_broker_was_away() -> None:
    class Recovering(Taking):
        refusals = 0

        async def send(self, events: Any, letters: Any) -> None:
            self.away = self.refusals < 1
            self.refusals += 1
            await super().send(events, letters)

    def work(url: str) -> None:
        with provider(url) as made:
            span = made.get_tracer("mine").start_span("chat m", kind=SpanKind.CLIENT)
            span.set_attribute("gen_ai.operation.name", "chat")
            span.end()
            assert made.force_flush()

    taking = Recovering()
    async with running(taking, clock=system_clock) as url:
        await asyncio.to_thread(work, url)
    assert taking.refusals == 2
    assert len(taking.events) == 1


def ask(url: str, headers: Callable[[], dict[str, str]]) -> None:
    """Ask for an answer in one piece, a stream, a model that is not there."""
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=headers())
    stream = client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=headers(),
    )
    assert list(stream)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=HELLO, extra_headers=headers())
    client.close()


@pytest.mark.parametrize("instrumentor", [OpenLLMetry, OpenInference])
async def test_an_instrumented_openai_client(instrumentor: Any, tmp_path: Path) -> None:
    ids = iter(["mine-1", "mine-2", "mine-3"])

    def work(otlp: str, fleet: str) -> None:
        with provider(otlp) as made:
            instrumentor().instrument(tracer_provider=made)
            try:
                ask(fleet, lambda: {"X-Request-Id": next(ids)})
            finally:
                instrumentor().uninstrument()

    taking = Taking()
    profile = fleet_of(vllm={"versions": ["v1"]})
    async with (
        running(taking, clock=system_clock) as url,
        running_fleet(tmp_path, profile) as fleet,
    ):
        await asyncio.to_thread(work, url, fleet.urls["vllm"])
        seen = {one.request_id: one for one in fleet.events}
    whole, streamed, failed = sorted(taking.events, key=lambda event: event.start_time_us)
    assert {event.operation for event in taking.events} == {Operation.CHAT}
    assert (whole.model, failed.model) == (MODEL, "nobody")
    assert (whole.ttft_s, whole.failed, whole.rejected) == (None, False, False)
    for event, theirs in ((whole, seen["mine-1"]), (streamed, seen["mine-2"])):
        assert event.input_tokens == theirs.input_tokens
        assert event.output_tokens == theirs.output_tokens
        assert event.prompt_redacted is None
    assert streamed.stream is True
    assert streamed.ttft_s is not None
    assert 0 < streamed.ttft_s <= streamed.e2e_s
    assert failed.error_type == "not_found"
    assert (failed.status_code, failed.rejected) == (404, True)


async def test_a_client_of_a_server_that_reports_itself_is_not_counted_again(
    tmp_path: Path,
) -> None:
    """The server has made the requests' ids, and the client's spans have them as well."""

    def work(otlp: str, fleet: str) -> None:
        with provider(otlp) as made:
            OpenLLMetry().instrument(tracer_provider=made)
            try:
                ask(fleet, dict)
            finally:
                OpenLLMetry().uninstrument()

    profile = fleet_of(vllm={"versions": ["v1"]})
    async with running_fleet(tmp_path, profile) as fleet:
        address = fleet.urls["vllm"][7:-3]
        for declared, left in (({}, ["not_found"]), ({"server.address": [address]}, [])):
            taking = Taking()
            async with running(taking, clock=system_clock, reported=declared) as url:
                await asyncio.to_thread(work, url, fleet.urls["vllm"])
            # The failed one got no answer, so no id: that takes a declaration.
            assert [event.error_type for event in taking.events] == left
        assert len(fleet.events) == 6
