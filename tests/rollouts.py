"""Simulated rollouts, every seed to its end: how many good versions go back, and how soon bad ones.

    python -m tests.rollouts [--seeds 200] [--alpha 0.05]

100 requests a second, looked at every 10 s. Prints one line for each kind of traffic, then one JSON
object; exits with 1 when a promise is not kept: at most 5 % of good versions are taken back, at
least 95 % of bad ones before half of the traffic is theirs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from typing import Any, Final

from serving.rollout.machine import METRICS, STEPS, Outcome, RolloutPolicy, RolloutState
from tests.unit.serving.rollout.simulate import HALF, Traffic, simulate

TRAFFIC: Final = {
    "no difference": Traffic(),
    "error rate 1 % to 3 %": Traffic(canary_errors=0.03),
    "P95 +50 %": Traffic(canary_factor=1.5),
}


def measured(name: str, seeds: int, policy: RolloutPolicy) -> dict[str, Any]:
    """Return how rollouts of one kind of traffic ended."""
    ends = [simulate(TRAFFIC[name], seed, policy) for seed in range(seeds)]
    back = [end for end in ends if end.outcome is Outcome.ABORTED]
    early = sum(end.step < HALF for end in back)
    good = name == "no difference"
    return {
        "traffic": name,
        "rollouts": seeds,
        "taken_back": len(back),
        "before_half": early,
        "at_step": {step: sum(end.share == step for end in back) for step in STEPS},
        "canary_requests_median": statistics.median(map(canaries, back)) if back else None,
        "kept": len(back) <= 0.05 * seeds if good else early >= 0.95 * seeds,
    }


def canaries(state: RolloutState) -> int:
    """Return how many requests the canary got."""
    return max(state.evidence[metric].canary for metric in METRICS if metric in state.evidence)


def main() -> int:
    """Measure all kinds of traffic."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.05)
    arguments = parser.parse_args()
    policy = RolloutPolicy(alpha=arguments.alpha, step_s=60, shadow_s=60)
    results = []
    for name in TRAFFIC:
        result = measured(name, arguments.seeds, policy)
        results.append(result)
        print(  # noqa: T201
            f"{name}: {result['taken_back']} of {result['rollouts']} taken back, "
            f"{result['before_half']} before half of the traffic"
        )
    kept = all(result["kept"] for result in results)
    print(json.dumps({"rollouts": results, "kept": kept}))  # noqa: T201
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
