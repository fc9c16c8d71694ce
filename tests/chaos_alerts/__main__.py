"""``make chaos-alerts``: kill -9 at every point of the outbox, for every notifier, many times.

Exit code 1 on any violation. Beside it, what Alertmanager (Debian's prometheus-alertmanager, if it
is installed) makes of the same kills.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from tests.chaos_alerts.alertmanager import alertmanager_binary, crash_alertmanager
from tests.chaos_alerts.matrix import Outcome, Rig
from tests.chaos_alerts.rig import NOTIFIERS, POINTS


def main() -> int:
    """Run the matrix and print a line for each of its cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="of each point and notifier")
    parser.add_argument("--alertmanager-runs", type=int, default=10)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    asked = parser.parse_args()
    began = time.monotonic()
    cells: dict[str, dict[str, object]] = {}
    violations = 0
    with Rig.running() as rig:
        for notifier in NOTIFIERS:
            for point in POINTS:
                outcomes = [rig.run(notifier, point, seed) for seed in range(asked.runs)]
                violations += _tell(cells, notifier, point, outcomes)
    print(f"tocsin: {violations} violations, {time.monotonic() - began:.0f} s")  # noqa: T201
    if alertmanager_binary() is None:
        print("alertmanager: not installed (apt install prometheus-alertmanager)")  # noqa: T201
    else:
        for when, found in crash_alertmanager(asked.alertmanager_runs).items():
            cells[f"alertmanager itself, killed {when}"] = found
            print(f"alertmanager itself, killed {when}: {found}")  # noqa: T201
    if asked.out is not None:
        asked.out.write_text(json.dumps(cells, indent=1))
    return 1 if violations else 0


def _tell(
    cells: dict[str, dict[str, object]], notifier: str, point: str, outcomes: list[Outcome]
) -> int:
    bad = [(seed, one.violations) for seed, one in enumerate(outcomes) if one.violations]
    deliveries = Counter(one.deliveries for one in outcomes)
    cells[f"{notifier} {point}"] = {
        "runs": len(outcomes),
        "killed": sum(one.killed for one in outcomes),
        "violations": len(bad),
        "deliveries": dict(sorted(deliveries.items())),
    }
    print(  # noqa: T201
        f"{notifier:14} {point:14} {len(outcomes) - len(bad)}/{len(outcomes)} well, "
        f"deliveries {dict(sorted(deliveries.items()))}",
        flush=True,
    )
    for seed, said in bad[:5]:
        print(f"  seed {seed}: {'; '.join(said)}")  # noqa: T201
    return len(bad)


if __name__ == "__main__":
    sys.exit(main())
