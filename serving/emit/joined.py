"""Join the views of a gateway and of the server behind it: one request, one event.

The gateway asks with a header that holds a token which both know. The server's middleware then
makes no event of its own but tells what only it knows: the engine's records and the exact usage,
in a header of an answer in one piece, or in a comment at the end of a stream, which clients ignore
and the gateway takes out. Without the right token the server reports as ever, so that no client can
hide from it. docs/adr/0010-gateway.md says why it is the gateway that reports.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, Final

import orjson

from serving.emit.engine_facts import EngineFacts, condense
from serving.emit.join import EngineRecord

__all__ = [
    "FACTS_HEADER",
    "FACTS_MARK",
    "JOIN_HEADER",
    "STREAMED_FACTS",
    "asks_to_join",
    "facts_of",
    "read_facts",
]

JOIN_HEADER: Final = b"x-tocsin-join"
FACTS_HEADER: Final = b"x-tocsin-facts"
FACTS_MARK: Final = b": tocsin-facts "
STREAMED_FACTS: Final = b"stream"
"""The header's value when the facts come at the end of a stream."""
_LIMIT: Final = 8_192


def asks_to_join(headers: Iterable[tuple[bytes, bytes]], token: bytes) -> bool:
    """Tell whether a request comes from a gateway that reports it; never without a token."""
    if not token:
        return False
    given = next((value for name, value in headers if name.lower() == JOIN_HEADER), None)
    return given is not None and hmac.compare_digest(given, token)


def facts_of(records: Sequence[EngineRecord], state: Mapping[str, Any]) -> bytes:
    """Return what a server knows of a request as JSON in ASCII, on one line."""
    facts: dict[str, Any] = {}
    engine = condense(records)
    if engine != EngineFacts():
        facts["engine"] = {k: v for k, v in asdict(engine).items() if v not in (None, ())}
    usage = getattr(state.get("request_metadata"), "final_usage_info", None)
    if usage is not None:
        cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
        told = {
            "prompt_tokens": getattr(usage, "prompt_tokens", None),
            "completion_tokens": getattr(usage, "completion_tokens", None),
            "cached_tokens": cached,
        }
        facts["usage"] = {k: v for k, v in told.items() if type(v) is int}
    return orjson.dumps(facts)


def read_facts(
    data: bytes | None, state: MutableMapping[str, Any], engine_id: str, at: float
) -> EngineRecord | None:
    """Put what a server told where the middleware looks for it; return the engine's record.

    Args:
        data: what `facts_of` made; anything else is as good as nothing.
        state: the request's own state in the gateway.
        engine_id: under which name the record is to be joined.
        at: monotonic seconds.
    """
    if data is None or len(data) > _LIMIT:
        return None
    try:
        facts = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(facts, dict):
        return None
    usage = facts.get("usage")
    told = usage if isinstance(usage, dict) else {}
    state["request_metadata"] = SimpleNamespace(
        request_id=engine_id,
        final_usage_info=SimpleNamespace(
            prompt_tokens=told.get("prompt_tokens"),
            completion_tokens=told.get("completion_tokens"),
            prompt_tokens_details=SimpleNamespace(cached_tokens=told.get("cached_tokens")),
        ),
    )
    engine = facts.get("engine")
    return _record(engine, engine_id, at) if isinstance(engine, dict) else None


def _record(engine: Mapping[str, Any], engine_id: str, at: float) -> EngineRecord:
    reasons = engine.get("finish_reasons")
    reason = reasons[0] if isinstance(reasons, list) and reasons else None

    def seconds(name: str) -> float | None:
        value = engine.get(name)
        known = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        return float(value) if known and value is not None else None

    def count(name: str) -> int | None:
        value = engine.get(name)
        return value if type(value) is int and value >= 0 else None

    return EngineRecord(
        request_id=engine_id,
        at=at,
        finish_reason=reason if isinstance(reason, str) else None,
        queue_s=seconds("queue_s"),
        prefill_s=seconds("prefill_s"),
        decode_s=seconds("decode_s"),
        tpot_s=seconds("tpot_s"),
        preemptions=count("preemptions"),
        input_tokens=count("input_tokens"),
        cached_input_tokens=count("cached_input_tokens"),
        output_tokens=count("output_tokens"),
    )
