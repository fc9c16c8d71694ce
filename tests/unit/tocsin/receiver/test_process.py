from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from tocsin.receiver import Receiver
from tocsin.receiver.errors import ReceiverStartError


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ReceiverStartError, match=rf"127\.0\.0\.1:{port}: Address already"):
            Receiver(port).start()


def test_it_listens_on_the_loopback_interface_only_and_stops_twice() -> None:
    receiver = Receiver().start()
    assert receiver._socket is not None
    assert receiver._socket.getsockname()[0] == "127.0.0.1"
    assert httpx.get(f"{receiver.url}/healthz", trust_env=False).json() == {"status": "ok"}
    receiver.stop()
    receiver.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{receiver.url}/healthz", trust_env=False)


async def test_open_pages_do_not_hold_the_stop_back() -> None:
    receiver = Receiver().start()
    thread = next(t for t in threading.enumerate() if t.name == "receiver")
    async with (
        httpx.AsyncClient(trust_env=False, timeout=10) as http,
        http.stream("GET", f"{receiver.url}/events") as page,
    ):
        lines = page.aiter_lines()
        while not (await anext(lines)).startswith("event: snapshot"):
            pass
        await asyncio.to_thread(receiver.stop)
        assert not thread.is_alive()
        async for _ in lines:
            pass  # the stream has an end


def test_two_receivers_have_two_tokens_nobody_can_guess() -> None:
    tokens = {Receiver().token, Receiver().token}
    assert len(tokens) == 2
    assert all(len(token) >= 32 for token in tokens)


def test_alone_it_prints_its_addresses_and_obeys_ctrl_c() -> None:
    environment = {**os.environ, "RECEIVER_TOKEN": "from-the-environment"}
    with subprocess.Popen(
        [sys.executable, "-m", "tocsin.receiver", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        url = lines[0].split()[1]
        assert httpx.get(f"{url}healthz", trust_env=False).json() == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert lines[1].split()[-1] == "from-the-environment"
    assert f"TOCSIN_NOTIFY__SLACK_BASE_URL={url}slack/api/" in lines[3]
    assert f"TOCSIN_NOTIFY__PAGERDUTY_BASE_URL={url}pagerduty" in lines[4]
