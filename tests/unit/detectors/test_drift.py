"""Drift over closed windows: real lengths, a planted shift, and what must be unknown."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from detectors.drift import DEFAULT_QUERIES, Drift
from detectors.errors import SnapshotError
from schemas.derived import ANOMALIES
from schemas.settings import DriftSettings
from schemas.signal import Signal, SignalName, SignalQuery
from tests.unit.detectors.windows import S, make_window

SETTINGS = DriftSettings()
HOUR = 3_600


def real_lengths() -> tuple[list[float], list[float]]:
    path = Path(__file__).parents[2] / "data" / "azure_sample.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [float(r["ContextTokens"]) for r in rows], [float(r["GeneratedTokens"]) for r in rows]


def play(
    drift: Drift,
    inputs: Sequence[float],
    outputs: Sequence[float],
    *,
    first_end_s: int = 10,
    model: str = "m",
    size: int = 20,
) -> dict[SignalName, Signal]:
    """Play requests in windows of ``size`` and return the last window's signals."""
    signals: list[Signal] = []
    for i, low in enumerate(range(0, len(inputs), size)):
        end_s = first_end_s + 10 * i
        sketches = {
            "input_tokens": inputs[low : low + size],
            "output_tokens": outputs[low : low + size],
        }
        drift.add(make_window(end_s, {"model": model}, requests=size, sketches=sketches))
        signals = drift.evaluate(end_s * S)
    return {s.signal: s for s in signals if s.labels == {"model": model}}


def test_real_traffic_is_stable_and_its_double_is_not() -> None:
    inputs, outputs = real_lengths()
    calm = play(Drift(SETTINGS), inputs, outputs)
    moved = play(
        Drift(SETTINGS), inputs, [x if i < 1_000 else 2 * x for i, x in enumerate(outputs)]
    )
    for name in (SignalName.INPUT_TOKENS_PSI, SignalName.OUTPUT_TOKENS_PSI):
        assert calm[name].samples == 300
        assert calm[name].detail["reference_samples"] == 1_000
        value = calm[name].value
        assert value is not None
        assert value < 0.2
    shifted, gap = moved[SignalName.OUTPUT_TOKENS_PSI], moved[SignalName.OUTPUT_TOKENS_KS]
    assert shifted.value is not None
    assert shifted.value > 1
    assert gap.value is not None
    assert gap.value > 0.3
    assert gap.detail["p_value"] < 1e-6
    assert calm[SignalName.OUTPUT_TOKENS_KS].detail["p_value"] > 0.01
    assert moved[SignalName.INPUT_TOKENS_PSI].value == calm[SignalName.INPUT_TOKENS_PSI].value


def test_adwin_says_one_while_the_change_is_in_the_lookback() -> None:
    inputs, outputs = real_lengths()
    query = SignalQuery(SignalName.OUTPUT_TOKENS_ADWIN, 60, ("model",))
    drift = Drift(SETTINGS, [query])
    calm = play(drift, inputs, outputs)[query.signal]
    assert calm.value == 0
    assert calm.detail["mean_tokens"] == pytest.approx(17, rel=0.3)
    heard = []
    for i in range(40):
        end_s = 1_000 + i * 10
        longer = [10 * x for x in outputs[i * 20 : i * 20 + 20]]
        drift.add(make_window(end_s, {"model": "m"}, sketches={"output_tokens": longer}))
        heard += [s.value for s in drift.evaluate(end_s * S)]
    assert heard[0] == 0
    first = heard.index(1.0)
    assert heard[first : first + 6] == [1.0] * 6
    assert heard[-1] == 0


def test_nothing_is_said_before_both_samples_are_full() -> None:
    inputs, outputs = real_lengths()
    for n, current in ((980, 0), (1_000, 0), (1_280, 280)):
        found = play(Drift(SETTINGS), inputs[:n], outputs[:n])[SignalName.INPUT_TOKENS_PSI]
        assert found.value is None
        assert found.samples == current


def test_reference_stays_frozen_and_the_lookback_slides() -> None:
    settings = DriftSettings(reference_requests=200, current_requests=100)
    query = SignalQuery(SignalName.INPUT_TOKENS_PSI, 200, ())
    drift = Drift(settings, [query])
    seen = []
    for i, level in enumerate([10.0] * 10 + [1_000.0] * 30 + [10.0] * 30):
        end_s = 10 * i + 10
        lengths = [level + k for k in range(20)]
        drift.add(make_window(end_s, sketches={"input_tokens": lengths}))
        seen += [s.value for s in drift.evaluate(end_s * S)]
    assert seen[35] is not None
    assert seen[35] > 2  # long after the shift it is still one
    assert seen[-1] == pytest.approx(0, abs=0.05)


def test_silence_and_unknown_lengths_are_unknown() -> None:
    settings = DriftSettings(reference_requests=20, current_requests=20)
    drift = Drift(settings, [SignalQuery(SignalName.INPUT_TOKENS_PSI, 60, ("model",))])
    drift.add(make_window(10, {"model": "other"}, requests=50))  # no length is known
    assert drift.evaluate(10 * S) == []
    inputs, outputs = real_lengths()
    assert play(drift, inputs[:60], outputs[:60])[SignalName.INPUT_TOKENS_PSI].value is not None
    (silent,) = drift.evaluate(500 * S)
    assert (silent.value, silent.samples) == (None, 0)


def test_corrections_are_left_out() -> None:
    settings = DriftSettings(reference_requests=20, current_requests=20)
    drift = Drift(settings, [SignalQuery(SignalName.INPUT_TOKENS_PSI, 60, ())])
    drift.add(make_window(10, revision=1, sketches={"input_tokens": [1.0] * 30}))
    assert drift.evaluate(10 * S) == []


def test_labels_are_those_of_the_query_and_series_add_up() -> None:
    settings = DriftSettings(reference_requests=40, current_requests=20)
    drift = Drift(settings, [SignalQuery(SignalName.INPUT_TOKENS_PSI, 60, ("model",))])
    for feature in ("chat", "search"):
        labels = {"model": "m", "feature": feature}
        drift.add(make_window(10, labels, sketches={"input_tokens": [5.0] * 20}))
    (signal,) = drift.evaluate(10 * S)
    assert signal.labels == {"model": "m"}
    assert signal.detail["reference_samples"] == 40


def test_restored_drift_goes_on_with_the_same_reference() -> None:
    inputs, outputs = real_lengths()
    whole = Drift(SETTINGS)
    play(whole, inputs[:1_000], outputs[:1_000])
    restored = Drift(SETTINGS)
    restored.restore(json.loads(json.dumps(whole.snapshot(), allow_nan=False)))
    expected = play(whole, inputs[1_000:], outputs[1_000:], first_end_s=600)
    assert play(restored, inputs[1_000:], outputs[1_000:], first_end_s=600) == expected
    assert expected[SignalName.INPUT_TOKENS_KS].value is not None


def test_snapshot_of_a_query_that_is_gone_is_left_out() -> None:
    inputs, outputs = real_lengths()
    whole = Drift(SETTINGS)
    play(whole, inputs[:1_000], outputs[:1_000])
    other = Drift(SETTINGS, [SignalQuery(SignalName.INPUT_TOKENS_PSI, HOUR, ("feature",))])
    other.restore(whole.snapshot())
    assert other.snapshot() == {"detector": "drift", "groups": []}


def test_strange_snapshots_are_refused() -> None:
    whole = Drift(SETTINGS)
    play(whole, [1.0] * 40, [1.0] * 40)
    good = json.dumps(whole.snapshot())
    for text in (
        "{}",
        good.replace("drift", "other"),
        good.replace('"counts": [40]', '"counts": []'),
        good.replace('"frozen": false', '"frozen": "perhaps"'),
    ):
        assert text != good
        drift = Drift(SETTINGS)
        with pytest.raises(SnapshotError):
            drift.restore(json.loads(text))
        assert drift.snapshot() == {"detector": "drift", "groups": []}


def test_default_queries_ask_for_every_drift_signal() -> None:
    asked = {query.signal for query in DEFAULT_QUERIES}
    assert asked == {name for (base, _), name in ANOMALIES.items() if base.endswith("put_tokens")}
