"""The command line of the benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.core.registry import CONTENDERS, Contender
from benchmarks.core.rig import BROKERS

__all__ = ["Options", "parse"]

_LEAST_S: Final = 25
_EXAMPLE: Final = """\
example:
  python -m benchmarks.core --events 50000 --rounds 1 --contenders tocsin,ceiling --skip-latency
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        latency: (events a second, seconds) of each measurement.
        soak_s: seconds at full load, 0 for none.
    """

    rounds: int
    events: int
    contenders: tuple[Contender, ...]
    broker: str
    throughput: bool
    latency: tuple[tuple[float, float], ...]
    scale: bool
    soak_s: float
    write_docs: bool


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; a wrong one ends the program with what was expected."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.core",
        description="Measure Tocsin's streaming core beside what one would use instead.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=_count, default=3, help="of all contenders in turn (default: 3)")
    add("--events", type=_count, default=200_000, help="in the backlog (default: 200000)")
    add(
        "--contenders",
        type=_contenders,
        default=tuple(CONTENDERS.values()),
        metavar="A,B",
        help=f"of {', '.join(CONTENDERS)} (default: all)",
    )
    add("--broker", choices=BROKERS, default=BROKERS[0], help="embedded Tansu, or Apache Kafka")
    add("--skip-throughput", action="store_true", help="measure no throughput")
    add("--skip-latency", action="store_true", help="measure no latency")
    add(
        "--latency",
        type=_paces,
        default=((1_000.0, 60.0), (10_000.0, 30.0)),
        metavar="RATE:S,..",
        help="events a second and seconds of each (default: 1000:60,10000:30)",
    )
    add("--scale", action="store_true", help="measure two workers against one as well")
    add("--soak", type=float, default=0.0, metavar="S", help="seconds at full load, for memory")
    add("--write-docs", action="store_true", help="write docs/benchmarks.md")
    given = parser.parse_args(arguments)
    return Options(
        rounds=given.rounds,
        events=given.events,
        contenders=given.contenders,
        broker=given.broker,
        throughput=not given.skip_throughput,
        latency=() if given.skip_latency else given.latency,
        scale=given.scale,
        soak_s=given.soak,
        write_docs=given.write_docs,
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def _contenders(text: str) -> tuple[Contender, ...]:
    names = text.split(",")
    if strange := [name for name in names if name not in CONTENDERS]:
        raise argparse.ArgumentTypeError(
            f"no such contender: {', '.join(strange)}; expected some of {', '.join(CONTENDERS)}"
        )
    return tuple(CONTENDERS[name] for name in dict.fromkeys(names))


def _paces(text: str) -> tuple[tuple[float, float], ...]:
    try:
        paces = [(float(rate), float(s)) for rate, s in (one.split(":") for one in text.split(","))]
    except ValueError:
        paces = []
    if not paces or any(rate <= 0 or seconds < _LEAST_S for rate, seconds in paces):
        raise argparse.ArgumentTypeError(
            f"{text}: expected RATE:SECONDS, such as 1000:60, with {_LEAST_S} s or more: "
            "a whole window has to close"
        )
    return tuple(paces)
