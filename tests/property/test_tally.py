"""The tally against counting all over again, whatever comes late, twice or changed."""

from hypothesis import given
from hypothesis import strategies as st

from detectors.tally import Tally
from schemas.signal import SignalName, SignalQuery

S = 1_000_000
QUERIES = [
    SignalQuery(SignalName.QUALITY_SCORE, 30, ("model",)),
    SignalQuery(SignalName.QUALITY_SCORE, 100, ()),
]

items = st.tuples(
    st.integers(0, 12),  # key
    st.integers(0, 200),  # time, in s
    st.sampled_from(["a", "b"]),
    st.none() | st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0]),
)
steps = st.lists(st.one_of(items, st.integers(0, 40)), max_size=80)


@given(steps)
def test_sums_equal_counting_again(script: list[tuple[int, int, str, float | None] | int]) -> None:
    tally = Tally(QUERIES)
    held: dict[SignalQuery, dict[int, tuple[int, str, float | None]]] = {q: {} for q in QUERIES}
    now = 0
    for step in script:
        if isinstance(step, int):
            now += step
            tally.evaluate(now * S)
        else:
            key, time, model, score = step
            tally.add(key, time * S, {"model": model}, score)
            for query, entries in held.items():
                if time > now - query.over_s:  # what is older than the lookback changes nothing
                    entries[key] = (time, model, score)
    now += 1
    tally.evaluate(now * S)
    for query, entries in held.items():
        inside = [e for e in entries.values() if now - query.over_s < e[0] <= now]
        for group, found in tally.sums(query).items():
            mine = [e for e in inside if not query.by or e[1] == group[0]]
            scores = [e[2] for e in mine if e[2] is not None]
            assert found.scored == len(scores)
            assert found.unscored == len(mine) - len(scores)
            assert found.mean == (round(sum(scores) * 1e9) / 1e9 / len(scores) if scores else None)
        counted = sum(s.scored + s.unscored for s in tally.sums(query).values())
        assert counted == len(inside)
