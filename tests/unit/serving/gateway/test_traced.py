"""The servers behind a gateway get what shows that it reports their requests."""

from __future__ import annotations

from pathlib import Path

from serving.emit.request_id import is_our_request_id
from tests.support.gateway import file_of, running_gateway
from tests.support.upstream import running_upstream

PARENT = "b7ad6b7169203331"
TRACED = f"00-0af7651916cd43dd8448eb211c80319c-{PARENT}-01"


async def test_the_trace_is_marked_and_the_id_is_the_gateways(tmp_path: Path) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        await gateway.ask(traceparent=TRACED, tracestate="vendor=1")
        event = await gateway.event()
        await gateway.ask(X_Request_Id="mine")
        first, second = up.calls
    assert first.headers["traceparent"] == TRACED
    assert first.headers["tracestate"] == f"tocsin={PARENT},vendor=1"
    assert is_our_request_id(first.headers["x-request-id"])
    assert first.headers["x-request-id"] == event.request_id
    assert second.headers["x-request-id"] == "mine"
    assert "tracestate" not in second.headers
