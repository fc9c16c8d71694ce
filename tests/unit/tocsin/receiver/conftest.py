"""A real receiver on a free port, and its clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from tocsin.receiver import Receiver


@pytest.fixture(scope="module")
def running() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def receiver(running: Receiver) -> Iterator[Receiver]:
    """The module's receiver, without the faults of other tests."""
    yield running
    running.board.faults.clear()


@pytest.fixture
def slack(receiver: Receiver) -> AsyncWebClient:
    return AsyncWebClient("xoxb-test", base_url=receiver.slack_base_url, timeout=5)


@pytest.fixture
async def http(receiver: Receiver) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=receiver.url, trust_env=False) as client:
        yield client
