"""The ordeal with small numbers, and that its verdict can condemn."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.event import RequestEvent
from tests.chaos_gateway.client import Outcome, Seen
from tests.chaos_gateway.run import run
from tests.chaos_gateway.verdict import Verdict, judge
from tests.unit.serving.emit.events import make_event


async def test_every_request_has_one_event_whatever_breaks() -> None:
    # With so few requests one error is more than half a percent.
    verdict = await run(600, seed=3, workers=16, error_rate=0.02)
    assert verdict.faults == []
    assert verdict.requests == verdict.events >= 600
    assert verdict.outcomes["left"] > 0
    assert verdict.outcomes["rejected"] > 0


def judged(seen: list[Seen], events: list[RequestEvent], **changes: Any) -> Verdict:
    given: dict[str, Any] = {"most_ejected": 2, "cap": 2, "back": True, "error_rate": 0.005}
    return judge(seen, seen, events, **(given | changes))


def event(number: int, **fields: Any) -> RequestEvent:
    return make_event(number, **fields)


OK = [Seen("r-0", 0, Outcome.OK, 200)]


def test_all_well() -> None:
    assert judged(OK, [event(0)]).faults == []


@pytest.mark.parametrize(
    ("seen", "events", "changes", "said"),
    [
        (OK, [], {}, "r-0: 0 events"),
        (OK, [event(0), event(0)], {}, "r-0: 2 events"),
        (OK, [event(0), event(1)], {}, "r-1: an event of no request"),
        (OK, [event(0, error_type="x")], {}, "its event says x"),
        (OK, [event(0, status_code=500)], {}, "its event 500"),
        ([Seen("r-0", 0, Outcome.ERROR, 200)], [event(0)], {}, "says that it went well"),
        ([Seen("r-0", 0, Outcome.REJECTED, 400)], [event(0)], {}, "was rejected"),
        ([Seen("r-0", 0, Outcome.BROKEN)], [event(0)], {}, "without a word"),
        ([Seen("r-0", 0, Outcome.ERROR, 200)], [event(0, error_type="x")], {}, "100.00%"),
        (OK, [event(0)], {"most_ejected": 3}, "3 upstreams were ejected"),
        (OK, [event(0)], {"back": False}, "has not answered again"),
    ],
)
def test_what_condemns(
    seen: list[Seen], events: list[RequestEvent], changes: dict[str, Any], said: str
) -> None:
    assert any(said in fault for fault in judged(seen, events, **changes).faults)
