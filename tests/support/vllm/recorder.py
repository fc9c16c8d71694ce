"""Record what an ASGI middleware sees in a real vLLM, one JSON-lines file per exchange.

`vllm serve --middleware recorder.Recorder` with this folder on PYTHONPATH and RECORD_DIR set.
Requests that carry the header `X-Record-Case` are recorded to RECORD_DIR/<case>.jsonl, the others
pass through.

Lines, each with `t`, seconds since the request began:
- `scope`: method, path, headers, client;
- `receive` / `send`: the ASGI message (bodies as text);
- `metadata`: what stands in scope["state"]["request_metadata"], whenever it has changed;
- `finished`: a FinishedRequestStats that a stat logger was handed;
- `end`: the exception that left the application, or null.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

__all__ = ["Recorder"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SECRET = {"authorization"}


class _Tape:
    """One exchange being recorded."""

    def __init__(self, case: str) -> None:
        self.case = case
        self.lines: list[dict[str, Any]] = []
        self.started = time.monotonic()
        self.metadata: dict[str, Any] | None = None

    def write(self, kind: str, **fields: Any) -> None:
        self.lines.append({"t": round(time.monotonic() - self.started, 6), "kind": kind, **fields})

    def look_at(self, scope: Scope) -> None:
        """Write the request metadata down when vLLM has set or changed it."""
        metadata = scope.get("state", {}).get("request_metadata")
        if metadata is None:
            return
        usage = metadata.final_usage_info
        seen = {
            "request_id": metadata.request_id,
            "final_usage_info": None if usage is None else usage.model_dump(exclude_none=True),
        }
        if seen != self.metadata:
            self.metadata = seen
            self.write("metadata", **seen)

    def save(self, directory: Path) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines)
        (directory / f"{self.case}.jsonl").write_text(text, encoding="utf-8")


_open: list[_Tape] = []


def _message(message: MutableMapping[str, Any]) -> dict[str, Any]:
    shown = dict(message)
    if "body" in shown:
        shown["body"] = shown["body"].decode("utf-8", "surrogateescape")
    if "headers" in shown:
        shown["headers"] = [[k.decode(), v.decode()] for k, v in shown["headers"]]
    return shown


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, enum.Enum) else value


def _tap_stat_loggers() -> None:
    """Copy what stat loggers are handed; only an experiment may patch vLLM like this."""
    from vllm.v1.metrics.loggers import StatLoggerManager

    original = StatLoggerManager.record

    def record(self: Any, *args: Any, **kwargs: Any) -> Any:
        stats = kwargs.get("iteration_stats")
        for finished in getattr(stats, "finished_requests", None) or ():
            fields = {k: _plain(v) for k, v in dataclasses.asdict(finished).items()}
            for tape in _open:
                tape.write("finished", **fields)
        return original(self, *args, **kwargs)

    StatLoggerManager.record = record


class Recorder:
    """Write down the exchanges that ask for it, and change nothing."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app
        self.directory = Path(os.environ["RECORD_DIR"])
        _tap_stat_loggers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one connection through."""
        headers = dict(scope.get("headers") or ())
        case = headers.get(b"x-record-case", b"").decode()
        if scope["type"] != "http" or not case:
            await self.app(scope, receive, send)
            return
        tape = _Tape(case)
        shown = [
            [k.decode(), "-" if k.decode() in _SECRET else v.decode()] for k, v in scope["headers"]
        ]
        tape.write("scope", method=scope["method"], path=scope["path"], headers=shown)
        _open.append(tape)

        async def tapped_receive() -> MutableMapping[str, Any]:
            message = await receive()
            tape.write("receive", message=_message(message))
            return message

        async def tapped_send(message: MutableMapping[str, Any]) -> None:
            tape.look_at(scope)
            tape.write("send", message=_message(message))
            await send(message)

        error: str | None = None
        try:
            await self.app(scope, tapped_receive, tapped_send)
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            tape.look_at(scope)
            _open.remove(tape)
            tape.write("end", error=error)
            tape.save(self.directory)
