"""An upstream in a process of its own that fails as it is told, and can be killed.

    python -m tests.chaos_gateway.upstream PORT SEED ERRORS STALLS DEATHS

The last three are shares of its requests: 500 before the first token, silence, a cut in the middle.
"""

from __future__ import annotations

import asyncio
import sys
from random import Random

import orjson

TOKENS = 8
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n"


def event(content: str) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    data = b"data: " + orjson.dumps({"id": "x", "model": "m", "choices": [choice]}) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole() -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "hi"},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 3, "completion_tokens": TOKENS, "total_tokens": 3 + TOKENS}
    body = orjson.dumps({"id": "x", "model": "m", "choices": [choice], "usage": usage})
    length = b"content-length: %d" % len(body)
    return HEAD % (b"application/json", length) + body


def error() -> bytes:
    content = {"error": {"message": "no", "type": "InternalServerError", "code": 500}}
    body = orjson.dumps(content)
    head = b"HTTP/1.1 500 X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


START = HEAD % (b"text/event-stream", b"transfer-encoding: chunked") + event("")
TOKEN = event(" word")
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
WHOLE, ERROR = whole(), error()


async def answer(
    writer: asyncio.StreamWriter, asked: dict[str, object], fate: float, shares: list[float]
) -> bool:
    """Answer one request; return False when the connection is done for."""
    errors, stalls, deaths = shares
    if fate < errors:
        writer.write(ERROR)
        return True
    if fate < errors + stalls:
        await asyncio.sleep(60)
    await asyncio.sleep(0.005)
    dies = fate < errors + stalls + deaths
    if asked.get("stream") is not True:
        writer.write(WHOLE[:-20] if dies else WHOLE)
        await writer.drain()
        return not dies
    writer.write(START)
    for number in range(TOKENS):
        await asyncio.sleep(0.002)
        if dies and number == TOKENS // 2:
            writer.transport.abort()
            return False
        writer.write(TOKEN)
    writer.write(END)
    await writer.drain()
    return True


async def main(port: int, seed: int, shares: list[float]) -> None:
    random = Random(seed)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
                asked = orjson.loads(await reader.readexactly(length))
                if not await answer(writer, asked, random.random(), shares):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=512)
    print("up", flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), [float(x) for x in sys.argv[3:6]]))
