from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from tocsin.embedded.store.browsers import OwnMachineOnly, is_foreign


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({"host": "127.0.0.1:8123"}, False),
        ({"host": "localhost:8123"}, False),
        ({"host": "[::1]:8123"}, False),
        ({"host": "10.0.0.7:8123"}, False),
        ({}, False),
        ({"host": "127.0.0.1:8123", "origin": "http://127.0.0.1:3000"}, False),
        ({"host": "127.0.0.1:8123", "origin": "http://localhost"}, False),
        ({"host": "127.0.0.1:8123", "origin": "https://evil.example"}, True),
        ({"host": "127.0.0.1:8123", "origin": "null"}, True),
        ({"host": "127.0.0.1:8123", "origin": "http://127.0.0.1.evil.example"}, True),
        ({"host": "rebound.evil.example:8123"}, True),
        ({"host": "[evil"}, True),
    ],
)
def test_pages_of_other_sites_are_told_by_their_headers(
    headers: dict[str, str], foreign: bool
) -> None:
    assert is_foreign(Headers(headers)) is foreign


def test_they_are_refused_before_anything_is_read() -> None:
    client = TestClient(OwnMachineOnly(Starlette()), base_url="http://127.0.0.1")
    assert client.post("/", headers={"origin": "https://evil.example"}).status_code == 403
    assert client.post("/", headers={"origin": "http://localhost"}).status_code == 404
