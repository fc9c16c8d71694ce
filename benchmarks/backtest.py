"""How long a backtest of a week takes: ``python benchmarks/backtest.py [--series 100] [--days 7]``.

Fills an embedded store with the closed windows of a fleet, sketches of 40 to 59 requests each in
them; a few incidents are planted. Then it runs the shipped rules over it, those about percentiles
too, and prints times, counts and the size of a row. Nothing was recorded: all is computed.
"""

from __future__ import annotations

import argparse
import cProfile
import math
import os
import pstats
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray

from alerting.rules import load_rules
from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings, Settings
from tocsin.backtest.run import Span, backtest
from tocsin.embedded.store import StoreProcess

PASSWORD = "benchmark"  # noqa: S105 - of a store that lives for a minute
DAY_S = 86_400

_PACKED = np.dtype(
    [
        ("version", "u1"), ("gap_width", "u1"), ("count_width", "u1"), ("zero", "u1"),
        ("alpha", "<u2"), ("first", "<i2"), ("entries", "<u4"), ("zeros", "<u8"),
    ]
)  # fmt: skip
_MEDIANS = {"ttft_sketch": 0.3, "e2e_sketch": 1.5, "tpot_sketch": 0.02}


def packed_sketches(
    rng: np.random.Generator, medians: NDArray[np.float64], requests: NDArray[np.int64]
) -> pa.Array:
    """Return a packed sketch of so many log-normal latencies (sigma 0.4) for each row.

    All at once, in the form that ``detectors.packed`` gives few values: a byte each.
    """
    most = int(requests.max())
    values = medians[:, None] * rng.lognormal(0, 0.4, (requests.size, most)).astype(np.float32)
    keys = np.ceil(np.log(values) / (2 * math.atanh(0.005))).astype(np.int16)
    keys[np.arange(most) >= requests[:, None]] = np.iinfo(np.int16).max
    keys.sort(axis=1)
    gaps = np.diff(keys, axis=1, prepend=keys[:, :1])
    inside = np.arange(most) < requests[:, None]
    head = np.zeros(requests.size, _PACKED)
    head["version"], head["gap_width"], head["alpha"] = 1, 1, 500
    head["first"], head["entries"] = keys[:, 0], requests
    rows = np.zeros((requests.size, 20 + most), np.uint8)
    rows[:, :20] = head.view(np.uint8).reshape(-1, 20)
    rows[:, 20:] = np.minimum(gaps, 255)
    wanted = np.concatenate([np.ones((requests.size, 20), np.bool_), inside], axis=1)
    ends = np.cumsum(20 + requests)
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(rows[wanted])]
    return pa.Array.from_buffers(pa.binary(), requests.size, buffers)


def hour_of_windows(
    rng: np.random.Generator, start_us: int, first: int, count: int, series: int
) -> pa.Table:
    """Return the closed windows of a stretch: steady traffic, and three incidents."""
    number = np.repeat(np.arange(first, first + count), series)
    one = np.tile(np.arange(series), count)
    requests = rng.integers(40, 60, one.size)
    failing = (one == 7) & (number >= 20_000) & (number <= 20_100)
    slow = (one % 20 == 3) & (number >= 40_000) & (number <= 40_400)
    dear = np.where((one == 30) & (number >= 30_000) & (number <= 31_000), 20, 1)
    begins = start_us + number * 10_000_000
    nothing = np.zeros(one.size, np.uint64)
    nano = requests * 100_000 * dear
    text = {
        "provider": np.full(one.size, "vllm"),
        "model": np.char.add("m", (one % 10).astype(str)),
        "model_version": np.char.add("v", (one // 10 % 2).astype(str)),
        "route": np.full(one.size, "direct"),
        "feature": np.char.add("f", (one // 20).astype(str)),
    }
    counts: dict[str, NDArray[Any]] = {
        "revision": nothing.astype(np.uint32),
        "requests": requests.astype(np.uint64),
        "errors": np.where(failing, requests // 5, rng.integers(0, 400, one.size) == 0),
        "rejected": nothing,
        "aborted": nothing,
        "input_tokens": requests * 500,
        "cached_input_tokens": nothing,
        "output_tokens": requests * 100,
        "tokens_unknown": nothing,
        "cost_unknown": nothing,
        "price_unknown": nothing,
    }
    time_of = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "window_start": pa.array(begins).cast(time_of),
            "window_end": pa.array(begins + 10_000_000).cast(time_of),
            **{name: pa.array(values).dictionary_encode() for name, values in text.items()},
            **{
                name: pa.array(v.astype(np.uint32 if name == "revision" else np.uint64))
                for name, v in counts.items()
            },
            "cost_usd": pa.array(nano / 1e9).cast(pa.decimal128(18, 9), safe=False),
            **{
                name: packed_sketches(rng, median * np.where(slow, 4.0, 1.0), requests)
                for name, median in _MEDIANS.items()
            },
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--store", type=Path, help="keep the store here, filled by the first run")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        StoreProcess(options.store or Path(directory), password=PASSWORD) as process,
    ):
        measure(process, options)


def sizes(client: Client) -> list[tuple[str, float, float]]:
    """Return columns of sketches, and all others together, with their bytes a row."""
    rows = client.query("""
        SELECT if(endsWith(column, '_sketch'), column, 'all other columns') AS what,
               sum(column_data_compressed_bytes) / any(t.n),
               sum(column_data_uncompressed_bytes) / any(t.n)
        FROM system.parts_columns, (SELECT count() AS n FROM windows) AS t
        WHERE database = currentDatabase() AND table = 'windows' AND active
        GROUP BY what
        ORDER BY what
    """)
    return [(str(name), float(packed), float(raw)) for name, packed, raw in rows.result_rows]


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def last_end_us(client: Client) -> int:
    """Return where the windows of the store end; 0 without any."""
    rows = client.query("SELECT toUnixTimestamp64Micro(max(window_end)) FROM windows")
    return int(rows.result_rows[0][0])


def fill(client: Client, start_us: int, windows: int, series: int) -> None:
    """Fill the store, an hour of windows at a time."""
    begun = time.perf_counter()
    rng = np.random.default_rng(1)
    for first in range(0, windows, 360):
        count = min(360, windows - first)
        client.insert_arrow("windows", hour_of_windows(rng, start_us, first, count, series))
    filled_s = time.perf_counter() - begun
    # A week's windows came in a minute; a store that took a week for it has long merged them.
    client.command("OPTIMIZE TABLE windows FINAL")
    merged_s = time.perf_counter() - begun - filled_s
    print(f"{windows * series} rows, filled in {filled_s:.1f} s, merged in {merged_s:.1f} s")


def measure(process: StoreProcess, options: argparse.Namespace) -> None:
    port, store_pid = process.address.port, process.pid
    settings = ClickHouseSettings(host="127.0.0.1", port=port, password=PASSWORD)
    migrate(settings)
    windows = round(options.days * DAY_S / 10)
    with store_client(settings, settings.database) as client:
        held_us = last_end_us(client)
        until_us = held_us or time.time_ns() // 10**10 * 10**7
        start_us = until_us - windows * 10**7
        if not held_us:
            fill(client, start_us, windows, options.series)
        for name, packed, raw in sizes(client):
            print(f"  {name}: {packed:.1f} B a row in the store, {raw:.1f} B unpacked")
        store_s, own_s = cpu_s(store_pid), time.process_time()
        begun = time.perf_counter()
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        outcome = backtest(
            client,
            load_rules(None),
            Settings(clickhouse=settings),
            Span(start_us, until_us),
            lambda text: print(f"  {time.perf_counter() - begun:6.1f} s {text}"),
        )
        profile.disable()
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        store_s, own_s = cpu_s(store_pid) - store_s, time.process_time() - own_s
    print(
        f"processor time: {own_s:.1f} s here, {store_s:.1f} s in the store; load {os.getloadavg()}"
    )
    print(
        f"backtest: {outcome.seconds:.1f} s, {outcome.series} series, {outcome.windows} values, "
        f"{outcome.steps} steps, {len(outcome.episodes)} episodes"
    )
    for episode in outcome.episodes:
        print(f"  {episode.rule} {episode.series} {[deed.step for deed in episode.deeds]}")
    for rule, why in outcome.untried.items():
        print(f"  not tried: {rule}: {why}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
