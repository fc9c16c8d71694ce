"""Tell alerting how the executor's kill switch stands, so that policy need not ask in vain.

The file is the truth (``serving/actuators/freeze.py``): it holds without broker and worker. What
is told on `llm.actions` lets the ladder say at once that nothing will be done, and by whom.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from schemas.action import KillSwitch
from schemas.base import SCHEMA_VERSION
from serving.actuators.freeze import frozen

__all__ = ["KillSwitchTeller"]


class KillSwitchTeller:
    """Says how the kill switch stands when that differs from what was said last.

    Args:
        data_dir: where the kill switch lies.
        executor: who says so.
        now_us: UTC microseconds.
        send: puts a message on `llm.actions`.
    """

    def __init__(
        self,
        data_dir: Path,
        executor: str,
        now_us: Callable[[], int],
        send: Callable[[KillSwitch], Awaitable[object]],
    ) -> None:
        self._data_dir = data_dir
        self._executor = executor
        self._now_us = now_us
        self._send = send
        self._told: KillSwitch | None = None
        self._owns = False
        self._telling = asyncio.Lock()

    def leave(self) -> None:
        """Leave it to another executor, or find out first what was said last."""
        self._owns = False

    def take_over(self, told: KillSwitch | None) -> None:
        """Go on from what was said last; None if nothing was."""
        self._told = told
        self._owns = True

    async def tell(self) -> None:
        """Say how it stands if that is news and nobody else has to.

        Raises:
            KafkaError: the broker does not take it.
        """
        async with self._telling:
            if not self._owns:
                return
            reason = await asyncio.to_thread(frozen, self._data_dir)
            status: Literal["on", "off"] = "off" if reason is None else "on"
            told = self._told
            if told is not None and (told.status, told.reason) == (status, reason or ""):
                return
            message = KillSwitch(
                schema_version=SCHEMA_VERSION,
                status=status,
                reason=reason or "",
                executor=self._executor,
                at_us=self._now_us(),
            )
            await self._send(message)
            self._told = message
