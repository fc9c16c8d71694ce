"""docs/benchmarks.md: the last full run, what was measured, and how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.core.table import render

__all__ = ["DOCUMENT", "document"]

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"

_TEXT: Final = """\
# Benchmarks of the streaming core
<!-- Written by `make bench BENCH="--write-docs"`; do not edit. -->

Measured {date} at {commit} on {cores} cores of {processor}, {memory} GB, {system}, Python {python};
broker: {broker}. Other versions: {versions}. The machine's load before was {load}.

## What is measured
The same work for all: {events:,} request events (about 620 bytes of JSON each; arrivals and tokens
of Azure's LLM inference trace, compressed to 20,000 events a second of event time) wait in
4 partitions, once as records of one event and once as records of 500. A contender decodes them,
prices each, and gathers 10 s windows per series with sketches of TTFT and end to end. Tocsin also
writes every row to ClickHouse, merges and closes the windows and evaluates all rules in the same
process; the others end with the windows, but for one naive Faust. Each run is a process of its
own. Its time goes from the first records in hand until the last event is through, for Tocsin until
the broker has acknowledged the last partial window, which is after the store has acknowledged its
rows; importing, joining and starting are left out for all: Tocsin's worker and store have come to
rest before. Rounds alternate ({rounds} of them); figures are medians, with the least and the
greatest in brackets. Sums over events, tokens, errors and costs have to come out exactly, and rows
and ids in a store one for one, or the run fails.

Naive Faust is what Faust's tutorial teaches: a `Record` class, one event a record, a Table write
each. Once it ends with the windows and decodes what they need; once it does all of the work: every
field, and rows by the thousand into the same schema of ClickHouse. All others do the work with the
same calls, in batches.

Latency is that of a real emitter (50 ms linger) and a worker at a steady pace. A row counts as
visible once a query's answer counted it, a window once it was closed with all of its requests;
queries are asked every 50 and 100 ms, which the figures include. The first {warm_up:g} s are left
out.

## Figures
{tables}

## Repeat it
```
make bench                                    # throughput, latency, one worker and two
make bench BENCH="--write-docs"               # and this page
python -m benchmarks.core --help              # parts, contenders, Apache Kafka instead
python -m benchmarks.core --skip-throughput --skip-latency --broker kafka --soak 600
```
The last line of the output is one JSON object with every figure. Peers are installed into
`.bench-venv/`.
"""


def document(report: Mapping[str, Any], warm_up_s: float) -> str:
    """Return the page."""
    on, versions = report["machine"], dict(report["versions"])
    commit = versions.pop("commit", "an unknown commit")
    return _TEXT.format(
        date=report["date"],
        commit=commit,
        cores=on["cores"],
        processor=on["processor"],
        memory=on["memory_gb"],
        system=on["system"],
        python=on["python"],
        load=on["load_before"],
        broker=report["settings"]["broker"],
        versions=", ".join(f"{name} {text}" for name, text in versions.items()),
        events=report["settings"]["events"],
        rounds=report["settings"]["rounds"],
        warm_up=warm_up_s,
        tables=render(report),
    )
