"""The engine's model, under a clock of its own."""

from __future__ import annotations

import asyncio
import heapq
from random import Random

import pytest

from serving.fleet.engine import Overloaded, Progress, SimEngine
from serving.fleet.profile import Speed


class VirtualTime:
    """Time that passes only when everybody sleeps."""

    def __init__(self) -> None:
        self.at = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.at + seconds, self._count, future))
        await future

    async def pass_until(self, *tasks: asyncio.Task[object]) -> None:
        while not all(task.done() for task in tasks):
            for _ in range(20):
                await asyncio.sleep(0)
            if not self._sleepers:
                break
            self.at, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
        await asyncio.gather(*tasks)


def speed(**changes: float) -> Speed:
    fields: dict[str, float] = {
        "replicas": 1,
        "max_num_seqs": 4,
        "max_queued": 100,
        "prefill_tokens_per_s": 1_000,
        "step_s": 0.01,
        "step_growth": 0,
        "noise": 0,
        "cached_share": 0,
        "chunk_s": 0.02,
    }
    return Speed.model_validate(fields | changes)


def arrive(
    engine: SimEngine, tokens: int = 10, *, prompt: int = 100, factor: float = 1
) -> Progress:
    return engine.arrive(
        input_tokens=prompt, output_tokens=tokens, latency_factor=factor, random=Random(1)
    )


async def drain(engine: SimEngine, progress: Progress) -> list[int]:
    return [count async for count in engine.run(progress)]


async def run(time: VirtualTime, engine: SimEngine, *ways: Progress) -> list[list[int]]:
    tasks = [asyncio.ensure_future(drain(engine, way)) for way in ways]
    await time.pass_until(*tasks)
    return [task.result() for task in tasks]


async def test_time_to_first_token_is_queue_and_prefill() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(), now=time.now, sleep=time.sleep)
    first, second = arrive(engine), arrive(engine)
    await run(time, engine, first, second)
    assert first.queue_s == 0
    assert first.prefill_s == pytest.approx(0.1 + 0.01)
    assert second.queue_s == pytest.approx(0.1)  # the first prompt's prefill
    assert second.prefill_s == pytest.approx(0.1 + 0.01)
    assert first.decode_s == pytest.approx(9 * 0.01)


async def test_the_first_token_comes_alone_and_the_others_in_chunks() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(), now=time.now, sleep=time.sleep)
    [counts] = await run(time, engine, arrive(engine, 10))
    assert counts == [1, 2, 2, 2, 2, 1]
    [counts] = await run(time, engine, arrive(engine, 1))
    assert counts == [1]


async def test_replicas_prefill_side_by_side() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(replicas=2), now=time.now, sleep=time.sleep)
    ways = [arrive(engine) for _ in range(3)]
    await run(time, engine, *ways)
    assert [round(way.queue_s, 6) for way in ways] == [0, 0, 0.1]


async def test_a_full_batch_makes_others_wait_in_order() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(max_num_seqs=1), now=time.now, sleep=time.sleep)
    ways = [arrive(engine, 11) for _ in range(3)]
    await run(time, engine, *ways)
    alone = 0.1 + 0.01 + 10 * 0.01
    assert [round(way.queue_s, 6) for way in ways] == [0, round(alone, 6), round(2 * alone, 6)]
    assert engine.running == engine.waiting == 0


async def test_steps_grow_with_the_batch() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(step_growth=0.5), now=time.now, sleep=time.sleep)
    [way] = [arrive(engine, 5)]
    await run(time, engine, way)
    ways = [arrive(engine, 5, prompt=1) for _ in range(4)]
    await run(time, engine, *ways)
    assert way.decode_s == pytest.approx(4 * 0.01)
    assert ways[0].decode_s > 2 * way.decode_s


async def test_the_latency_factor_slows_all_of_it() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(), now=time.now, sleep=time.sleep)
    way = arrive(engine, 11, factor=3)
    await run(time, engine, way)
    assert way.prefill_s == pytest.approx(3 * 0.11)
    assert way.decode_s == pytest.approx(3 * 0.1)


async def test_cached_tokens_need_no_prefill() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(cached_share=1), now=time.now, sleep=time.sleep)
    way = arrive(engine, prompt=10_000)
    await run(time, engine, way)
    assert 0 < way.cached_tokens < 10_000
    assert way.cached_tokens % 16 == 0
    assert way.prefill_s == pytest.approx((10_000 - way.cached_tokens) / 1_000 + 0.01)
    assert engine.take_cache_counts() == (10_000, way.cached_tokens)
    assert engine.take_cache_counts() == (0, 0)


async def test_noise_is_the_seeds() -> None:
    results = []
    for _ in range(2):
        time = VirtualTime()
        engine = SimEngine(speed(noise=0.5), now=time.now, sleep=time.sleep)
        way = arrive(engine, 30)
        await run(time, engine, way)
        results.append((way.prefill_s, way.decode_s))
    assert results[0] == results[1]
    assert results[0][1] != pytest.approx(0.29)


async def test_a_queue_that_is_full_turns_away() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(max_num_seqs=1, max_queued=1), now=time.now, sleep=time.sleep)
    tasks = [asyncio.ensure_future(drain(engine, arrive(engine))) for _ in range(2)]
    await asyncio.sleep(0)
    assert (engine.running, engine.waiting) == (1, 1)
    with pytest.raises(Overloaded):
        await drain(engine, arrive(engine))
    await time.pass_until(*tasks)


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_who_leaves_frees_the_place(leaver: int) -> None:
    time = VirtualTime()
    engine = SimEngine(speed(max_num_seqs=1), now=time.now, sleep=time.sleep)
    ways = [arrive(engine) for _ in range(3)]
    tasks = [asyncio.ensure_future(drain(engine, way)) for way in ways]
    await asyncio.sleep(0)
    tasks[leaver].cancel()
    await time.pass_until(*(t for t in tasks if t is not tasks[leaver]))
    assert [way.produced for i, way in enumerate(ways) if i != leaver] == [10, 10]
    assert engine.running == engine.waiting == 0


async def test_who_leaves_while_the_place_is_handed_over_passes_it_on() -> None:
    time = VirtualTime()
    engine = SimEngine(speed(max_num_seqs=1), now=time.now, sleep=time.sleep)
    tasks = [asyncio.ensure_future(drain(engine, arrive(engine))) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)  # the place goes to the second, which has not run yet
    tasks[1].cancel()
    await time.pass_until(tasks[2])
    assert engine.running == 0
