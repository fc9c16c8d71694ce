"""Closed windows come in order, once, and nothing is acknowledged that a restart would need."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from detectors.closed_window import Window
from schemas.base import SCHEMA_VERSION
from schemas.settings import StreamSettings
from schemas.topics import Topics
from schemas.window import WindowBatch, WindowPartial
from streams.errors import StoreRefusedError, StoreUnavailableError
from streams.merge import MergeAgent
from streams.replay import source_name
from tests.support.streams import Log, LoggedEvent, Rows

SIZE = 10_000_000
START = 1_790_000_000_000_000


class Signals:
    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.ends: list[int] = []
        self.held: list[tuple[int, float]] = []
        self.fails = 0
        self.problem: Exception | None = None
        self.forgotten = 0
        self.resumed: list[int] = []
        self.newest = 0

    async def newest_us(self) -> int:
        if self.problem is not None:
            raise self.problem
        return self.newest

    def forget(self) -> None:
        self.forgotten += 1

    async def resume(self, first_us: int) -> None:
        if self.problem is not None:
            raise self.problem
        self.resumed.append(first_us)

    def take_in(self, windows: Sequence[Window]) -> None:
        self.windows += windows

    async def evaluate(self, end_us: int, *, lag_s: float | None) -> None:
        assert lag_s is not None
        if self.fails:
            self.fails -= 1
            raise ConnectionError("gone")
        self.ends.append(end_us)

    async def hold(self, at_us: int, lag_s: float) -> None:
        self.held.append((at_us, lag_s))


class Setup:
    def __init__(self) -> None:
        self.now_us = START
        self.passed_us = 7
        self.partitions = 0
        self.store, self.signals = Rows(), Signals()
        self.log = Log(Topics.WINDOWS.name)
        self.agent = MergeAgent(
            StreamSettings(),
            self.store,
            self.signals,
            lambda: self.now_us,
            lambda: self.passed_us,
            lambda _: None,
            owners={},
            partitions=lambda: self.partitions,
        )
        self.sequence = 0

    def batch(
        self, window: int, requests: int, watermark_s: float, source: str = "a", **told: bool
    ) -> LoggedEvent:
        self.sequence += 1
        start = START + window * SIZE
        partial = WindowPartial(
            window_start_us=start,
            window_end_us=start + SIZE,
            labels={"provider": "p", "model": "m", "model_version": "v1", "route": "stable"},
            requests=requests,
        )
        message = WindowBatch(
            schema_version=SCHEMA_VERSION,
            source=source,
            epoch="e",
            sequence=self.sequence,
            fence=0,
            watermark_us=START + round(watermark_s * 1e6),
            partials=(partial,) if requests else (),
            **told,
        )
        return self.log.append(message.to_json())

    async def take(self, *events: LoggedEvent) -> None:
        for event in events:
            self.agent._take_in(event)
        await self.agent.advance()

    @property
    def rows(self) -> list[tuple[int, int, int]]:
        return [
            ((row["window_start"] - START) // SIZE, row["requests"], row["revision"])
            for row in self.store.tables.get("windows", [])
        ]


@pytest.fixture
def setup() -> Setup:
    return Setup()


async def test_a_window_closes_when_every_source_has_passed_it(setup: Setup) -> None:
    await setup.take(setup.batch(0, 3, 12, "a"), setup.batch(0, 4, 5, "b"))
    assert setup.rows == []
    await setup.take(setup.batch(1, 1, 11, "b"))
    assert setup.rows == [(0, 7, 0)]
    assert setup.signals.ends == [START + SIZE]


async def test_a_late_partial_corrects_the_window_with_a_revision(setup: Setup) -> None:
    await setup.take(setup.batch(0, 3, 12))
    await setup.take(setup.batch(0, 2, 13))
    assert setup.rows == [(0, 3, 0), (0, 5, 1)]
    assert setup.signals.ends == [START + SIZE]


async def test_a_source_that_is_read_to_its_end_does_not_hold_the_others(setup: Setup) -> None:
    await setup.take(setup.batch(0, 3, 12, "a"), setup.batch(0, 4, 5, "b"))
    setup.passed_us += 600_000_000
    await setup.take(setup.batch(1, 1, 21, "a"))
    assert setup.rows == []  # nobody may be reading it, and what it holds is to come
    await setup.take(setup.batch(0, 0, 5, "b", idle=True))
    assert setup.rows[0] == (0, 7, 0)


async def test_no_window_closes_before_every_partition_is_heard(setup: Setup) -> None:
    setup.partitions = 2
    await setup.agent.assigned(True)
    first, second = (source_name(number) for number in (0, 1))
    await setup.take(setup.batch(0, 3, 12, first))
    assert setup.rows == []
    await setup.take(setup.batch(0, 0, 0, second, idle=True))
    assert setup.rows == [(0, 3, 0)]


async def test_after_partitions_moved_no_old_word_of_silence_is_trusted(setup: Setup) -> None:
    setup.partitions = 2
    await setup.agent.assigned(True)
    first, second = (source_name(number) for number in (0, 1))
    await setup.take(setup.batch(0, 3, 2, first), setup.batch(0, 0, 0, second, idle=True))
    await setup.agent.assigned(True)
    await setup.take(setup.batch(0, 1, 12, first))
    assert setup.rows == []
    await setup.take(setup.batch(0, 5, 12, second))
    assert setup.rows == [(0, 9, 0)]


async def test_silence_moves_the_windows_and_is_evaluated(setup: Setup) -> None:
    await setup.take(setup.batch(0, 3, 12), setup.batch(0, 0, 12, idle=True))
    setup.now_us += 60_000_000  # the clock is put forward; no time has passed
    await setup.agent.advance()
    assert setup.signals.ends == [START + SIZE]
    setup.passed_us += 60_000_000
    await setup.agent.advance()
    assert setup.signals.ends[-1] > START + 5 * SIZE


async def test_a_record_read_again_counts_once(setup: Setup) -> None:
    event = setup.batch(0, 3, 5)
    await setup.take(event, event)
    await setup.take(setup.batch(1, 1, 15))
    assert setup.rows == [(0, 3, 0)]


async def test_records_are_acknowledged_only_when_no_correction_can_come(setup: Setup) -> None:
    first = setup.batch(0, 3, 12)
    await setup.take(first)
    assert setup.rows == [(0, 3, 0)]
    assert first.acked == 0
    await setup.take(setup.batch(9, 1, 95))
    assert first.acked == 1


async def test_what_cannot_be_handed_on_is_handed_on_later_once(setup: Setup) -> None:
    setup.signals.fails = 1
    with pytest.raises(ConnectionError):
        await setup.take(setup.batch(0, 3, 12))
    await setup.agent.advance()
    assert {start for start, *_ in setup.rows} == {0}
    assert setup.signals.ends == [START + SIZE]
    assert {window.start_us for window in setup.signals.windows} == {START}


async def test_an_unreadable_record_is_counted_and_its_neighbours_survive(setup: Setup) -> None:
    bad = setup.log.append(b'{"source": 1}')
    await setup.take(bad, setup.batch(0, 3, 12))
    assert setup.rows == [(0, 3, 0)]


async def test_the_lag_is_unknown_before_anything_and_grows_with_silence(setup: Setup) -> None:
    assert setup.agent.lag_s() is None
    setup.now_us = START + 20_000_000
    await setup.take(setup.batch(0, 3, 12))
    assert setup.agent.lag_s() == pytest.approx(8)


async def test_windows_that_do_not_close_are_told_of_again_and_again(setup: Setup) -> None:
    await setup.take(setup.batch(0, 3, 12, "a"), setup.batch(0, 4, 11, "b"))
    await setup.take(setup.batch(0, 4, 50, "a"))  # nobody reads b any more
    assert setup.signals.held == []
    for _ in range(2):
        setup.passed_us += 3 * SIZE
        setup.now_us += 3 * SIZE
        await setup.agent.advance()
        await setup.agent.tell()
        await setup.agent.tell()
    assert [at - START for at, _ in setup.signals.held] == [3 * SIZE, 6 * SIZE]
    assert setup.signals.held[1][1] == pytest.approx(60 - 11)
    assert setup.signals.ends == [START + SIZE]


@pytest.mark.parametrize("problem", [StoreUnavailableError("away"), StoreRefusedError("for good")])
async def test_nothing_is_evaluated_before_figures_are_resumed_and_that_is_said(
    setup: Setup, problem: Exception
) -> None:
    setup.signals.problem = problem
    setup.now_us = START + 12_000_000
    with pytest.raises(type(problem)):
        await setup.take(setup.batch(0, 3, 12))
    setup.passed_us += 3 * SIZE
    setup.now_us += 3 * SIZE
    with pytest.raises(type(problem)):
        await setup.take(setup.batch(3, 1, 42))
    await setup.agent.tell()
    assert setup.signals.ends == []
    assert setup.rows == []
    # Late by what waits, not by the watermark, which goes on.
    assert setup.signals.held == [(setup.now_us, pytest.approx(32))]
    setup.signals.problem = None
    await setup.agent.advance()
    assert setup.signals.resumed[0] == START + SIZE
    assert setup.signals.ends[:2] == [START + SIZE, START + 4 * SIZE]


async def test_figures_are_forgotten_when_another_worker_goes_on(setup: Setup) -> None:
    await setup.agent.assigned(True)
    await setup.agent.assigned(True)
    assert setup.signals.forgotten == 0
    await setup.agent.assigned(False)
    assert setup.signals.forgotten == 1


async def test_a_worker_that_begins_amid_silence_evaluates_it(setup: Setup) -> None:
    """No event comes, and the log holds none any more: rules on absence must fire all the same."""
    setup.partitions = 2
    setup.signals.newest = START + SIZE
    await setup.agent.assigned(owner=True)
    one = setup.batch(0, 0, -START / 1e6, source_name(0), idle=True)
    two = setup.batch(0, 0, -START / 1e6, source_name(1), idle=True)
    await setup.take(one)
    assert setup.signals.resumed == []  # the other partition may hold some
    setup.signals.problem = StoreUnavailableError("away")
    with pytest.raises(StoreUnavailableError):
        await setup.take(two)
    setup.signals.problem = None
    setup.passed_us += 3 * SIZE + 1
    await setup.agent.advance()
    assert setup.signals.resumed == [START + 2 * SIZE]
    assert setup.signals.ends == [START + 4 * SIZE]
    await setup.take(setup.batch(4, 2, 53, source_name(0)), setup.batch(4, 2, 53, source_name(1)))
    assert setup.rows == [(4, 4, 0)]


async def test_silence_where_nothing_ever_was_is_no_news(setup: Setup) -> None:
    setup.partitions = 1
    await setup.agent.assigned(owner=True)
    await setup.take(setup.batch(0, 0, -START / 1e6, source_name(0), idle=True))
    # It has answered, and is not asked again and again.
    setup.signals.problem = StoreUnavailableError("away")
    setup.passed_us += 3 * SIZE
    await setup.agent.advance()
    assert (setup.signals.resumed, setup.signals.ends) == ([], [])
