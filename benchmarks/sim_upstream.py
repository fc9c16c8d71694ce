"""A simulated upstream that costs little: chat streams of a given length at a given pace.

    python -m benchmarks.sim_upstream --first-ms 20 --token-ms 10

Prints its port. `max_tokens` of the request is the number of tokens. It parses no more of HTTP than
its clients send, so that the machine's time goes to what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1_790_000_000,
    "model": "tiny",
}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return chunk(b"data: " + json.dumps({**CHUNK, "choices": [choice]}).encode() + b"\n\n")


def usage(tokens: int) -> bytes:
    told = {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": 8 + tokens}
    return chunk(b"data: " + json.dumps({**CHUNK, "choices": [], "usage": told}).encode() + b"\n\n")


FIRST = event({"role": "assistant", "content": ""})
TOKEN = event({"content": " word"})
LAST = event({"content": ""}, "stop")
END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first_s: float, token_s: float
) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"post "):  # somebody's health check
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                continue
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            asked = json.loads(await reader.readexactly(length))
            tokens = int(asked.get("max_tokens") or asked.get("max_completion_tokens") or 1)
            due = asyncio.get_running_loop().time() + first_s
            await asyncio.sleep(first_s)
            writer.write(HEAD + FIRST + TOKEN)
            for _ in range(tokens - 1):
                due += token_s  # by the clock, so that late wake-ups do not add up
                if token_s:
                    await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                writer.write(TOKEN)
            wanted = (asked.get("stream_options") or {}).get("include_usage")
            writer.write(LAST + (usage(tokens) if wanted else b"") + END)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def main(first_s: float, token_s: float) -> None:
    server = await asyncio.start_server(
        lambda r, w: serve(r, w, first_s, token_s), "127.0.0.1", 0, backlog=1_024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first-ms", type=float, default=20)
    parser.add_argument("--token-ms", type=float, default=10)
    asked = parser.parse_args()
    asyncio.run(main(asked.first_ms / 1e3, asked.token_ms / 1e3))
