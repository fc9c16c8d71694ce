"""The fleet as a process: it says where it is, and ends when told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import orjson
import pytest
import yaml

from schemas.topics import Topics
from serving.errors import FleetError
from serving.fleet.profile import DEMO_PROFILE, Fault, load_profile
from tests.support.actions import promoted_flags
from tests.support.broker import Broker, create_topics, read_all

PROFILE = {
    "providers": {
        "vllm": {"versions": ["v1", "v2"], "speed": {"step_s": 0.001}},
        "backup": {"versions": ["v1"], "route": "fallback"},
    }
}


def write_profile(folder: Path, profile: object = PROFILE) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(profile))
    return path


async def start(folder: Path, *arguments: str, bootstrap: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "serving.fleet",
        "--profile",
        str(folder / "fleet.yaml"),
        "--flags",
        str(folder / "flags.json"),
        *arguments,
        env={**os.environ, "TOCSIN_KAFKA__BOOTSTRAP": bootstrap},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_from_start_to_sigterm(fresh_broker: Broker, tmp_path: Path) -> None:
    await create_topics(fresh_broker.bootstrap, [Topics.REQUESTS, Topics.ENGINE])
    write_profile(tmp_path)
    promoted_flags(tmp_path / "flags.json")
    process = await start(tmp_path, "--judge-port", "0", bootstrap=fresh_broker.bootstrap)
    assert process.stdout is not None
    urls = json.loads(await process.stdout.readline())["ready"]
    assert set(urls) == {"vllm", "backup", "judge"}
    body = {"model": "llama-3.1-70b", "messages": [{"role": "user", "content": "hello"}]}
    async with httpx.AsyncClient() as client:
        for provider in ("vllm", "backup"):
            response = await client.post(f"{urls[provider]}/chat/completions", json=body)
            assert response.status_code == 200
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    events = []
    for _, value in await read_all(fresh_broker.bootstrap, Topics.REQUESTS.name):
        record = orjson.loads(value or b"")
        events += record if isinstance(record, list) else [record]
    seen = sorted((e["provider"], e["model_version"], e["route"]) for e in events)
    assert seen == [("backup", "v1", "fallback"), ("vllm", "v2", "stable")]


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    write_profile(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await start(tmp_path, "--port", f"vllm={port}", bootstrap="127.0.0.1:1")
        _, error = await process.communicate()
    assert process.returncode == 2
    assert f"vllm: cannot listen on 127.0.0.1:{port}" in error.decode()
    assert "Traceback" not in error.decode()


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({}, "providers: Field required"),
        ({"providers": {}}, "providers"),
        ({"providers": {"a": {"versions": {}}}}, "providers.a.versions"),
        ({"providers": {"a": {"versions": {"v": {"error_share": 3}}}}}, "v.error_share"),
        ({"providers": {"a": {"versions": ["v"], "sped": {}}}}, "providers.a.sped"),
    ],
)
def test_a_profile_that_cannot_be(tmp_path: Path, profile: object, words: str) -> None:
    with pytest.raises(FleetError) as caught:
        load_profile(write_profile(tmp_path, profile))
    assert str(tmp_path) in str(caught.value)
    assert words in str(caught.value)


def test_the_profile_that_ships() -> None:
    profile = load_profile(DEMO_PROFILE)
    assert list(profile.providers) == ["vllm", "backup"]
    assert profile.providers["vllm"].versions["v2"].error_share == 0.3
    assert profile.providers["vllm"].versions["v1"] == Fault()


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="No such file"):
        load_profile(tmp_path / "none.yaml")
    (tmp_path / "fleet.yaml").write_text("a: [")
    with pytest.raises(FleetError, match="not YAML"):
        load_profile(tmp_path / "fleet.yaml")
