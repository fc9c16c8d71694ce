"""Watch the store while the demo runs: progress, the steps of the loop, points for the page.

It runs in a thread of its own with a client of its own: the load's event loop never waits for a
query.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final, Self

import httpx
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.clickhouse.migrate import store_client
from schemas.settings import ClickHouseSettings
from schemas.signal import SignalName
from tocsin.demo.checks import rows_in_store
from tocsin.demo.moments import Moment, happened
from tocsin.demo.view import Progress
from tocsin.receiver.api import TOKEN_HEADER
from tocsin.receiver.charts import Point, PointBatch
from tocsin.receiver.process import Receiver
from tocsin.receiver.timeline import Step

__all__ = ["Watcher"]

_EVERY_S: Final = 0.7

_SERIES: Final = """
    SELECT provider, model_version, window_end_us, requests, errors, e2e_p95, ttft_p95, cost
    FROM
    (
        SELECT provider, model_version,
               toUnixTimestamp64Micro(window_end) AS window_end_us,
               sum(w.requests) AS requests,
               sum(w.errors) AS errors,
               max(w.e2e_p95_s) AS e2e_p95,
               max(w.ttft_p95_s) AS ttft_p95,
               toFloat64(sum(w.cost_usd)) AS cost
        FROM (SELECT * FROM windows FINAL) AS w
        GROUP BY provider, model_version, window_end_us
    )
    WHERE window_end_us > {since:Int64}
    ORDER BY window_end_us
"""


class Watcher:
    """Fills a Progress and a receiver's page from the store, until stopped.

    A query that fails is tried again at the next turn: watching never fails the demo.
    """

    def __init__(
        self,
        settings: ClickHouseSettings,
        receiver: Receiver,
        progress: Progress,
        *,
        window_s: float,
        report: Callable[[Moment, int], None],
    ) -> None:
        self._settings = settings
        self._receiver = receiver
        self._progress = progress
        self._window_s = window_s
        self._report = report
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._since_us = 0
        self._http = httpx.Client(
            base_url=receiver.url,
            headers={TOKEN_HEADER: receiver.token},
            timeout=5,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._http.close()

    def note(self, name: str, title: str, at_us: int) -> None:
        """Put a step on the timeline that the store does not know of."""
        self._progress.moments[name] = at_us
        self._push("/api/timeline", Step(step=name, at_us=at_us, title=title).model_dump_json())

    def _run(self) -> None:
        client = store_client(self._settings, self._settings.database)
        while not self._stop.wait(_EVERY_S):
            with contextlib.suppress(ClickHouseError, OSError):
                self._turn(client)
        with contextlib.suppress(ClickHouseError, OSError):
            self._turn(client)
        client.close()

    def _turn(self, client: Client) -> None:
        self._progress.rows = rows_in_store(client)[0]
        incidents = self._receiver.board.incidents.all()
        if incidents and "paged" not in self._progress.moments:
            self.note("paged", "page received", min(i.opened_at_us for i in incidents))
        happened(client, self._progress.moments, self._tell)
        self._points(client)

    def _tell(self, moment: Moment, at_us: int) -> None:
        self._push(
            "/api/timeline",
            Step(step=moment.name, at_us=at_us, title=moment.title).model_dump_json(),
        )
        self._report(moment, at_us)

    def _points(self, client: Client) -> None:
        rows = client.query(_SERIES, parameters={"since": self._since_us}).result_rows
        if not rows:
            return
        # Windows of the newest end may still come from other series: read them again next time.
        self._since_us = max(self._since_us, rows[-1][2] - 1)
        points: list[Point] = []
        newest: dict[tuple[str, str], tuple[Any, ...]] = {}
        for row in rows:
            provider, version, end_us, requests, errors, e2e, ttft, cost = row
            newest[provider, version] = row
            values = {
                SignalName.ERROR_RATE: errors / requests if requests else None,
                SignalName.E2E_P95: e2e,
                SignalName.TTFT_P95: ttft,
                SignalName.COST_RATE: None if cost is None else cost * 3_600 / self._window_s,
                SignalName.REQUEST_RATE: requests / self._window_s,
            }
            series = f"{provider} {version}"
            points += [
                Point(signal=signal, series=series, at_us=end_us, value=value)
                for signal, value in values.items()
            ]
        recent_us = rows[-1][2] - 3_000_000
        self._progress.series = [
            (p, v, row[3] / self._window_s, row[4] / row[3] if row[3] else None, row[5])
            for (p, v), row in sorted(newest.items())
            if row[2] >= recent_us
        ]
        for start in range(0, len(points), 200):
            batch = PointBatch(points=points[start : start + 200])
            self._push("/api/metrics", batch.model_dump_json())

    def _push(self, path: str, body: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self._http.post(path, content=body, headers={"content-type": "application/json"})
