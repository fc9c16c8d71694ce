"""The contenders: what each is, which records it takes, and what it needs installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.core.names import KINDS, SINGLE

__all__ = ["CEILING", "CONTENDERS", "NAIVE", "TOCSIN", "Contender"]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: on the command line and in results.
        title: what it is, for readers.
        kinds: of records that it takes.
        script: the module that runs it, within ``benchmarks.core.contenders``.
        package: what pip installs for it, in an environment of its own; "" for none.
        distribution: whose version is told.
        stores: it writes its rows to ClickHouse, and is given a store.
    """

    name: str
    title: str
    script: str
    distribution: str
    kinds: tuple[str, ...] = KINDS
    package: str = ""
    stores: bool = False


TOCSIN: Final = Contender("tocsin", "Tocsin: rows in ClickHouse and windows", "tocsin", "tocsin")
CEILING: Final = Contender("ceiling", "plain aiokafka, no store (ceiling)", "ceiling", "aiokafka")
NAIVE: Final = (
    Contender(
        "faust",
        "naive Faust: Record classes, Table writes, no store",
        "naive_faust",
        "faust-streaming",
        (SINGLE,),
    ),
    Contender(
        "faust-rows",
        "naive Faust that writes its rows to ClickHouse",
        "naive_faust_rows",
        "faust-streaming",
        (SINGLE,),
        stores=True,
    ),
)
"""Faust as its tutorial has it: a part of the work, and all of it."""
CONTENDERS: Final[dict[str, Contender]] = {
    contender.name: contender
    for contender in (
        TOCSIN,
        CEILING,
        *NAIVE,
        Contender(
            "quixstreams",
            "Quix Streams, sink in batches",
            "quix",
            "quixstreams",
            package="quixstreams>=3.28,<4",
        ),
        Contender(
            "bytewax",
            "Bytewax, batches of its Kafka source",
            "bytewax",
            "bytewax",
            package="bytewax[kafka]>=0.21,<0.22",
        ),
        Contender(
            "arroyo",
            "Sentry's Arroyo, batch step",
            "arroyo",
            "sentry-arroyo",
            package="sentry-arroyo>=2.48,<3",
        ),
    )
}
