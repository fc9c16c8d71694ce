"""How a call went."""

from __future__ import annotations

from typing import Any

import pytest

from serving.otlp.outcome import Outcome, outcome_of
from tests.unit.serving.otlp.world import span

EXCEPTION = ("exception", 1.0, {"exception.type": "openai.RateLimitError"})


@pytest.mark.parametrize(
    ("attributes", "failed", "happened", "outcome"),
    [
        ({}, False, [], Outcome(None, None)),
        ({"http.response.status_code": 200}, False, [], Outcome(200, None)),
        ({}, True, [], Outcome(None, "unknown")),
        ({"error.type": "RateLimitError"}, True, [], Outcome(429, "rate_limit_error")),
        ({"error.type": "429"}, True, [], Outcome(429, "429")),
        ({"error.type": "timeout"}, True, [], Outcome(None, "timeout")),
        ({"error.type": "timeout"}, False, [], Outcome(None, "timeout")),
        ({"error.type": "openai.BadRequestError"}, True, [], Outcome(400, "bad_request")),
        ({"error.type": "_OTHER", "http.status_code": 502}, True, [], Outcome(502, "502")),
        ({"http.status_code": "503"}, False, [], Outcome(503, "503")),
        ({"http.status_code": 7}, False, [], Outcome(None, None)),
        ({}, True, [EXCEPTION], Outcome(429, "rate_limit_error")),
        ({}, False, [EXCEPTION], Outcome(None, None)),
        (
            {"error.type": "asyncio.exceptions.CancelledError"},
            True,
            [],
            Outcome(None, None, aborted=True),
        ),
        ({"error.type": "GeneratorExit"}, True, [], Outcome(None, None, aborted=True)),
        ({"error.type": "APIConnectionError"}, True, [], Outcome(None, "apiconnection_error")),
    ],
)
def test_outcomes(
    attributes: dict[str, Any], failed: bool, happened: list[Any], outcome: Outcome
) -> None:
    assert outcome_of(span(attributes=attributes, failed=failed, happened=happened)) == outcome
