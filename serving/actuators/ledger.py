"""Remember what was done to systems that remember nothing themselves.

One file beside the flag file, which all executors share. An action is entered as begun before it
takes effect and as done after it, so whoever comes after a crash knows what to look for. The lease
lets one executor at a time work on a lever; the system frees it when its holder dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.action import ActionResult
from serving.errors import ActuatorError, FlagLockError
from serving.flags.atomic import replace_file
from serving.flags.lock import writer_lock

__all__ = ["ActionLedger", "Entry"]

_LIMIT: Final = 200
_SIZE_LIMIT: Final = 8 * 1024 * 1024


class Entry(BaseModel):
    """One action: begun, or done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    done: bool
    result: ActionResult


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[int, Field(ge=1, le=1)] = 1
    entries: tuple[Entry, ...] = ()


class ActionLedger:
    """The ledger at a path; the newest 200 actions are kept.

    Args:
        path: of the file; its folder is made when needed.
        lock_timeout_s: how long another executor is waited for.
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = 30.0) -> None:
        self.path = path
        self._lock_timeout_s = lock_timeout_s

    async def entry(self, action_id: str) -> Entry | None:
        """Return what is known of an action.

        Raises:
            ActuatorError: the ledger cannot be read; nothing may be done without it.
        """
        entries = (await asyncio.to_thread(self._read)).entries
        return next((e for e in reversed(entries) if e.result.action_id == action_id), None)

    async def latest(self, actuator: str) -> ActionResult | None:
        """Return the newest action that an actuator has done."""
        entries = (await asyncio.to_thread(self._read)).entries
        return next(
            (e.result for e in reversed(entries) if e.done and e.result.actuator == actuator), None
        )

    async def begin(self, result: ActionResult) -> None:
        """Enter an action before it takes effect."""
        await asyncio.to_thread(self._put, Entry(done=False, result=result))

    async def finish(self, result: ActionResult) -> None:
        """Enter an action that has taken effect."""
        await asyncio.to_thread(self._put, Entry(done=True, result=result))

    async def forget(self, action_id: str) -> None:
        """Take an action out that has had no effect."""
        await asyncio.to_thread(self._put, None, action_id)

    @asynccontextmanager
    async def lease(self, actuator: str) -> AsyncIterator[None]:
        """Hold a lever for the block.

        Raises:
            ActuatorError: another executor has held it for too long.
        """
        async with AsyncExitStack() as stack:
            held = writer_lock(
                self.path.with_name(f"{self.path.name}.{actuator}"), self._lock_timeout_s
            )
            try:
                await asyncio.to_thread(self._make_folder)
                await asyncio.to_thread(held.__enter__)
            except FlagLockError as error:
                raise ActuatorError(f"another executor works on {actuator}: {error}") from None
            stack.callback(held.__exit__, None, None, None)
            yield

    def _make_folder(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def _read(self) -> _File:
        try:
            with self.path.open("rb") as file:
                data = file.read(_SIZE_LIMIT)
            return _File.model_validate_json(data)
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise ActuatorError(f"{self.path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ActuatorError(f"{self.path}: no ledger of actions: {first['msg']}") from None

    def _put(self, entry: Entry | None, action_id: str = "") -> None:
        self._make_folder()
        with writer_lock(self.path):
            present = self._read()
            own = entry.result.action_id if entry else action_id
            entries = [e for e in present.entries if e.result.action_id != own]
            if entry is not None:
                entries.append(entry)
            changed = _File(entries=tuple(entries[-_LIMIT:]))
            replace_file(self.path, changed.model_dump_json(indent=1).encode())
