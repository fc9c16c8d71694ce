"""An action asked for on Kafka changes what answers: executor, flag file, OpenFeature, fleet."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from schemas.action import ActionKind, ActionResult, action_message
from schemas.event import RequestEvent
from schemas.flag import FlagKey
from schemas.settings import FlagSettings, KafkaSettings, Settings
from schemas.topics import Topics
from serving.executor import run_executor
from tests.support.actions import asked
from tests.support.broker import Broker, create_topics, read_all
from tests.support.fleet import Running, fleet_of, running_fleet
from tests.support.waiting import until

pytestmark = pytest.mark.acceptance

BODY = {"model": "llama-3.1-70b", "messages": [{"role": "user", "content": "hello"}]}


async def answered(fleet: Running, provider: str, number: int) -> RequestEvent:
    request_id = f"{provider}-{number}"
    async with httpx.AsyncClient() as client:
        await client.post(
            f"{fleet.urls[provider]}/chat/completions",
            json=BODY,
            headers={"X-Request-Id": request_id},
        )
    return await fleet.event(request_id)


@pytest.mark.parametrize("kind", [ActionKind.ROLLBACK, ActionKind.FALLBACK])
async def test_serving_obeys(fresh_broker: Broker, tmp_path: Path, kind: ActionKind) -> None:
    bootstrap = fresh_broker.bootstrap
    await create_topics(bootstrap, [Topics.ACTIONS, Topics.FLAGS])
    profile = fleet_of(
        vllm={"versions": {"v1": {}, "v2": {"error_share": 1, "mid_stream_share": 0}}},
        backup={"versions": ["v1"]},
    )
    stop = asyncio.Event()
    async with running_fleet(tmp_path, profile) as fleet:
        now_us = time.time_ns() // 1_000
        fleet.store.set_variant(FlagKey.MODEL_VERSION, "v2", by="alice", reason="new", at_us=now_us)
        settings = Settings(
            data_dir=tmp_path,
            kafka=KafkaSettings(bootstrap=bootstrap, session_timeout_s=1, heartbeat_interval_s=0.3),
            flags=FlagSettings(path=fleet.store.path),
        )
        executor = asyncio.create_task(run_executor(settings, stop))
        numbers = iter(range(10_000))

        async def fails() -> bool:
            return (await answered(fleet, "vllm", next(numbers))).failed

        await until(fails)
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            request = asked(kind, requested_at_us=now_us)
            await producer.send_and_wait(Topics.ACTIONS.name, request.to_json(), key=b"f")

        async def result() -> ActionResult | None:
            for _, value in await read_all(bootstrap, Topics.ACTIONS.name):
                message = action_message.validate_json(value or b"")
                if isinstance(message, ActionResult):
                    return message
            return None

        told = await until(result)
        assert told is not None
        assert told.status == "applied"

        async def works() -> bool:
            provider = str(fleet.store.read().flag(FlagKey.MODEL_PROVIDER).value)
            event = await answered(fleet, provider, next(numbers))
            return event.error_type is None and event.model_version == "v1"

        if kind is ActionKind.ROLLBACK:
            await until(works)
        else:
            assert told.after["value"] == "backup"
            # The backup has no v2 and answers with the version that it has.
            assert await works()
        stop.set()
        await executor
