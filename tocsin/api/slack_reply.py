"""Tell whoever decided in vain why, to them alone, by the address that Slack gives with a click.

Slack wants its answer within three seconds, and only the alert knows whether a decision counts. So
this looks afterwards what became of it. Those that count show in the incident's message itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httpx
import structlog

from schemas.clock import Clock
from schemas.command import DecideCommand
from tocsin.api.errors import AwayError
from tocsin.api.reading import Reading

__all__ = ["SlackReplies"]

log = structlog.get_logger(__name__)

_SLACK: Final = "https://hooks.slack.com/"
_LOOK_S: Final = 0.5
_TIMEOUT_S: Final = 10.0


class SlackReplies:
    """Answers decisions that did nothing.

    Args:
        reading: knows what became of decisions.
        clock: UTC microseconds.
        base_url: the only place that is posted to; what a click names elsewhere is left alone.
        looks: how often it looks, half a second apart, before it gives up.
        client: makes the HTTP client of one answer.
    """

    def __init__(
        self,
        reading: Reading,
        clock: Clock,
        *,
        base_url: str = _SLACK,
        looks: int = 30,
        client: Callable[[], httpx.AsyncClient] = lambda: httpx.AsyncClient(timeout=_TIMEOUT_S),
    ) -> None:
        self._reading = reading
        self._clock = clock
        self._base_url = base_url
        self._looks = looks
        self._client = client

    async def answer(self, command: DecideCommand, response_url: str) -> None:
        """Say why a decision did nothing, if so; a fault on the way is logged, no more."""
        if not response_url.startswith(self._base_url):
            return
        why = await self._in_vain(command)
        if why is None:
            return
        deed = "approval" if command.approve else "rejection"
        body = {
            "response_type": "ephemeral",
            "replace_original": False,
            "text": f"Your {deed} of {command.subject} did nothing: {why}",
        }
        try:
            async with self._client() as client:
                (await client.post(response_url, json=body)).raise_for_status()
        except httpx.HTTPError as error:  # its text may hold the address, which lets one answer
            log.warning("click_unanswered", error=type(error).__name__)

    async def _in_vain(self, command: DecideCommand) -> str | None:
        """Return why a decision did nothing; None if it counts, or nothing is known of it."""
        for look in range(self._looks):
            if look:
                await asyncio.sleep(_LOOK_S)
            try:
                known = await self._reading.approvals(
                    self._clock(), every=True, action=command.subject
                )
            except AwayError:
                continue
            words: list[dict[str, Any]] = [w for one in known for w in one["ignored"]]
            for word in words:
                if word["command_id"] == command.command_id:
                    return str(word["reason"])
            if any((one["decided"] or {}).get("command_id") == command.command_id for one in known):
                return None
        return None
