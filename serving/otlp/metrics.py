"""What the OTLP receiver counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

__all__ = ["ACTIVE", "BROKER_FAILURES", "BYTES", "EXPORTS", "REFUSED", "SPANS", "STALLED"]

EXPORTS: Final = Counter(
    "tocsin_otlp_exports",
    "Exports received, by the HTTP status they were answered with.",
    ["status"],
)
SPANS: Final = Counter(
    "tocsin_otlp_spans",
    "Spans of exports that were acknowledged, by source (vllm, genai, openinference, other) and "
    "outcome: event, joined (to that of another span of the export), reported (by a gateway or a "
    "server itself), refused, ignored (no request).",
    ["source", "outcome"],
)
REFUSED: Final = Counter(
    "tocsin_otlp_refused_spans", "Spans sent to llm.dead-letter, by reason.", ["reason"]
)
BYTES: Final = Counter("tocsin_otlp_bytes", "Bytes of bodies received, as they came.")
BROKER_FAILURES: Final = Counter(
    "tocsin_otlp_broker_failures",
    "Exports that the broker did not acknowledge; their clients were told to come again.",
)
STALLED: Final = Counter(
    "tocsin_otlp_stalled_clients",
    "Connections ended because the client was too slow: head, body.",
    ["where"],
)
ACTIVE: Final = Gauge("tocsin_otlp_active_exports", "Exports under way.")
