"""The second stage: adding up, closing, correcting, and what comes too late or twice."""

import itertools

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.fences import Fences
from detectors.merge import WindowMerger
from detectors.sketch import DDSketch
from schemas.base import SCHEMA_VERSION
from schemas.window import SketchState, WindowBatch, WindowPartial

S = 1_000_000
SIZE = 10 * S
_numbers = itertools.count()


def partial(
    start_s: int = 0, model: str = "m", requests: int = 1, **fields: object
) -> WindowPartial:
    return WindowPartial.model_validate(
        {
            "window_start_us": start_s * S,
            "window_end_us": start_s * S + SIZE,
            "labels": {"model": model},
            "requests": requests,
        }
        | fields
    )


def batch(
    *partials: WindowPartial,
    source: str = "p0",
    epoch: str = "e",
    sequence: int | None = None,
    fence: int | None = 0,
) -> WindowBatch:
    return WindowBatch(
        schema_version=SCHEMA_VERSION,
        source=source,
        epoch=epoch,
        sequence=next(_numbers) if sequence is None else sequence,
        fence=fence,
        watermark_us=0,
        partials=partials,
    )


class Merger(WindowMerger):
    """A merger whose log is the order of its calls."""

    def __init__(self, correction_us: int) -> None:
        super().__init__(correction_us, Fences({}))
        self._offsets = itertools.count(1)

    def add(self, batch: WindowBatch, offset: int | None = None) -> None:
        super().add(batch, next(self._offsets) if offset is None else offset)


def sketch(*values: float) -> SketchState:
    held = DDSketch()
    held.add(np.array(values))
    return held.to_state()


def test_partials_of_all_sources_add_up() -> None:
    merger = Merger(correction_us=60 * S)
    merger.add(
        batch(
            partial(requests=3, errors=1, cost_nano_usd=7, sketches={"e2e_s": sketch(1, 2)}),
            partial(model="n", requests=5),
        )
    )
    merger.add(batch(partial(requests=4, aborted=2, sketches={"e2e_s": sketch(3)}), source="p1"))
    first, second = merger.close(10 * S)
    assert (first.labels, second.labels) == ({"model": "m"}, {"model": "n"})
    assert (first.requests, first.errors, first.aborted, first.cost_nano_usd) == (7, 1, 2, 7)
    assert first.sketches["e2e_s"].to_state() == sketch(1, 2, 3)
    assert (second.requests, dict(second.sketches)) == (5, {})


def test_windows_close_when_the_watermark_has_passed_and_oldest_first() -> None:
    merger = Merger(correction_us=0)
    merger.add(batch(partial(20), partial(0), partial(10)))
    assert merger.close(10 * S - 1) == []
    assert [w.start_us for w in merger.close(20 * S)] == [0, 10 * S]
    assert merger.open_windows == 1
    assert merger.close(20 * S) == []
    assert [w.start_us for w in merger.close(30 * S)] == [20 * S]


def test_repeated_batch_counts_once() -> None:
    merger = Merger(correction_us=60 * S)
    merger.add(batch(partial(), sequence=1))
    merger.add(batch(partial(), sequence=1))
    merger.add(batch(partial(), sequence=1, epoch="new owner"))
    merger.add(batch(partial(), sequence=1, source="p1"))
    assert [w.requests for w in merger.close(10 * S)] == [3]
    assert merger.repeated_batches == 1


def test_an_owner_that_was_followed_by_another_counts_no_more() -> None:
    """It was stalled; its successor reads again all that it had not got through."""
    merger = Merger(correction_us=60 * S)
    log = [
        (10, batch(fence=None)),
        (11, batch(partial(requests=5), fence=10)),
        (20, batch(fence=None)),
        (21, batch(partial(requests=3), fence=10)),
        (22, batch(partial(requests=1), fence=10, source="p1")),
        (23, batch(partial(requests=3), fence=20)),
    ]
    for offset, message in log:
        merger.add(message, offset)
    assert [w.requests for w in merger.close(10 * S)] == [9]
    assert merger.fenced_batches == 1


def test_after_a_restart_behind_the_announcements_the_same_batches_count() -> None:
    owners: dict[str, str] = {}
    for _ in range(2):
        merger = WindowMerger(60 * S, Fences(owners))
        for offset in (10, 20) if not owners else ():
            merger.add(batch(fence=None), offset)
        merger.add(batch(partial(requests=5), fence=10), 11)
        merger.add(batch(partial(requests=3), fence=10), 21)
        merger.add(batch(partial(requests=4), fence=20), 22)
        assert [w.requests for w in merger.close(10 * S)] == [9]


def test_batches_may_overtake_each_other() -> None:
    merger = Merger(correction_us=60 * S)
    for sequence in (2, 1, 3, 2, 1, 0):
        merger.add(batch(partial(), sequence=sequence))
    assert [w.requests for w in merger.close(10 * S)] == [4]
    assert merger.repeated_batches == 2


def test_a_very_old_sequence_counts_as_repeated() -> None:
    merger = Merger(correction_us=60 * S)
    for sequence in range(5_000):
        merger.add(batch(sequence=sequence))
    merger.add(batch(partial(), sequence=3))
    assert merger.close(10 * S) == []
    assert merger.repeated_batches == 1


def test_late_partial_corrects_the_whole_window() -> None:
    merger = Merger(correction_us=60 * S)
    merger.add(batch(partial(requests=3, sketches={"e2e_s": sketch(1)})))
    (first,) = merger.close(10 * S)
    merger.add(batch(partial(requests=2, sketches={"e2e_s": sketch(9)})))
    (second,) = merger.close(11 * S)
    assert (first.revision, first.requests, first.sketches["e2e_s"].count) == (0, 3, 1)
    assert (second.revision, second.requests, second.sketches["e2e_s"].count) == (1, 5, 2)
    assert merger.close(12 * S) == []
    assert merger.late_partials == 0


def test_a_late_series_of_a_closed_window_comes_out_as_its_first_revision() -> None:
    merger = Merger(correction_us=60 * S)
    merger.add(batch(partial()))
    merger.close(10 * S)
    merger.add(batch(partial(model="late")))
    assert [(w.labels["model"], w.revision) for w in merger.close(10 * S)] == [("late", 0)]


def test_too_late_even_for_a_correction_is_counted() -> None:
    merger = Merger(correction_us=60 * S)
    merger.add(batch(partial()))
    assert len(merger.close(69 * S)) == 1
    merger.add(batch(partial(requests=2)))
    assert [w.requests for w in merger.close(70 * S)] == [3]  # it came in time; the close did not
    merger.add(batch(partial(requests=7), partial(model="n", requests=4)))
    assert merger.close(71 * S) == []
    assert (merger.late_partials, merger.late_requests) == (2, 11)


def test_watermark_does_not_go_back() -> None:
    merger = Merger(correction_us=0)
    merger.close(50 * S)
    assert merger.close(10 * S) == []
    merger.add(batch(partial(requests=2)))
    assert merger.late_requests == 2


@pytest.mark.parametrize(
    "bad",
    [
        partial(sketches={"e2e_s": SketchState(alpha=0.005, keys=(1, 2), counts=(1,))}),
        partial(sketches={"e2e_s": SketchState(alpha=0.005, keys=(2, 1), counts=(1, 1))}),
        partial(sketches={"e2e_s": SketchState(alpha=0.005, keys=(1,), counts=(0,))}),
        partial(sketches={"e2e_s": SketchState(alpha=0.005, keys=(1,), counts=(-4,))}),
        partial(sketches={"e2e_s": SketchState(alpha=0.005, keys=(10**9,), counts=(1,))}),
        partial(sketches={"e2e_s": SketchState(alpha=0.005, keys=(1,), counts=(10**30,))}),
        partial(sketches={"e2e_s": SketchState(alpha=0.01, keys=(1,), counts=(1,))}),
        partial(window_end_us=0),
    ],
)
def test_a_malformed_partial_spoils_nothing(bad: WindowPartial) -> None:
    merger = Merger(correction_us=60 * S)
    with pytest.raises(DetectorError):
        merger.add(batch(partial(), bad, sequence=1, source="bad"))
    merger.add(batch(partial(requests=9), sequence=1, source="bad"))
    assert [w.requests for w in merger.close(10 * S)] == [9]


def test_negative_correction_time_is_refused() -> None:
    with pytest.raises(DetectorError):
        Merger(correction_us=-1)
