"""The mark on spans, with OpenTelemetry's own SDK in a process of its own, as in vLLM."""

from __future__ import annotations

import subprocess
import sys

_WITH_SDK = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving.emit.span_mark import mark_spans

assert not mark_spans()
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
assert mark_spans()
for name in ("llm_request", "Loading (CPU)"):
    span = provider.get_tracer("vllm").start_span(name)
    span.set_attributes({"gen_ai.request.id": "chatcmpl-1"})
    span.end()
marks = [span.attributes.get("tocsin.reported") for span in exporter.get_finished_spans()]
assert marks == [True, None], marks
"""

_WITHOUT = """
import sys
from serving.emit.span_mark import mark_spans
assert not mark_spans()
assert not any(name.startswith("opentelemetry") for name in sys.modules)
"""


def _run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_spans_of_requests_are_marked_and_others_are_not() -> None:
    _run(_WITH_SDK)


def test_a_server_without_opentelemetry_gets_none() -> None:
    _run(_WITHOUT)
