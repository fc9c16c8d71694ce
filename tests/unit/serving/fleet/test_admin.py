"""Faults on demand, for those who may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from serving.flags.reader import FlagReader
from serving.fleet.app import make_app
from serving.fleet.faults import Faults
from serving.fleet.server import SimServer
from tests.support.fleet import fleet_of

PROFILE = fleet_of(vllm={"versions": ["v1", "v2"]}, backup={"versions": ["v1"]})


def client_of(faults: Faults, tmp_path: Path, host: str = "127.0.0.1") -> httpx.AsyncClient:
    server = SimServer("vllm", PROFILE, faults, FlagReader(tmp_path / "flags.json"))
    app: Any = make_app(server, faults, emission=None, admin_token="secret")
    transport = httpx.ASGITransport(app, client=(host, 1234))
    headers = {"Authorization": "Bearer secret"}
    return httpx.AsyncClient(transport=transport, base_url="http://sim", headers=headers)


async def test_a_fault_is_set_and_taken_back(tmp_path: Path) -> None:
    faults = Faults(PROFILE)
    async with client_of(faults, tmp_path) as client:
        answer = await client.put("/admin/faults/v2", json={"error_share": 0.3})
        assert answer.json()["v2"]["error_share"] == 0.3
        assert faults.of("vllm", "v2").error_share == 0.3
        await client.put("/admin/faults/*", json={"outage": True})
        assert faults.of("vllm", "v1").outage
        assert not faults.of("backup", "v1").outage
        await client.put("/admin/faults/*", json={})
        assert (await client.get("/admin/faults")).json()["*"]["outage"] is False


async def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    faults = Faults(PROFILE)
    async with client_of(faults, tmp_path) as client:
        assert (await client.put("/admin/faults/v9", json={})).status_code == 404
        assert (await client.put("/admin/faults/v1", json={"error_share": 2})).status_code == 400
        assert (await client.put("/admin/faults/v1", json={"mood": 2})).status_code == 400
    assert faults.of("vllm", "v1") == faults.of("backup", "v1")


async def test_only_with_the_token_and_from_here(tmp_path: Path) -> None:
    faults = Faults(PROFILE)
    async with client_of(faults, tmp_path) as client:
        wrong = {"Authorization": "Bearer guess"}
        assert (await client.get("/admin/faults", headers=wrong)).status_code == 401
        put = await client.put("/admin/faults/v1", json={"outage": True}, headers=wrong)
        assert put.status_code == 401
    async with client_of(faults, tmp_path, host="192.0.2.7") as client:
        assert (await client.get("/admin/faults")).status_code == 403
        assert (await client.put("/admin/faults/v1", json={"outage": True})).status_code == 403
    assert not faults.of("vllm", "v1").outage
