"""How long a backtest of a week takes: ``python benchmarks/backtest.py [--series 100] [--days 7]``.

Fills an embedded store with closed windows of a fleet and, unless ``--windows-only``, with the
signals that the worker would have recorded for the shipped rules' percentiles; a few incidents are
planted. Then it runs the shipped rules over it and prints times and counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from alerting.rules import load_rules
from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings, Settings
from tocsin.backtest.run import Span, backtest
from tocsin.embedded.store import StoreProcess

PASSWORD = "benchmark"  # noqa: S105 - of a store that lives for a minute
DAY_S = 86_400

WINDOWS = """
INSERT INTO windows (window_start, window_end, provider, model, model_version, route, feature,
    revision, requests, errors, rejected, aborted, input_tokens, cached_input_tokens, output_tokens,
    tokens_unknown, cost_usd, cost_unknown, price_unknown)
WITH fromUnixTimestamp64Micro({start:Int64}, 'UTC') + (number * 10) AS begins,
     number AS n
SELECT begins, begins + 10, 'vllm', concat('m', toString(s % 10)),
       concat('v', toString(intDiv(s, 10) % 2)), 'direct', concat('f', toString(intDiv(s, 20))), 0,
       40 + rand(n + s) % 20 AS requests,
       if(s = 7 AND n BETWEEN 20000 AND 20100, intDiv(requests, 5),
          rand(n + s + 1) % 400 = 0) AS errors,
       0, 0, requests * 500, 0, requests * 100, 0,
       toDecimal64(requests * 0.0001 * if(s = 30 AND n BETWEEN 30000 AND 31000, 20, 1), 9), 0, 0
FROM numbers({windows:UInt64}) AS t
ARRAY JOIN range({series:UInt32}) AS s
"""
SIGNALS = """
INSERT INTO signals (signal, labels, over_s, window_end, value, samples, baseline, detector, detail)
WITH fromUnixTimestamp64Micro({start:Int64}, 'UTC') + (number * 10) + 10 AS ends, number AS n
SELECT {signal:String},
       map('model', concat('m', toString(s % 10)),
           'model_version', concat('v', toString(intDiv(s, 10)))),
       300, ends,
       {usual:Float64} * (0.8 + (rand(n + s) % 400) / 1000)
           * if(s = 3 AND n BETWEEN 40000 AND 40400, {worse:Float64}, 1),
       1500, NULL, 'rolling', map()
FROM numbers({windows:UInt64}) AS t
ARRAY JOIN range({groups:UInt32}) AS s
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--windows-only", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        StoreProcess(Path(directory), password=PASSWORD) as process,
    ):
        measure(process, options)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(process: StoreProcess, options: argparse.Namespace) -> None:
    port, store_pid = process.address.port, process.pid
    settings = ClickHouseSettings(host="127.0.0.1", port=port, password=PASSWORD)
    migrate(settings)
    windows = round(options.days * DAY_S / 10)
    until_us = time.time_ns() // 10**10 * 10**7
    start_us = until_us - windows * 10**7
    begun = time.perf_counter()
    with store_client(settings, settings.database) as client:
        numbers = {"start": start_us, "windows": windows, "series": options.series}
        client.command(WINDOWS, parameters=numbers)
        if not options.windows_only:
            for signal, usual, worse in (
                ("e2e_p95_ratio", 1.0, 2.6),
                ("ttft_p95", 0.6, 2.0),
                ("e2e_p95", 3.0, 2.0),
                ("output_tokens_per_s", 40.0, 0.3),
            ):
                client.command(
                    SIGNALS,
                    parameters={**numbers, "signal": signal, "usual": usual, "worse": worse,
                                "groups": options.series},
                )  # fmt: skip
        for table in ("windows", "signals"):
            rows = client.query("SELECT count() FROM {table:Identifier}", {"table": table})
            print(f"{table}: {rows.result_rows[0][0]} rows")
        print(f"filled in {time.perf_counter() - begun:.1f} s")
        store_s, own_s = cpu_s(store_pid), time.process_time()
        outcome = backtest(
            client,
            load_rules(None),
            Settings(clickhouse=settings),
            Span(start_us, until_us),
            lambda text: print(f"  {time.perf_counter() - begun:6.1f} s {text}"),
        )
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
