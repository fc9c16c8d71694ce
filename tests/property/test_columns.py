"""Texts that repeat as dictionaries: what Arrow's own encoding of the same texts says."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import EventColumns
from tests.support.events import event, numbered_id

TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b", "ä"]), st.text(min_size=1, max_size=3))


@given(features=st.lists(TEXTS, max_size=40))
def test_dictionaries_hold_the_texts_once_each_and_nulls_where_there_are_none(
    features: list[str | None],
) -> None:
    events = [event(event_id=numbered_id(n), feature=feature) for n, feature in enumerate(features)]
    column = EventColumns.from_events(events).batch.column("feature")
    column.validate(full=True)
    assert column.equals(pa.array(features, pa.string()).dictionary_encode())
    assert column.null_count == features.count(None)
