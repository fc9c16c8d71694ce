"""A client that costs little: one request again and again, timed to its first and last byte."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from statistics import quantiles

__all__ = ["Cell", "measure"]


@dataclass
class Cell:
    """What one load gave: seconds to the end and to the first byte of each request."""

    totals: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    failed: int = 0

    def add(self, other: Cell) -> None:
        self.totals += other.totals
        self.firsts += other.firsts
        self.wall_s += other.wall_s
        self.failed += other.failed

    def percentile(self, percent: int, values: list[float]) -> float:
        return quantiles(values, n=100, method="inclusive")[percent - 1]


def request(port: int, path: str, tokens: int, headers: dict[str, str]) -> bytes:
    asked = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Tell me something."}],
        "max_tokens": tokens,
        "stream": True,
    }
    body = json.dumps(asked).encode()
    named = {
        "Host": f"127.0.0.1:{port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def measure(
    port: int,
    *,
    path: str = "/v1/chat/completions",
    tokens: int,
    concurrency: int,
    requests: int,
    headers: dict[str, str] | None = None,
    budget_s: float = 60.0,
) -> Cell:
    """Send requests over `concurrency` connections, each as soon as the one before is answered.

    After `budget_s` seconds no more are begun.
    """
    cell = Cell()
    data = request(port, path, tokens, headers or {})
    left = requests
    end = time.perf_counter() + budget_s

    async def one() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while left > 0 and time.perf_counter() < end:
                left -= 1
                began = time.perf_counter()
                writer.write(data)
                head = await reader.readuntil(b"\r\n\r\n")
                got = await reader.read(65_536)
                first = time.perf_counter()
                while not got.endswith(b"0\r\n\r\n"):
                    more = await reader.read(65_536)
                    if not more:
                        raise ConnectionResetError
                    got = got[-16:] + more
                if b" 200 " in head[:20] and b"[DONE]" in got:
                    cell.totals.append(time.perf_counter() - began)
                    cell.firsts.append(first - began)
                else:
                    cell.failed += 1
        finally:
            writer.close()

    began = time.perf_counter()
    results = await asyncio.gather(*(one() for _ in range(concurrency)), return_exceptions=True)
    cell.wall_s = time.perf_counter() - began
    cell.failed += sum(1 for result in results if isinstance(result, BaseException))
    return cell
