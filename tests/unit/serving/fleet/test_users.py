"""Who asks in a replay, and what they think of it."""

from __future__ import annotations

from collections import Counter, defaultdict

import orjson

from schemas.feedback import Thumb
from serving.fleet.users import FEATURES, PLANS, Arrival, Visits
from serving.fleet.verdict import answer_text, thumb_for

ARRIVAL = Arrival(0, 700, 50)


def test_the_same_seed_gives_the_same_visits() -> None:
    one, two = Visits("a", model="m"), Visits("a", model="m")
    assert [one.of(n, ARRIVAL) for n in range(50)] == [two.of(n, ARRIVAL) for n in range(50)]


def test_request_ids_are_unique() -> None:
    runs = [Visits(run, model="m") for run in ("a", "b")]
    ids = {run.of(n, ARRIVAL).request_id for run in runs for n in range(500)}
    assert len(ids) == 1_000


def test_the_mix() -> None:
    visits = [Visits("a", model="m").of(n, ARRIVAL) for n in range(4_000)]
    assert {v.headers["X-Tocsin-Feature"] for v in visits} == set(FEATURES)
    plans: dict[str, set[str]] = defaultdict(set)
    for visit in visits:
        plans[visit.user].add(visit.headers["X-Tocsin-Plan"])
    assert all(len(of_user) == 1 for of_user in plans.values())
    assert set.union(*plans.values()) == set(PLANS)
    assert 150 < len(plans) <= 200
    assert max(Counter(v.user for v in visits).values()) > 100
    assert 20 <= sum(v.leaves_after is not None for v in visits) <= 60
    assert 150 <= sum(v.thumb is not None for v in visits) <= 250


def chat(text: str) -> bytes:
    return orjson.dumps({"choices": [{"message": {"content": text}}]})


def streamed(*parts: str) -> bytes:
    pieces = [{"choices": [{"delta": {"content": part}}]} for part in parts]
    tail = [b'data: {"choices":[]}', b"data: [DONE]", b""]
    return b"\n\n".join([b"data: " + orjson.dumps(piece) for piece in pieces] + tail)


def test_the_text_of_an_answer() -> None:
    assert answer_text(chat("well said")) == "well said"
    assert answer_text(streamed(" well", " said")) == " well said"
    for nothing in (b"", b"{", b"[]", b"{}", b'data: {"choices":3}', b'{"choices":[3]}'):
        assert answer_text(nothing) == ""


def test_thumbs() -> None:
    visits = [Visits("a", model="m").of(n, ARRIVAL) for n in range(200)]
    visit = max(visits, key=lambda v: v.thumb or 0)  # the one who is easiest to please
    good = chat("the quick brown fox jumps over a lazy dog")
    assert thumb_for(visit, good, ok=True, at_us=5).thumb is Thumb.UP
    assert thumb_for(visit, good, ok=False, at_us=5).thumb is Thumb.DOWN
    assert thumb_for(visit, chat("no no " * 20), ok=True, at_us=5).thumb is Thumb.DOWN
    assert thumb_for(visit, good, ok=True, at_us=5).request_id == visit.request_id
