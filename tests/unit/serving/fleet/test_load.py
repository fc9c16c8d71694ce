"""A replay against a fleet: every request ends in one count, and is one event."""

from __future__ import annotations

from pathlib import Path

from schemas.feedback import FeedbackEvent
from schemas.flag import FlagKey
from serving.flags.reader import FlagReader
from serving.fleet.load import LoadCounts, LoadDriver
from serving.fleet.profile import FleetProfile
from serving.fleet.users import Arrival, Visits
from tests.support.broker import free_port
from tests.support.fleet import QUICK, Running, fleet_of, running_fleet
from tests.support.waiting import until, until_true

MODEL = "llama-3.1-70b"


def arrivals(count: int, gap_s: float = 0.002) -> list[Arrival]:
    return [Arrival(n * gap_s, 500 + n, 5 + n % 40) for n in range(count)]


async def finish(driver: LoadDriver) -> LoadCounts:
    counts = driver.counts
    async for counts in driver.run(every_s=0.05):
        assert counts.in_flight >= 0
    return counts


async def all_events(fleet: Running, count: int) -> None:
    async def enough() -> bool:
        return len(fleet.events) >= count

    await until(enough)


async def test_each_request_is_one_event(tmp_path: Path) -> None:
    bad = {"error_share": 0.3}
    slow = {"step_s": 0.004}
    profile = fleet_of(vllm={"versions": {"v1": bad}, "speed": QUICK | slow})
    thumbs: list[FeedbackEvent] = []

    async def rated(event: FeedbackEvent) -> None:
        thumbs.append(event)

    async with running_fleet(tmp_path, profile) as fleet:
        with FlagReader(fleet.store.path) as flags:
            visits = Visits("run", model=MODEL, abort_share=0.2, thumb_share=0.3)
            driver = LoadDriver(arrivals(200), fleet.urls, flags, visits, feedback=rated)
            counts = await finish(driver)
        await all_events(fleet, 200)
    assert counts.planned == counts.sent == counts.reached == 200
    assert len({event.event_id for event in fleet.events}) == 200
    assert {event.request_id for event in fleet.events} == {f"run-{n:07d}" for n in range(200)}
    failed = sum(event.failed for event in fleet.events)
    aborted = sum(event.aborted for event in fleet.events)
    # A stream may have come to its end, or broken, before the server saw its client leave.
    assert 20 < counts.failed <= failed <= counts.failed + counts.aborted - aborted
    assert 0 < aborted <= counts.aborted
    assert counts.thumbs == len(thumbs) > 20
    inputs = {event.request_id: event.input_tokens for event in fleet.events}
    assert inputs["run-0000007"] in (507, None)


async def test_the_flag_moves_the_traffic(tmp_path: Path) -> None:
    profile = fleet_of(vllm={"versions": ["v1"]}, backup={"versions": ["v1"]})
    async with running_fleet(tmp_path, profile) as fleet:
        with FlagReader(fleet.store.path, poll_s=0.02) as flags:
            first = LoadDriver(arrivals(20), fleet.urls, flags, Visits("a", model=MODEL))
            assert (await finish(first)).by_provider == (("vllm", 20),)
            fleet.store.set_variant(
                FlagKey.MODEL_PROVIDER, "backup", by="alice", reason="out", at_us=2
            )
            until_true(lambda: flags.text(FlagKey.MODEL_PROVIDER, "") == "backup")
            second = LoadDriver(arrivals(20), fleet.urls, flags, Visits("b", model=MODEL))
            assert (await finish(second)).by_provider == (("backup", 20),)
        await all_events(fleet, 40)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    urls = {"vllm": f"http://127.0.0.1:{free_port()}/v1"}
    flags = FlagReader(tmp_path / "flags.json")
    counts = await finish(LoadDriver(arrivals(5), urls, flags, Visits("a", model=MODEL)))
    assert (counts.sent, counts.unreached, counts.reached) == (5, 5, 0)


async def test_rejected(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, fleet_of(vllm={"versions": ["v1"]})) as fleet:
        flags = FlagReader(fleet.store.path)
        driver = LoadDriver(arrivals(5), fleet.urls, flags, Visits("a", model="nobody"))
        assert (await finish(driver)).rejected == 5


async def test_who_stops_looking_stops_the_replay(tmp_path: Path) -> None:
    slow: FleetProfile = fleet_of(vllm={"versions": ["v1"], "speed": {"step_s": 5}})
    async with running_fleet(tmp_path, slow) as fleet:
        flags = FlagReader(fleet.store.path)
        visits = Visits("a", model=MODEL)
        driver = LoadDriver(arrivals(3, gap_s=60), fleet.urls, flags, visits)
        run = driver.run(every_s=0.01)
        async for counts in run:
            if counts.sent:
                break
        await run.aclose()  # type: ignore[attr-defined]
        await all_events(fleet, 1)
    assert fleet.events[0].aborted
