"""Have vLLM's own spans say that the middleware reports their requests.

The spans are made in the middleware's process. Where OpenTelemetry's SDK is set up there (`vllm
serve --otlp-traces-endpoint`), a span processor marks each when it starts, so that the OTLP
receiver does not make a second event of it, whichever ids the client has chosen.
"""

from __future__ import annotations

import sys
from typing import Any, Final

__all__ = ["REPORTED", "mark_spans"]

REPORTED: Final = "tocsin.reported"
"""An attribute that is true for spans of requests that are reported without them."""
_REQUEST: Final = "llm_request"


def mark_spans() -> bool:
    """Mark the spans that this process will make of requests; return whether it makes any.

    Nothing is imported that the server has not imported itself.
    """
    api, sdk = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.sdk.trace")
    if api is None or sdk is None:
        return False
    provider = api.get_tracer_provider()
    if not isinstance(provider, sdk.TracerProvider):
        return False

    class Marker(sdk.SpanProcessor):  # type: ignore[misc,name-defined]  # known at run time only
        def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002
            if span.name == _REQUEST:
                span.set_attribute(REPORTED, value=True)

    provider.add_span_processor(Marker())
    return True
