"""Send requests as they end, at a trace's pace, through the emitter that model servers use.

A process of its own. Every request is made beforehand and says when it ends; at that moment it is
given to the emitter. What the schedule slips by is told, and counts as latency.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time

from benchmarks.core.measured import percentile
from benchmarks.core.workload import Workload
from schemas.settings import EmitSettings, KafkaSettings
from serving.emit.emitter import KafkaEmitter

PAUSE_US = 200_000
TICK_S = 0.001


def main() -> None:
    """Send for some seconds; print what was sent as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--rate", type=float, required=True, help="events a second, on average")
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    count = round(given.rate * given.seconds)
    emitter = KafkaEmitter(EmitSettings(), KafkaSettings(bootstrap=given.bootstrap))
    emitter.start()
    made_us = _now_us()
    events = list(Workload(count, made_us, given.rate, seed=made_us))
    gc.collect()
    gc.freeze()
    start_us = _now_us() + PAUSE_US
    late_s = []
    for event in events:
        due_us = event.end_time_us - made_us + start_us
        while (now_us := _now_us()) < due_us:
            time.sleep(min(TICK_S, (due_us - now_us) / 1e6))
        late_s.append((now_us - due_us) / 1e6)
        begun_us = event.start_time_us - made_us + start_us
        emitter.emit(event.model_copy(update={"start_time_us": begun_us, "end_time_us": due_us}))
    emitter.close(30)
    result = {
        "start_us": start_us,
        "end_us": due_us,
        "sent": emitter.emitted,
        "dropped": sum(emitter.dropped.values()),
        "late_p99_s": percentile(late_s, 0.99),
    }
    sys.stdout.write(f"{json.dumps(result)}\n")


def _now_us() -> int:
    return time.time_ns() // 1_000


if __name__ == "__main__":
    main()
