"""What the demo uses to put steps and points on a receiver's page."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from tocsin.receiver.api import TOKEN_HEADER
from tocsin.receiver.charts import Point, PointBatch
from tocsin.receiver.errors import PushRefusedError
from tocsin.receiver.timeline import Step

__all__ = ["ReceiverClient"]


class ReceiverClient:
    """A client of one receiver.

    Raises:
        PushRefusedError: from every method, when the receiver refuses or cannot be reached.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 5) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers={TOKEN_HEADER: token}, timeout=timeout_s, trust_env=False
        )

    async def step(self, step: Step) -> None:
        """Put a step on the timeline."""
        await self._push("/api/timeline", step.model_dump_json())

    async def points(self, points: Sequence[Point]) -> None:
        """Put points on the charts."""
        await self._push("/api/metrics", PointBatch(points=list(points)).model_dump_json())

    async def messages(self) -> list[dict[str, Any]]:
        """Return what Slack got."""
        return list((await self._call("GET", "/api/messages"))["messages"])

    async def incidents(self) -> list[dict[str, Any]]:
        """Return what PagerDuty got."""
        return list((await self._call("GET", "/api/incidents"))["incidents"])

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _push(self, path: str, body: str) -> None:
        await self._call("POST", path, content=body)

    async def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise PushRefusedError(
                f"{self._http.base_url}: {error or type(error).__name__}"
            ) from None
        if response.is_error:
            raise PushRefusedError(f"{path}: {response.status_code}: {response.text[:300]}")
        answer: dict[str, Any] = response.json()
        return answer
