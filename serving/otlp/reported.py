"""Which spans are views of a request that Tocsin's gateway or middleware reports itself.

Nothing is remembered, so the answer does not depend on what came first: the span itself shows it,
by an attribute of the middleware's, by the trace context or the request id that the gateway or the
middleware has marked, or by an attribute that the operator names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serving.emit.join import join_key
from serving.emit.request_id import is_our_request_id
from serving.emit.span_mark import REPORTED
from serving.emit.trace_mark import marked_parent
from serving.otlp.span import Span
from serving.otlp.told import Told

__all__ = ["is_reported"]


def is_reported(span: Span, told: Told, declared: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether a span's request is reported elsewhere.

    Args:
        span: which tells of a request.
        told: what it tells.
        declared: attributes (or `otel.scope.name`) and the values that show it.
    """
    if span.attributes.get(REPORTED) is True:
        return True
    if span.parent_id and marked_parent(span.trace_state) == span.parent_id:
        return True
    if told.request_id is not None and is_our_request_id(_bare(told.request_id)):
        return True
    servers = declared.get("server.address", ())
    if told.server in servers or (told.server or "").rpartition(":")[0] in servers:
        return True
    for name, values in declared.items():
        found = span.scope if name == "otel.scope.name" else _look_up(span, name)
        if found in values:
            return True
    return False


def _look_up(span: Span, name: str) -> str | None:
    value = span.attributes.get(name, span.resource.get(name))
    return value if isinstance(value, str) else None


def _bare(request_id: str) -> str:
    """Return the id as it was given to the server, which puts its prefix before it."""
    key = join_key(request_id)
    return key.rpartition("_" if key.startswith("resp_") else "-")[2]
