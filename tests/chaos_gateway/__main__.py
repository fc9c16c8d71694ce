"""Run the ordeal and say how it went; exit 1 when a promise was broken.

python -m tests.chaos_gateway [--requests 20000] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from tests.chaos_gateway.run import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.monotonic()
    verdict = asyncio.run(run(asked.requests, seed=asked.seed))
    for fault in verdict.faults[:20]:
        print(fault, file=sys.stderr)  # noqa: T201
    print(  # noqa: T201
        json.dumps(
            {
                "requests": verdict.requests,
                "events": verdict.events,
                "outcomes": dict(verdict.outcomes),
                "requests_with_a_provider_dead": verdict.dead_requests,
                "errors_with_a_provider_dead": verdict.dead_errors,
                "error_rate_with_a_provider_dead": round(verdict.dead_error_rate, 5),
                "most_ejected": verdict.most_ejected,
                "back": verdict.back,
                "faults": len(verdict.faults),
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
