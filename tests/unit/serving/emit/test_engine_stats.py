"""Reading vLLM's statistics: every field may be missing or odd."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.engine import EngineSample
from serving.emit.engine_stats import SampleMaker, read_finished


def finished(**fields: Any) -> Any:
    return SimpleNamespace(finished_requests=[SimpleNamespace(**fields)])


def test_a_whole_record() -> None:
    [record] = read_finished(
        finished(
            request_id="chatcmpl-a",
            finish_reason=SimpleNamespace(name="STOP"),
            queued_time=0.1,
            prefill_time=0.2,
            decode_time=0.3,
            mean_time_per_output_token=0.05,
            num_preemptions=1,
            num_prompt_tokens=6,
            num_cached_tokens=2,
            num_generation_tokens=7,
        ),
        at=5.0,
    )
    assert record.finish_reason == "stop"
    assert (record.queue_s, record.prefill_s, record.decode_s) == (0.1, 0.2, 0.3)
    assert (record.tpot_s, record.preemptions, record.at) == (0.05, 1, 5.0)
    assert (record.input_tokens, record.cached_input_tokens, record.output_tokens) == (6, 2, 7)


@pytest.mark.parametrize("stats", [None, object(), SimpleNamespace(finished_requests=None)])
def test_nothing_finished(stats: Any) -> None:
    assert list(read_finished(stats, 0)) == []


def test_an_older_vllm_without_request_ids() -> None:
    assert list(read_finished(finished(queued_time=0.1), 0)) == []
    assert list(read_finished(finished(request_id=None), 0)) == []


def test_times_that_never_came_are_unknown() -> None:
    """An aborted sequence was never scheduled: vLLM subtracts from 0."""
    [record] = read_finished(
        finished(
            request_id="a",
            queued_time=-12_345.6,
            prefill_time=math.nan,
            decode_time="x",
            mean_time_per_output_token=0,
            num_generation_tokens=1,
            num_preemptions=-1,
        ),
        0,
    )
    assert (record.queue_s, record.prefill_s, record.decode_s, record.tpot_s) == (None,) * 4
    assert record.preemptions is None
    assert record.finish_reason is None


class Ticking:
    def __init__(self) -> None:
        self.now = 100.0

    def maker(self) -> SampleMaker:
        return SampleMaker(
            "s", "m", 3, monotonic=lambda: self.now, wall_ns=lambda: int(self.now * 1e9)
        )


def stats(**fields: Any) -> Any:
    prefix = SimpleNamespace(queries=fields.pop("queries", 0), hits=fields.pop("hits", 0))
    values = {"num_running_reqs": 2, "num_waiting_reqs": 1, "num_skipped_waiting_reqs": 1}
    return SimpleNamespace(**(values | {"prefix_cache_stats": prefix} | fields))


def test_at_most_one_sample_a_second() -> None:
    clock = Ticking()
    maker = clock.maker()
    first = maker.record(stats(kv_cache_usage=0.5, queries=10, hits=4))
    assert first == EngineSample(
        schema_version=1,
        server="s",
        engine_index=3,
        at_us=100_000_000,
        model="m",
        running_requests=2,
        waiting_requests=2,
        kv_cache_usage=0.5,
        prefix_cache_hit_rate=0.4,
    )
    clock.now += 0.5
    assert maker.record(stats(queries=10, hits=10)) is None
    clock.now += 0.5
    second = maker.record(stats(queries=10, hits=5, kv_cache_usage=2.0))
    assert second is not None
    assert second.prefix_cache_hit_rate == 0.75  # of both steps
    assert second.kv_cache_usage == 1.0


def test_rates_of_nothing_are_unknown() -> None:
    maker = Ticking().maker()
    sample = maker.record(stats(kv_cache_usage=math.nan))
    assert sample is not None
    assert sample.prefix_cache_hit_rate is None
    assert sample.spec_decode_acceptance_rate is None
    assert sample.kv_cache_usage is None


def test_speculative_decoding() -> None:
    drafts = SimpleNamespace(num_draft_tokens=8, num_accepted_tokens=6)
    sample = Ticking().maker().record(stats(spec_decoding_stats=drafts))
    assert sample is not None
    assert sample.spec_decode_acceptance_rate == 0.75


@pytest.mark.parametrize(
    ("told", "known"), [(0.0, 0.0), (0.5, 0.5), (None, None), (math.nan, None)]
)
def test_gpu_use_is_as_told_and_unknown_is_no_zero(told: Any, known: Any) -> None:
    maker = SampleMaker("s", "m", 0, monotonic=lambda: 1.0, wall_ns=lambda: 1, gpu=lambda: told)
    sample = maker.record(stats())
    assert sample is not None
    assert sample.gpu_utilization == known


def test_an_idle_engine_is_sampled_when_vllm_logs() -> None:
    clock = Ticking()
    maker = clock.maker()
    assert maker.record(None) is None  # nothing is known yet
    assert maker.record(stats()) is not None
    clock.now += 10
    sample = maker.record(None)
    assert sample is not None
    assert sample.running_requests == 2


def test_an_empty_statistics_object() -> None:
    sample = Ticking().maker().record(object())
    assert sample is not None
    assert (sample.running_requests, sample.waiting_requests) == (0, 0)
