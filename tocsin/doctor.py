"""Checks of what Tocsin stands on: each says what it found, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from alerting.rules import load_rules
from schemas.clickhouse.migrate import pending_migrations, store_client
from schemas.clock import system_clock
from schemas.errors import TocsinError
from schemas.pricing import load_price_book
from schemas.settings import Settings
from schemas.topic_admin import missing_topics

__all__ = ["Finding", "examine"]

_CLOCK_LIMIT_S: Final = 2.0
_NEED_STORE: Final = frozenset({"schema", "clock"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``advice`` is empty when all is well."""

    name: str
    said: str
    advice: str = ""

    @property
    def well(self) -> bool:
        """Tell whether nothing needs to be done."""
        return not self.advice


def examine(settings: Settings) -> list[Finding]:
    """Run every check, each on its own: one fault hides no other."""
    checks: list[tuple[str, str, Callable[[Settings], str]]] = [
        ("rules", "correct the rules file", _rules),
        ("prices", "correct the price book", _prices),
        (
            "broker and topics",
            f"start a broker at {settings.kafka.bootstrap} (or set TOCSIN_KAFKA__BOOTSTRAP), then"
            " `tocsin migrate`",
            _broker,
        ),
        (
            "store",
            f"start ClickHouse at {settings.clickhouse.host}:{settings.clickhouse.port} or set "
            "TOCSIN_CLICKHOUSE__HOST and __PORT",
            _store,
        ),
        ("schema", "run `tocsin migrate`", _schema),
        ("clock", "synchronise this machine's or the store's clock (NTP)", _clock),
    ]
    findings: list[Finding] = []
    for name, advice, check in checks:
        if name in _NEED_STORE and any(f.name == "store" and not f.well for f in findings):
            findings.append(Finding(name, "not checked, since the store does not answer", advice))
            continue
        try:
            findings.append(Finding(name, check(settings)))
        except (TocsinError, ClickHouseError, OSError) as error:
            findings.append(Finding(name, _short(error), advice))
    return findings


def _short(error: Exception) -> str:
    text = str(error).strip().splitlines()[0]
    if "Connection refused" in text or "Unable to bootstrap" in text:
        return "nothing answers there"
    return text[:300]


def _rules(settings: Settings) -> str:
    return f"{len(load_rules(settings.alerting.rules).rules)} rules"


def _prices(settings: Settings) -> str:
    return f"{len(load_price_book(settings.prices.path).prices)} prices"


def _broker(settings: Settings) -> str:
    if missing := asyncio.run(missing_topics(settings.kafka)):
        raise TocsinError(f"answers, but lacks the topics {', '.join(missing)}")
    return f"{settings.kafka.bootstrap} answers, all topics are there"


def _store(settings: Settings) -> str:
    client = store_client(settings.clickhouse)
    return f"ClickHouse {client.server_version} answers"


def _schema(settings: Settings) -> str:
    if pending := pending_migrations(settings.clickhouse):
        raise TocsinError(f"{len(pending)} migrations are not applied: {', '.join(pending)}")
    return "all migrations are applied"


def _clock(settings: Settings) -> str:
    before_us = system_clock()
    answer = store_client(settings.clickhouse).query("SELECT toUnixTimestamp64Micro(now64(6))")
    after_us = system_clock()
    away_s = (answer.result_rows[0][0] - (before_us + after_us) / 2) / 1e6
    doubt_s = (after_us - before_us) / 2e6
    if abs(away_s) - doubt_s > _CLOCK_LIMIT_S:
        raise TocsinError(f"the store's clock is {away_s:+.1f} s away from this machine's")
    return f"{away_s:+.3f} s between this machine and the store"
