"""What is made of rolling quantities: counts, budgets, baselines, detectors; new questions."""

from __future__ import annotations

import pytest

from detectors.baseline import Baseline, BaselineSettings
from detectors.rolling import SUPPORTED, Rolling
from schemas.signal import SIGNALS, Signal, SignalName, SignalQuery
from tests.unit.detectors.windows import SIZE, S, make_window

MODEL = {"model": "m"}


def query(signal: SignalName, over_s: float = 60, **fields: float) -> SignalQuery:
    return SignalQuery(signal, over_s, ("model",), **fields)


def play(
    rolling: Rolling, end_s: int, requests: int = 100, errors: int = 0, **fields: float
) -> Signal | None:
    """Close one window and return the first signal at its end."""
    if requests:
        seconds = fields.pop("seconds", 1.0)
        rolling.add(
            make_window(
                end_s,
                MODEL,
                requests=requests,
                errors=errors,
                sketches={"e2e_s": [seconds] * requests, "tpot_s": [seconds / 100] * requests},
                **{name: int(value) for name, value in fields.items()},
            )
        )
    signals = rolling.evaluate(end_s * S)
    return signals[0] if signals else None


def value(signal: Signal | None) -> float | None:
    assert signal is not None
    return signal.value


def test_a_count_is_unknown_until_its_lookback_is_covered_and_then_known_to_be_nought() -> None:
    rolling = Rolling([query(SignalName.REQUEST_COUNT)], SIZE)
    assert [value(play(rolling, end)) for end in range(10, 80, 10)] == [None] * 5 + [600.0, 600.0]
    assert [value(play(rolling, end, 0)) for end in range(80, 150, 10)] == [
        500.0, 400.0, 300.0, 200.0, 100.0, 0.0, 0.0,
    ]  # fmt: skip


def test_a_burn_rate_is_the_lesser_of_both_lookbacks() -> None:
    burn = query(SignalName.ERROR_BURN, 120, short_s=20, objective=0.99)
    rolling = Rolling([burn], SIZE)
    for end in range(10, 130, 10):
        play(rolling, end)
    # The long lookback has seen 40 errors in 1,200; the short one 40 in 200.
    for end in (130, 140):
        signal = play(rolling, end, errors=20)
    assert signal is not None
    assert signal.value == pytest.approx(40 / 1_200 / 0.01)
    assert signal.detail["short"] == pytest.approx(20.0)
    assert (signal.samples, signal.detail["short_samples"]) == (1_200, 200.0)
    # When it is over the short lookback says so first.
    for end in (150, 160):
        signal = play(rolling, end)
    assert signal is not None
    assert signal.value == 0.0
    assert signal.detail["long"] > 3


def test_a_burn_rate_without_recent_requests_is_unknown() -> None:
    rolling = Rolling([query(SignalName.ERROR_BURN, 60, short_s=20, objective=0.99)], SIZE)
    for end in range(10, 70, 10):
        play(rolling, end, errors=50)
    signals = [play(rolling, end, 0) for end in (70, 80)]
    assert [value(signal) for signal in signals] == [pytest.approx(50), None]


def test_what_is_low_where_low_is_bad_does_not_become_usual() -> None:
    settings = BaselineSettings(minimum=3, horizon=20)
    rolling = Rolling([query(SignalName.OUTPUT_TOKENS_PER_S_RATIO, 10)], SIZE, settings)
    for end in range(10, 110, 10):
        play(rolling, end, seconds=1.0)
    for end in range(110, 200, 10):
        signal = play(rolling, end, seconds=4.0)
    assert signal is not None
    assert signal.value == pytest.approx(0.25, rel=0.02)
    assert signal.baseline == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize(
    ("worse", "low", "high"), [("above", 8.0, 2.0), ("below", 2.0, 8.0), ("both", 2.0, 2.0)]
)
def test_a_baseline_holds_out_the_bad_side(worse: str, low: float, high: float) -> None:
    for value_then, usual in ((0.5, low), (8.0, high)):
        baseline = Baseline(BaselineSettings(minimum=3), 10, 10, worse)  # type: ignore[arg-type]
        for end in range(10, 60, 10):
            baseline.observe(end, [2.0], samples=100)
        for end in range(60, 300, 10):
            baseline.observe(end, [value_then], samples=100)
        expected = value_then if usual == 8.0 else 2.0
        assert baseline.at(310) == [expected]


def test_mad_scores_a_lookback_against_those_it_does_not_overlap() -> None:
    rolling = Rolling([query(SignalName.E2E_P95_MAD, 20)], SIZE)
    for end in range(10, 400, 10):
        signal = play(rolling, end, seconds=1.0 + 0.1 * (end % 30) / 30)
    assert signal is not None
    assert signal.value is not None
    assert abs(signal.value) < 2
    signal = play(rolling, 400, seconds=3.0)
    assert signal is not None
    assert signal.value is not None
    assert signal.value > 10
    assert signal.baseline == pytest.approx(1.05, abs=0.06)
    assert signal.detail["value"] > 2.9


def test_adwin_says_for_one_lookback_that_the_mean_moved() -> None:
    rolling = Rolling([query(SignalName.E2E_P95_ADWIN, 10)], SIZE)
    said = [value(play(rolling, end, seconds=1.0)) for end in range(10, 1_500, 10)]
    assert said[0] is None
    assert set(said[20:]) == {0.0}
    said = [value(play(rolling, end, seconds=2.5)) for end in range(1_500, 2_600, 10)]
    assert 1.0 in said
    assert said[-1] == 0.0


def test_details_are_those_of_the_catalogue() -> None:
    queries = [query(name, 20, short_s=10, objective=0.9) for name in SUPPORTED]
    rolling = Rolling(queries, SIZE, BaselineSettings(minimum=3))
    seen: dict[SignalName, set[str]] = {name: set() for name in SUPPORTED}
    for end in range(10, 1_000, 10):
        window = make_window(
            end, MODEL | {"route": "fallback"}, requests=50, errors=1, input_tokens=500,
            output_tokens=100, cost_nano_usd=10**6,
            sketches={n: [1.0] * 50 for n in ("ttft_s", "e2e_s", "tpot_s")},
        )  # fmt: skip
        rolling.add(window)
        for signal in rolling.evaluate(end * S):
            seen[signal.signal] |= signal.detail.keys()
    for name, details in seen.items():
        assert details == set(SIGNALS[name].details), name


def test_other_questions_are_answered_from_the_windows_that_are_held() -> None:
    hour = query(SignalName.ERROR_RATE, 600)
    rolling = Rolling(
        [hour, query(SignalName.E2E_P95_RATIO, 10)], SIZE, BaselineSettings(minimum=3)
    )
    for end in range(10, 610, 10):
        play(rolling, end, errors=10)
    fresh = SignalQuery(SignalName.REQUEST_COUNT, 300, ())
    rolling.reask([fresh, query(SignalName.E2E_P95_RATIO, 10)])
    rolling.add(make_window(610, MODEL, requests=100, sketches={"e2e_s": [2.0] * 100}))
    count, ratio = rolling.evaluate(610 * S)
    assert (count.signal, count.value) == (SignalName.REQUEST_COUNT, 3_000.0)
    assert ratio.value == pytest.approx(2.0, rel=0.02)  # its baseline went on
    rolling.reask([hour])
    (errors,) = rolling.evaluate(620 * S)
    assert (errors.value, errors.samples) == (pytest.approx(290 / 3_000), 3_000)
