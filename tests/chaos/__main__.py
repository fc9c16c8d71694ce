"""Kill workers and store under load; exit 1 when anything is lost, doubled or wrong.

Each run prints its seed, its progress, the first differences with where their events stand, and,
last, one JSON object with every figure. Its logs stay where it says when it fails.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.run import Options, run

_EXAMPLE = "example: python -m tests.chaos --events 20000 --kills 5 --broker kafka --seed 7"


def main() -> int:
    """Read the command line, run, and say what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Options()
    add = parser.add_argument
    add("--events", type=int, default=default.events, help="events sent, each once (%(default)s)")
    add("--kills", type=int, default=default.kills, help="kill -9; every fifth is the store's")
    add("--stalls", type=int, default=0, help="workers stopped for 2 to 3 session timeouts")
    add("--broker", choices=("embedded", "kafka"), default=default.broker)
    add("--workers", type=int, default=default.workers)
    add("--partitions", type=int, default=default.partitions, help="of llm.requests")
    add("--seed", type=int, help="of all choices; without it a new one, which is printed")
    add(
        "--seconds", type=float, default=0, help="length of the load (8 for each kill, at least 15)"
    )
    add("--time-scale", type=float, default=default.time_scale, help="windows of 10 s / this")
    add("--duplicates", type=float, default=default.duplicates, help="share of records sent twice")
    add("--scattered", action="store_true", help="second copies go to any partition")
    add("--wait-s", type=float, default=default.wait_s, help="patience while nothing more comes in")
    add("--keep", action="store_true", help="keep the logs of a good run, too")
    chosen = vars(parser.parse_args())
    keep = chosen.pop("keep")
    if chosen["seed"] is None:
        chosen["seed"] = random.SystemRandom().randrange(1_000_000)
    options = Options(**chosen)
    path = Path(tempfile.mkdtemp(prefix="tocsin-chaos-"))
    started = time.monotonic()

    def say(text: str) -> None:
        line = f"{time.monotonic() - started:6.1f} s  {text}\n"
        sys.stdout.write(line)
        sys.stdout.flush()

    say(
        f"seed {options.seed}, {options.events} events, {options.kills} kills, "
        f"{options.stalls} stalls, broker {options.broker}; logs in {path}"
    )
    code = 1
    try:
        result = run(options, path, say)
        code = 0 if result.good else 1
        figures = {"seed": options.seed, "broker": options.broker, **result.figures()}
    finally:
        if code == 0 and not keep:
            shutil.rmtree(path, ignore_errors=True)
        else:
            say(f"logs are in {path}")
    sys.stdout.write(json.dumps(figures) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
