"""Record the spans of tests/data/otlp anew: `python -m tests.support.vllm.record_spans`.

Takes about three minutes. A real vLLM sends its spans over OTLP/HTTP; what it posts is kept as it
came. `vllm_plain.bin` is of a server on its own, `vllm_reported.bin` of one with Tocsin's
middleware, `vllm_embed.bin` of one that embeds.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.vllm.cases import MODEL, Server
from tests.support.vllm.server import ROOT, serve

__all__ = ["PARENT", "TRACE", "main"]

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "data" / "otlp"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_TRACED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
_MESSAGES = [{"role": "user", "content": "hello"}]
_CHAT = {"model": MODEL, "messages": _MESSAGES, "max_tokens": 8}


@contextmanager
def _collector(posts: list[bytes]) -> Iterator[str]:
    """Take exports on a free port and keep their bodies."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            posts.append(gzip.decompress(body) if packed else body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    finally:
        server.shutdown()
        server.server_close()


async def _ask(kind: str, server: Server) -> None:
    if kind == "embed":
        await server.post("embed", "/v1/embeddings", {"model": MODEL, "input": ["a", "b"]})
        return
    completion = {"model": MODEL, "max_tokens": 4}
    chats, texts = "/v1/chat/completions", "/v1/completions"
    await server.post("chat", chats, _CHAT, **{"X-Request-Id": "client-1"})
    await server.post("stream", chats, _CHAT | {"stream": True}, **{"X-Request-Id": "client-2"})
    await server.post("two", chats, _CHAT | {"n": 2}, **{"X-Request-Id": "client-3"})
    await server.post("traced", chats, _CHAT, **_TRACED, **{"X-Request-Id": "client-4"})
    await server.post("unnamed", chats, _CHAT)
    await server.post("text", texts, completion | {"prompt": "hello"})
    await server.post("texts", texts, completion | {"prompt": ["hello", "you"]})
    await server.post("responses", "/v1/responses", {"model": MODEL, "input": "hello"})
    await server.post("bad", chats, _CHAT | {"max_tokens": -1})
    await server.post("two_traced", chats, _CHAT | {"n": 2}, **_TRACED)


def main() -> None:
    """Start the servers, ask them, keep what they post."""
    TARGET.mkdir(parents=True, exist_ok=True)
    ours = "serving.emit.middleware.TocsinMiddleware"
    runs = [
        ("plain", "generate", "recorder.Recorder", str(HERE)),
        ("reported", "generate", ours, str(ROOT)),
        ("embed", "embed", "recorder.Recorder", str(HERE)),
    ]
    for name, kind, middleware, path in runs:
        posts: list[bytes] = []
        with tempfile.TemporaryDirectory() as directory, _collector(posts) as url:
            environment = {
                "PYTHONPATH": path,
                "RECORD_DIR": directory,
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
                "OTEL_SERVICE_NAME": "vllm-tiny",
                "OTEL_RESOURCE_ATTRIBUTES": "tocsin.model=tiny,tocsin.model_version=tiny-v1",
                "OTEL_BSP_SCHEDULE_DELAY": "500",
            }
            arguments = ["--otlp-traces-endpoint", url]
            log = Path(directory) / "server.log"
            with serve(
                kind, log, middleware=middleware, environment=environment, arguments=arguments
            ) as running:
                asyncio.run(_ask(kind, running.client()))
        # Messages of one kind that are joined are one message of that kind.
        (TARGET / f"vllm_{name}.bin").write_bytes(b"".join(posts))
        sys.stdout.write(f"{name}: {len(posts)} posts\n")


if __name__ == "__main__":
    main()
