"""A judge that speaks OpenAI's chat completions over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["JudgeServer", "completion", "judge_server"]


def completion(content: Any) -> dict[str, Any]:
    """Return a chat completion with this text."""
    return {"choices": [{"message": {"role": "assistant", "content": content}}]}


@dataclass
class JudgeServer:
    """Answers with ``body``; the first ``failures`` requests get ``status`` instead."""

    body: Any = None
    status: int = 500
    failures: int = 0
    silent: bool = False
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        if self.silent:
            await self.ended.wait()
        if self.failures:
            self.failures -= 1
            return JSONResponse({"error": "no"}, self.status)
        if isinstance(self.body, bytes):
            return Response(self.body, media_type="application/json")
        return JSONResponse(self.body)


@asynccontextmanager
async def judge_server() -> AsyncIterator[JudgeServer]:
    """Serve a judge on a free loopback port, in this loop."""
    judge = JudgeServer(completion('{"score": 4, "explanation": "fine"}'))
    app = Starlette(routes=[Route("/v1/chat/completions", judge.answer, methods=["POST"])])
    config = uvicorn.Config(app, host="127.0.0.1", log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    # Listening from here on: what connects before the server runs is answered once it does.
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    judge.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    try:
        yield judge
    finally:
        judge.ended.set()
        server.should_exit = True
        await serving
