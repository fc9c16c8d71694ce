"""The first stage against plain Python over the same events."""

import random
from collections import defaultdict

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.sketch import DDSketch
from detectors.window import OVERFLOW, WindowStore, window_start
from schemas.base import SCHEMA_VERSION
from schemas.columns import PRICE_UNKNOWN, TOKENS_UNKNOWN, EventColumns
from schemas.event import Operation, RequestEvent, Route, new_event_id
from schemas.window import WindowPartial

SIZE = 10_000_000
DIMENSIONS = ("model", "route", "feature")


def event(end_us: int = 15_000_000, e2e_s: float = 1.0, **fields: object) -> RequestEvent:
    base: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "event_id": new_event_id(),
        "request_id": "r",
        "start_time_us": end_us - round(e2e_s * 1e6),
        "end_time_us": end_us,
        "server": "s",
        "provider": "p",
        "model": "m",
        "model_version": "v1",
        "operation": Operation.CHAT,
        "stream": True,
        "status_code": 200,
        "e2e_s": e2e_s,
    }
    return RequestEvent.model_validate(base | fields)


def random_event(rng: random.Random) -> RequestEvent:
    e2e_s = rng.lognormvariate(0, 1)
    streamed = rng.random() < 0.7
    status, error = rng.choice([(200, None), (200, "engine_dead"), (500, "boom"), (429, "limit")])
    return event(
        end_us=rng.randrange(100_000_000, 150_000_000),
        e2e_s=e2e_s,
        model=rng.choice(["a", "b"]),
        route=rng.choice(list(Route)),
        feature=rng.choice([None, "chat", "search"]),
        status_code=status,
        error_type=error,
        aborted=rng.random() < 0.1,
        ttft_s=e2e_s / 3 if streamed else None,
        tpot_s=0.01 if streamed else None,
        input_tokens=rng.choice([None, 0, rng.randrange(1, 5_000)]),
        output_tokens=rng.choice([None, rng.randrange(1, 500)]),
    )


def expected(
    events: list[RequestEvent], costs: list[int]
) -> dict[tuple[object, ...], WindowPartial]:
    groups = defaultdict(list)
    for item, cost in zip(events, costs, strict=True):
        start = item.end_time_us // SIZE * SIZE
        groups[start, item.model, item.route.value, item.feature or ""].append((item, cost))
    partials: dict[tuple[object, ...], WindowPartial] = {}
    for key, rows in groups.items():
        sketches = {}
        for name in ("ttft_s", "e2e_s", "tpot_s", "input_tokens", "output_tokens"):
            values = [getattr(e, name) for e, _ in rows if getattr(e, name) is not None]
            if values:
                sketch = DDSketch()
                sketch.add(np.array(values, np.float64))
                sketches[name] = sketch.to_state()
        partials[key] = WindowPartial(
            window_start_us=key[0],
            window_end_us=key[0] + SIZE,
            labels=dict(zip(DIMENSIONS, key[1:], strict=True)),
            requests=len(rows),
            errors=sum(e.failed for e, _ in rows),
            rejected=sum(e.rejected for e, _ in rows),
            aborted=sum(e.aborted for e, _ in rows),
            input_tokens=sum(e.input_tokens or 0 for e, _ in rows),
            cached_input_tokens=0,
            output_tokens=sum(e.output_tokens or 0 for e, _ in rows),
            tokens_unknown=sum(e.input_tokens is None or e.output_tokens is None for e, _ in rows),
            cost_nano_usd=sum(c for _, c in rows if c >= 0),
            cost_unknown=sum(c < 0 for _, c in rows),
            price_unknown=sum(c == PRICE_UNKNOWN for _, c in rows),
            sketches=sketches,
        )
    return partials


def test_partials_equal_plain_python_over_the_same_events() -> None:
    rng = random.Random(3)
    events = [random_event(rng) for _ in range(600)]
    costs = [rng.choice([PRICE_UNKNOWN, TOKENS_UNKNOWN, rng.randrange(10**12)]) for _ in events]
    store = WindowStore(SIZE, DIMENSIONS)
    for low in range(0, 600, 130):  # micro-batches of uneven size
        part = events[low : low + 130]
        store.add(EventColumns.from_events(part, np.array(costs[low : low + 130])))
    drained = store.drain()
    wanted = expected(events, costs)
    assert [p.window_start_us for p in drained] == sorted(p.window_start_us for p in drained)
    assert {(p.window_start_us, *p.labels.values()): p for p in drained} == wanted


def test_drain_forgets_what_it_gave() -> None:
    store = WindowStore(SIZE, ("model",))
    store.add(EventColumns.from_events([event()]))
    assert [p.requests for p in store.drain()] == [1]
    assert store.drain() == ()
    store.add(EventColumns.from_events([event(), event()]))
    assert [p.requests for p in store.drain()] == [2]
    store.add(EventColumns.from_events([event(model="other")]))
    assert [p.labels for p in store.drain()] == [{"model": "other"}]


def test_absent_label_is_the_empty_string_and_one_series() -> None:
    store = WindowStore(SIZE, ("feature", "lora_adapter"))
    store.add(EventColumns.from_events([event(), event()]))
    assert [(p.labels, p.requests) for p in store.drain()] == [
        ({"feature": "", "lora_adapter": ""}, 2)
    ]


def test_unknown_values_are_in_no_sketch() -> None:
    store = WindowStore(SIZE, ())
    store.add(EventColumns.from_events([event(), event(ttft_s=0.5)]))
    (partial,) = store.drain()
    assert DDSketch.from_state(partial.sketches["ttft_s"]).count == 1
    assert DDSketch.from_state(partial.sketches["e2e_s"]).count == 2
    assert "input_tokens" not in partial.sketches
    assert (partial.tokens_unknown, partial.cost_unknown, partial.cost_nano_usd) == (2, 2, 0)


def test_an_empty_batch_adds_nothing() -> None:
    store = WindowStore(SIZE, ("model",))
    store.add(EventColumns.from_events([]))
    assert store.drain() == ()


def test_the_end_of_a_window_belongs_to_the_next() -> None:
    times = np.array([9_999_999, 10_000_000, 19_999_999, 20_000_000])
    assert window_start(times, SIZE).tolist() == [0, SIZE, SIZE, 2 * SIZE]


@pytest.mark.parametrize(("size", "dimensions"), [(0, ("model",)), (SIZE, ("colour",))])
def test_wrong_settings_are_refused(size: int, dimensions: tuple[str, ...]) -> None:
    with pytest.raises(DetectorError):
        WindowStore(size, dimensions)


def test_labels_without_end_are_gathered_in_one_series_and_nothing_is_lost() -> None:
    store = WindowStore(10_000_000, ("feature",), max_series=3)
    for number in range(10):
        store.add(EventColumns.from_events([event(feature=f"f{number}")]))
    partials = {p.labels["feature"]: p.requests for p in store.drain()}
    assert partials == {"f0": 1, "f1": 1, "f2": 1, OVERFLOW: 7}
    assert store.overflowed == 7


def test_a_series_unheard_of_for_an_hour_makes_room_for_another() -> None:
    store = WindowStore(10_000_000, ("feature",), max_series=1)
    store.add(EventColumns.from_events([event(feature="old")]))
    store.add(EventColumns.from_events([event(2 * 3_600_000_000, feature="new")]))
    assert [p.labels["feature"] for p in store.drain()] == ["old", "new"]
    assert store.overflowed == 0
