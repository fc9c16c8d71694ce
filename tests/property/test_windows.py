"""Both stages together: any split over partitions, flushes and repeats gives the same windows."""

import random

import numpy as np
import pytest

from detectors.fences import Fences
from detectors.merge import WindowMerger
from detectors.watermark import Watermark
from detectors.window import WindowStore
from schemas.base import SCHEMA_VERSION
from schemas.columns import EventColumns
from schemas.event import RequestEvent
from schemas.window import WindowBatch
from tests.unit.detectors.test_window_store import DIMENSIONS, SIZE, random_event

LATENESS = 5_000_000


def exact_p95(values: list[float]) -> float:
    return sorted(values)[min(int(0.95 * len(values)), len(values) - 1)]


@pytest.mark.parametrize("seed", range(5))
def test_every_request_is_in_one_window_once_and_p95_is_p95(seed: int) -> None:
    rng = random.Random(seed)
    events = sorted((random_event(rng) for _ in range(800)), key=lambda e: e.end_time_us)
    partitions: list[list[RequestEvent]] = [[], [], []]
    for event in events:
        rng.choice(partitions).append(event)
    stores = [WindowStore(SIZE, DIMENSIONS) for _ in partitions]
    watermark = Watermark(LATENESS)
    merger = WindowMerger(60_000_000, Fences({}))
    for i in range(len(partitions)):
        watermark.observe(str(i), 0, 0)
    closed = {}
    for low in range(0, 400, 40):
        for i, partition in enumerate(partitions):
            part = partition[low : low + 40]
            rng.shuffle(part)
            stores[i].add(EventColumns.from_events(part))
            if part:
                watermark.observe(str(i), max(e.end_time_us for e in part), 0)
            batch = WindowBatch(
                schema_version=SCHEMA_VERSION,
                source=str(i),
                epoch="e",
                sequence=low,
                fence=0,
                watermark_us=0,
                partials=stores[i].drain(),
            )
            wire = batch.to_json()
            for _ in range(rng.choice([1, 2])):  # Kafka delivers at least once
                merger.add(WindowBatch.model_validate_json(wire), low + 1)
        for window in merger.close(watermark.advance(0)):
            assert window.revision == 0  # nothing was late
            closed[window.start_us, *map(window.labels.__getitem__, DIMENSIONS)] = window
    for window in merger.close(10**15):
        closed[window.start_us, *map(window.labels.__getitem__, DIMENSIONS)] = window
    assert sum(window.requests for window in closed.values()) == len(events)
    assert merger.late_requests == 0
    for (start_us, model, route, feature), window in closed.items():
        inside = [
            e
            for e in events
            if e.end_time_us // SIZE * SIZE == start_us
            and (e.model, e.route.value, e.feature or "") == (model, route, feature)
        ]
        assert window.requests == len(inside)
        assert window.errors == sum(e.failed for e in inside)
        for name in ("e2e_s", "ttft_s", "output_tokens"):
            values = [getattr(e, name) for e in inside if getattr(e, name) is not None]
            found = window.p(name, 0.95)
            if values:
                assert found == pytest.approx(exact_p95(values), rel=0.01)
            else:
                assert found is None
    assert np.all(np.diff([key[0] for key in closed]) >= 0)  # oldest first, batch after batch
