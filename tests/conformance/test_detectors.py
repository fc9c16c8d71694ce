"""What every detector must do, over all of them."""

import json
import math
import random
from collections.abc import Callable, Iterable

import pytest

from detectors.adwin import AdwinDrift
from detectors.base import Detector
from detectors.errors import SnapshotError
from detectors.ks import KsDrift
from detectors.mad import MadDrift
from detectors.psi import PsiDrift

MAKERS: dict[str, Callable[[], Detector]] = {
    "ks": lambda: KsDrift(reference_size=200, current_size=100),
    "psi": lambda: PsiDrift(reference_size=250, current_size=200),
    "adwin": lambda: AdwinDrift(delta=0.0001, memory=200),  # small, so that it is rebuilt
    "mad": lambda: MadDrift(limit=1.7, memory=400, minimum=100, newest=9),
}

detectors = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def stationary(seed: int, n: int = 1_000) -> list[float]:
    rng = random.Random(seed)
    return [rng.betavariate(2, 5) for _ in range(n)]


def moved(seed: int, n: int = 1_000) -> list[float]:
    rng = random.Random(seed)
    return [rng.betavariate(5, 2) for _ in range(n)]


def feed(detector: Detector, values: Iterable[float | None]) -> Detector:
    for x in values:
        detector.update(x)
    return detector


def run(detector: Detector, values: Iterable[float | None]) -> list[tuple[float | None, bool]]:
    """Return what the detector says after each value."""
    answers = []
    for x in values:
        detector.update(x)
        answers.append((detector.value, detector.detected))
    return answers


def test_all_detectors_are_tried() -> None:
    assert all(isinstance(make(), Detector) for make in MAKERS.values())


@detectors
def test_detects_a_planted_change(make: Callable[[], Detector]) -> None:
    answers = run(make(), stationary(1) + moved(2))
    assert not any(detected for _, detected in answers[:1_000])
    assert any(detected for _, detected in answers[1_000:1_300])


@detectors
@pytest.mark.parametrize("seed", range(3))
def test_stays_quiet_on_a_stationary_stream(make: Callable[[], Detector], seed: int) -> None:
    assert not any(detected for _, detected in run(make(), stationary(seed)))


@detectors
def test_says_nothing_before_it_knows_anything(make: Callable[[], Detector]) -> None:
    detector = make()
    assert detector.value is None
    assert not detector.detected


@detectors
def test_is_deterministic(make: Callable[[], Detector]) -> None:
    values = stationary(3) + moved(4, 300)
    assert run(make(), values) == run(make(), values)


@detectors
def test_unknown_is_ignored_and_not_zero(make: Callable[[], Detector]) -> None:
    values = stationary(5) + moved(6, 300)
    gaps: list[float | None] = []
    for i, x in enumerate(values):
        gaps.extend([x, None, math.nan] if i % 3 else [x])
    plain, gappy = make(), make()
    answers = run(gappy, gaps)
    known = [a for x, a in zip(gaps, answers, strict=True) if x is not None and not math.isnan(x)]
    assert known == run(plain, values)
    assert gappy.snapshot() == plain.snapshot()


@detectors
@pytest.mark.parametrize("at", [0, 1, 199, 260, 401, 999, 1_040, 1_300])
def test_restored_detector_behaves_as_the_first_would_have(
    make: Callable[[], Detector], at: int
) -> None:
    values = stationary(7) + moved(8)
    first = feed(make(), values[:at])
    second = feed(make(), moved(9, 37))  # its own past must not shine through
    second.restore(json.loads(json.dumps(first.snapshot(), allow_nan=False)))
    assert (second.value, second.detected) == (first.value, first.detected)
    assert second.snapshot() == first.snapshot()
    assert run(second, values[at : at + 250]) == run(first, values[at : at + 250])


@detectors
def test_snapshot_is_not_shared_with_the_detector(make: Callable[[], Detector]) -> None:
    detector = make()
    feed(detector, stationary(1, 500))
    before = detector.snapshot()
    text = json.dumps(before)
    feed(detector, moved(2, 500))
    assert json.dumps(before) == text


@detectors
def test_memory_is_bounded(make: Callable[[], Detector]) -> None:
    detector = make()
    feed(detector, stationary(1, 3_000))
    small = len(json.dumps(detector.snapshot()))
    feed(detector, stationary(2, 6_000))
    assert len(json.dumps(detector.snapshot())) < 2.5 * small


@detectors
def test_strange_snapshots_are_refused(make: Callable[[], Detector]) -> None:
    detector = make()
    feed(detector, stationary(1, 500))
    good = detector.snapshot()
    lists = [name for name, value in good.items() if isinstance(value, list)]
    bad = [{}, good | {"detector": "another"}]
    bad += [{k: v for k, v in good.items() if k != name} for name in lists]
    bad += [good | {name: ["text"]} for name in lists]
    bad += [good | {name: [math.inf]} for name in lists]
    for snapshot in bad:
        with pytest.raises(SnapshotError):
            detector.restore(snapshot)
    assert detector.snapshot() == good
