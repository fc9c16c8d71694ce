"""Rolling signals against plain sums over the same windows."""

import random

import pytest

from detectors.baseline import BaselineSettings
from detectors.closed_window import Window
from detectors.rolling import SUPPORTED, Rolling
from schemas.signal import Signal, SignalName, SignalQuery
from tests.unit.detectors.windows import SIZE, S, make_window, sketch_of

SERIES = [{"model": m, "feature": f} for m in ("a", "b") for f in ("chat", "", "search")]


def random_window(rng: random.Random, end_s: int, labels: dict[str, str]) -> Window:
    n = rng.randrange(1, 30)
    return make_window(
        end_s,
        labels,
        requests=n,
        errors=rng.randrange(n),
        aborted=rng.randrange(n),
        input_tokens=rng.randrange(10_000),
        output_tokens=rng.randrange(10_000),
        cost_nano_usd=rng.randrange(10**10),
        cost_unknown=rng.randrange(n),
        sketches={
            "e2e_s": [rng.lognormvariate(0, 1) for _ in range(n)],
            "ttft_s": [rng.lognormvariate(-1, 1) for _ in range(rng.randrange(n))],
            "tpot_s": [rng.lognormvariate(-4, 1) for _ in range(n)],
        },
    )


def only(signals: list[Signal], name: SignalName, **labels: str) -> Signal:
    (found,) = [s for s in signals if s.signal == name and s.labels == labels]
    return found


@pytest.mark.parametrize("by", [(), ("model",), ("model", "feature"), ("feature",)])
@pytest.mark.parametrize("over_s", [10, 25, 60])
def test_signals_equal_sums_over_the_windows_of_the_lookback(
    by: tuple[str, ...], over_s: float
) -> None:
    rng = random.Random(5)
    queries = [SignalQuery(name, over_s, by) for name in SUPPORTED]
    rolling = Rolling([*queries, SignalQuery(SignalName.ERROR_RATE, 300, ())], SIZE)
    held: dict[tuple[int, str], Window] = {}
    for end_s in range(10, 310, 10):
        for labels in SERIES:
            if rng.random() < 0.7:
                held[end_s, str(labels)] = random_window(rng, end_s, labels)
                rolling.add(held[end_s, str(labels)])
        if end_s > 20 and (late := (end_s - 20, str(SERIES[0]))) in held:  # a correction
            more = held[late].requests + rng.randrange(1, 9)
            held[late] = make_window(end_s - 20, SERIES[0], revision=1, requests=more)
            rolling.add(held[late])
        signals = rolling.evaluate(end_s * S)
    inside = [w for w in held.values() if 300 - -(-over_s // 10) * 10 < w.end_us / S <= 300]
    groups = {tuple(w.labels[name] for name in by) for w in inside}
    covered = -(-over_s // 10) * 10
    for group in groups:
        mine = [w for w in inside if tuple(w.labels[name] for name in by) == group]
        labels = dict(zip(by, group, strict=True))
        requests = sum(w.requests for w in mine)
        found = {s.signal: s for s in signals if s.labels == labels and s.over_s == over_s}
        assert found[SignalName.ERROR_RATE].value == sum(w.errors for w in mine) / requests
        assert found[SignalName.ERROR_RATE].samples == requests
        assert found[SignalName.REQUEST_RATE].value == requests / covered
        known = requests - sum(w.cost_unknown for w in mine)
        usd = sum(w.cost_nano_usd for w in mine) / 1e9
        assert found[SignalName.COST_RATE].value == pytest.approx(usd / covered * 3_600)
        assert found[SignalName.COST_RATE].samples == known
        merged = sketch_of([])
        for window in mine:
            if "e2e_s" in window.sketches:
                merged.merge(window.sketches["e2e_s"])
        assert found[SignalName.E2E_P95].value == merged.quantile(0.95)
        assert found[SignalName.E2E_P95].samples == merged.count
        assert all(s.window_end_us == 300 * S for s in found.values())


def test_a_correction_takes_the_place_of_the_window() -> None:
    query = SignalQuery(SignalName.ERROR_RATE, 60, ())
    rolling = Rolling([query], SIZE)
    rolling.add(make_window(10, requests=10, errors=0))
    assert [s.value for s in rolling.evaluate(10 * S)] == [0]
    rolling.add(make_window(10, requests=20, errors=10, revision=1))
    rolling.add(make_window(10, requests=19, errors=0, revision=0))  # older: changes nothing
    assert [(s.value, s.samples) for s in rolling.evaluate(20 * S)] == [(0.5, 20)]


def test_a_window_beyond_the_evaluated_end_waits() -> None:
    rolling = Rolling([SignalQuery(SignalName.REQUEST_RATE, 10, ())], SIZE)
    rolling.add(make_window(10, requests=10))
    rolling.add(make_window(20, requests=50))
    assert [s.value for s in rolling.evaluate(10 * S)] == [1]
    assert [s.value for s in rolling.evaluate(20 * S)] == [5]


def test_silence_is_unknown_and_then_forgotten() -> None:
    rolling = Rolling([SignalQuery(SignalName.ERROR_RATE, 20, ("model",))], SIZE)
    rolling.add(make_window(10, {"model": "a"}, requests=5, errors=1))
    assert [s.value for s in rolling.evaluate(20 * S)] == [0.2]
    assert [(s.value, s.samples) for s in rolling.evaluate(30 * S)] == [(None, 0)]
    assert len(rolling.evaluate(40 * S)) == 1
    assert rolling.evaluate(50 * S) == []


def test_unknown_values_and_prices_are_not_zero() -> None:
    names = (SignalName.TTFT_P95, SignalName.OUTPUT_TOKENS_PER_S, SignalName.COST_RATE)
    rolling = Rolling(
        [SignalQuery(n, 10, ()) for n in (*names, SignalName.UNKNOWN_PRICE_RATE)], SIZE
    )
    rolling.add(make_window(10, requests=4, cost_unknown=4, price_unknown=3))
    signals = rolling.evaluate(10 * S)
    assert [(only(signals, n).value, only(signals, n).samples) for n in names] == [(None, 0)] * 3
    assert only(signals, SignalName.UNKNOWN_PRICE_RATE).value == 0.75
    assert only(signals, SignalName.COST_RATE).detail == {"cost_unknown": 4}


def test_the_share_of_fallbacks_is_of_requests_whose_route_is_known() -> None:
    rolling = Rolling([SignalQuery(SignalName.FALLBACK_RATE, 30, ("model",))], SIZE)
    stable, fallback = ({"model": "m", "route": route} for route in ("stable", "fallback"))
    rolling.add(make_window(10, stable, requests=6))
    rolling.add(make_window(10, fallback, requests=2))
    rolling.add(make_window(10, {"model": "m", "route": ""}, requests=50))
    rolling.add(make_window(10, {"model": "n"}, requests=50))  # windows that are not by route
    signals = {s.labels["model"]: s for s in rolling.evaluate(10 * S)}
    assert (signals["m"].value, signals["m"].samples) == (0.25, 8)
    assert signals["m"].detail == {"fallbacks": 2, "covered_s": 10}
    assert (signals["n"].value, signals["n"].samples) == (None, 0)
    rolling.add(make_window(10, fallback, requests=6, revision=1))
    assert [s.value for s in rolling.evaluate(20 * S)] == [0.5, None]
    assert [s.value for s in rolling.evaluate(40 * S)] == [None, None]


def test_rate_of_a_lookback_that_is_not_yet_full_divides_by_what_was_seen() -> None:
    query = SignalQuery(SignalName.COST_RATE, 3_600, ())
    rolling = Rolling([query], SIZE)
    rolling.add(make_window(1_010, requests=1, cost_nano_usd=10**9))
    (signal,) = rolling.evaluate(1_010 * S)
    assert signal.value == pytest.approx(360)  # 1 USD in 10 s
    assert signal.detail["covered_s"] == 10


def test_median_decode_speed() -> None:
    rolling = Rolling([SignalQuery(SignalName.OUTPUT_TOKENS_PER_S, 10, ())], SIZE)
    rolling.add(make_window(10, requests=3, sketches={"tpot_s": [0.01, 0.02, 1.0]}))
    (signal,) = rolling.evaluate(10 * S)
    assert signal.value == pytest.approx(50, rel=0.01)
    assert signal.samples == 3


def test_queries_for_other_detectors_are_left_out() -> None:
    rolling = Rolling([SignalQuery(SignalName.QUALITY_SCORE, 10, ())], SIZE)
    rolling.add(make_window(10, requests=3))
    assert rolling.evaluate(10 * S) == []


def run_ratio(
    name: SignalName, latency: list[float], cost: list[int], requests: list[int]
) -> list[Signal]:
    settings = BaselineSettings(horizon=180, minimum=6, minimum_samples=1)
    rolling = Rolling([SignalQuery(name, 20, ("model",))], SIZE, settings)
    signals = []
    for i, (e2e_s, usd, n) in enumerate(zip(latency, cost, requests, strict=True), 1):
        rolling.add(
            make_window(
                i * 10,
                {"model": "a"},
                requests=n,
                input_tokens=100 * n,
                cost_nano_usd=usd * 10**9,
                sketches={"e2e_s": [e2e_s] * n},
            )
        )
        signals += rolling.evaluate(i * 10 * S)
    return signals


def test_no_ratio_before_there_is_a_baseline() -> None:
    signals = run_ratio(SignalName.E2E_P95_RATIO, [1.0] * 12, [1] * 12, [30] * 12)
    values = [s.value for s in signals]
    assert values[:7] == [None] * 7
    assert values[7:] == pytest.approx([1.0] * 5)
    assert all(s.samples for s in signals)


def test_a_regression_does_not_become_its_own_baseline() -> None:
    signals = run_ratio(SignalName.E2E_P95_RATIO, [1.0] * 20 + [3.0] * 200, [1] * 220, [30] * 220)
    assert all(s.value == pytest.approx(3, rel=0.02) for s in signals[25:])
    assert signals[-1].baseline == pytest.approx(1, rel=0.01)
    assert signals[-1].detail["value"] == pytest.approx(3, rel=0.01)


def test_a_level_that_lasts_a_whole_horizon_is_the_new_normal() -> None:
    signals = run_ratio(SignalName.E2E_P95_RATIO, [1.0] * 20 + [3.0] * 400, [1] * 420, [30] * 420)
    assert signals[-1].value == pytest.approx(1, rel=0.02)


def test_cost_spike_tells_whether_traffic_explains_it() -> None:
    with_traffic = run_ratio(
        SignalName.COST_RATE_RATIO, [1.0] * 22, [3] * 20 + [9] * 2, [30] * 20 + [90] * 2
    )[-1]
    without = run_ratio(SignalName.COST_RATE_RATIO, [1.0] * 22, [3] * 20 + [9] * 2, [30] * 22)[-1]
    assert with_traffic.value == pytest.approx(3)
    assert with_traffic.detail["traffic_ratio"] == pytest.approx(3)
    assert with_traffic.detail["usd_per_token_ratio"] == pytest.approx(1)
    assert without.value == pytest.approx(3)
    assert without.detail["traffic_ratio"] == pytest.approx(1)
    assert without.detail["tokens_per_request_ratio"] == pytest.approx(1)
    assert without.detail["usd_per_token_ratio"] == pytest.approx(3)
    assert without.baseline == pytest.approx(3 * 360)
