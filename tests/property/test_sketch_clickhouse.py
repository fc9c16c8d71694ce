"""The sketch against the real engine: ClickHouse's quantileExact over the same values.

The engine runs in a process of its own: it allows one database for each process, and other tests
have theirs.
"""

import json
import subprocess
import sys
from typing import Final

import numpy as np
import pytest

from detectors.sketch import DDSketch

LEVELS: Final = (0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
SIZES: Final = (1, 2, 19, 20, 21, 40, 99, 100, 101, 140, 1_000)

ASK: Final = """
import json, sys, chdb
samples, levels = json.load(sys.stdin)
columns = ", ".join(f"arrayReduce('quantileExact({q})', x)" for q in levels)
arrays = ", ".join(str(sample) for sample in samples)
sql = f"SELECT {columns} FROM (SELECT arrayJoin([{arrays}]::Array(Array(Float64))) AS x)"
print(chdb.query(sql, "JSONCompactEachRow"))
"""


def test_every_quantile_is_within_one_percent_of_quantile_exact() -> None:
    rng = np.random.default_rng(11)
    samples = [rng.lognormal(0, 1.5, n).tolist() for n in SIZES]
    samples += [rng.integers(0, 50, n).astype(float).tolist() for n in SIZES]
    answer = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([samples, LEVELS]),
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in answer.stdout.split("\n") if line.strip()]
    assert len(rows) == len(samples)
    for sample, row in zip(samples, rows, strict=True):
        sketch = DDSketch()
        sketch.add(np.array(sample))
        assert sketch.quantiles(LEVELS) == pytest.approx(row, rel=0.005 * (1 + 1e-9), abs=0)
