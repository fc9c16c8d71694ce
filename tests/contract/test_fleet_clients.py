"""The simulated servers answer the clients that people use."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from schemas.settings import JudgeSettings
from streams.judge import Judge
from tests.support.fleet import fleet_of, running_fleet

MODEL = "llama-3.1-70b"


async def test_openai_client(tmp_path: Path) -> None:
    async with (
        running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet,
        openai.AsyncOpenAI(base_url=fleet.urls["vllm"], api_key="none", max_retries=0) as client,
    ):
        assert [model.id async for model in client.models.list()] == [MODEL]
        whole = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "hello"}],
            max_tokens=9,
            extra_body={"ignore_eos": True},
        )
        assert whole.choices[0].finish_reason == "length"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 9
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces = [piece async for piece in stream]
        assert pieces[-1].usage is not None
        assert pieces[-2].choices[0].finish_reason == "stop"
        text = await client.completions.create(model=MODEL, prompt="once", max_tokens=5)
        assert text.choices[0].text
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await client.completions.create(model="nobody", prompt="once")


async def test_openai_client_sees_a_broken_stream(tmp_path: Path) -> None:
    bad = {"error_share": 1, "mid_stream_share": 1}
    async with (
        running_fleet(tmp_path, fleet_of(vllm={"versions": {"v1": bad}})) as fleet,
        openai.AsyncOpenAI(base_url=fleet.urls["vllm"], api_key="none", max_retries=0) as client,
    ):
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True
        )
        with pytest.raises(openai.APIError, match="EngineCore"):
            async for _ in stream:
                pass


async def test_the_judge_of_the_pipeline(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]}), judge=True) as fleet:
        judge = Judge(JudgeSettings(base_url=fleet.urls["judge"]))
        try:
            good = await judge.score("why?", "Because the tide follows the moon and the sun.")
            bad = await judge.score("why?", "because of because of " * 12)
        finally:
            await judge.close()
    assert (good.score, bad.score) == (5, 1)
    assert "Stand-in judge" in bad.explanation
