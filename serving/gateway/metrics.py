"""What the gateway counts beside its events: attempts, ejections, limits, shadow copies."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "ACTIVE",
    "ATTEMPTS",
    "CAPPED",
    "EJECTED",
    "FIRST_BYTE",
    "FLAGS_VALID",
    "FLAG_FAULTS",
    "LIMITED",
    "SHADOWS",
    "STALLED",
    "UNJOINED",
]

ATTEMPTS: Final = Counter(
    "tocsin_gateway_attempts",
    "Attempts at upstreams, by how they ended: ok, passed (a 4xx for the client), unreachable, "
    "timeout, error, broken, rate_limited, bad_answer, refused_key, not_there, gone.",
    ["upstream", "outcome"],
)
FIRST_BYTE: Final = Histogram(
    "tocsin_gateway_upstream_first_byte_seconds",
    "From asking an upstream to the first byte of an answer that went well.",
    ["upstream"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)
EJECTED: Final = Gauge(
    "tocsin_gateway_ejected", "1 while an upstream is out of rotation.", ["upstream"]
)
CAPPED: Final = Counter(
    "tocsin_gateway_ejections_capped",
    "Ejections that did not happen because too many upstreams were ejected already.",
)
LIMITED: Final = Counter(
    "tocsin_gateway_rate_limited", "Requests turned away by a rate limit, by profile.", ["profile"]
)
SHADOWS: Final = Counter(
    "tocsin_gateway_shadow_copies",
    "Copies of requests whose answers are thrown away, by upstream, version and how they ended.",
    ["upstream", "version", "outcome"],
)
UNJOINED: Final = Counter(
    "tocsin_gateway_unjoined",
    "Answers of upstreams that should join their view but do not: these requests count twice.",
    ["upstream"],
)
STALLED: Final = Counter(
    "tocsin_gateway_stalled_clients",
    "Connections closed because the client was too slow: head, body, answer.",
    ["where"],
)
FLAGS_VALID: Final = Gauge(
    "tocsin_gateway_flags_valid", "1 when the flag file parses, 0 while the last good values hold."
)
FLAG_FAULTS: Final = Counter(
    "tocsin_gateway_flag_faults", "Looks at a flag whose value is of no use.", ["flag"]
)
ACTIVE: Final = Gauge("tocsin_gateway_active_requests", "Requests under way.")
