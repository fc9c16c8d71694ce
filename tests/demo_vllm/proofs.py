"""What has to be true at the end: each promise, asked of clients, Kafka, store, servers, pages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Final

from schemas.codec import decode_records
from schemas.topics import Topics
from tests.acceptance.running import metric
from tests.demo_vllm.account import ROWS, Row, differences, row_of
from tests.demo_vllm.moments import MOMENTS, of_story
from tests.demo_vllm.parts import FIRST, SECOND, Parts
from tests.demo_vllm.run import Played
from tests.demo_vllm.scenario import DEAD, GOOD, LATE
from tests.demo_vllm.traffic import Outcome, now_us
from tests.support.broker import read_all
from tocsin.demo.checks import Check

__all__ = ["prove"]

_WINDOWS: Final = """
    SELECT (SELECT sum(requests) FROM windows FINAL) AS requests,
           (SELECT sum(errors) FROM windows FINAL) AS errors,
           (SELECT countIf(failed) FROM requests) AS failed
"""
_APPLIED: Final = """
    SELECT countIf(type = 'action_requested'),
           countIf(type = 'action_result' AND status = 'applied'),
           countIf(type = 'action_verdict' AND recovered)
    FROM actions FINAL
"""


def prove(parts: Parts, played: Played) -> Iterator[Check]:
    """Yield every check; the demo succeeded when all are ok."""
    rows = [row_of(values) for values in parts.client.query(ROWS).result_rows]
    through = [row for row in rows if not row.request_id.startswith(played.direct.name)]
    direct = [row for row in rows if row.request_id.startswith(played.direct.name)]
    yield _every_moment(played)
    yield _accounted(parts, played, through, direct)
    yield _in_kafka(parts, rows)
    yield _in_windows(parts, rows)
    yield _death(played, through)
    yield _server_agrees(parts, through, direct)
    yield _nothing_twice(parts, played)
    yield _told_once(parts)


def _every_moment(played: Played) -> Check:
    missing = [moment.title for moment in MOMENTS if moment.name not in played.moments]
    said = f"missing: {', '.join(missing)}" if missing else f"{len(MOMENTS)} steps"
    return Check("every step of both stories happened", not missing, said)


def _accounted(parts: Parts, played: Played, through: list[Row], direct: list[Row]) -> Check:
    second = parts.address(SECOND)
    servers = {GOOD: parts.address(FIRST), DEAD.version: second, LATE.version: second}
    found = [
        *differences(played.traffic.ledger, through, servers),
        *differences(played.direct.ledger, direct, {GOOD: FIRST}),
    ]
    sent = len(played.traffic.ledger) + len(played.direct.ledger)
    said = f"{sent} sent, {len(through) + len(direct)} rows, {len(found)} differences"
    if found:
        said += f", the first: {found[0]}"
    name = "each request once, as its client saw it, with the gateway's and the engine's view"
    return Check(name, not found and sent > 0, said)


def _in_kafka(parts: Parts, rows: list[Row]) -> Check:
    records = asyncio.run(read_all(parts.kafka.bootstrap, Topics.REQUESTS.name))
    decoded = decode_records(
        [value for _, value in records],
        now_us=now_us(),
        future_us=1_000_000,
        max_bytes=parts.stack.settings.streams.max_record_bytes,
    )
    names = Counter(str(event.event_id) for event in decoded.events)
    same = not decoded.refused and names == Counter(row.event_id for row in rows)
    said = f"{names.total()} events in {len(records)} records"
    return Check("Apache Kafka holds just these events, each once", same, said)


def _in_windows(parts: Parts, rows: list[Row]) -> Check:
    requests, errors, failed = parts.client.query(_WINDOWS).result_rows[0]
    late = round(metric(parts.stack.metrics_urls[0], "tocsin_late_requests"))
    same = requests == len(rows) and errors == failed
    said = f"{requests} requests and {errors} errors in windows, {late} too late for theirs"
    return Check("each request in one window", same, said)


def _death(played: Played, through: list[Row]) -> Check:
    """Only streams of the dead vLLM broke; whoever came later, or had nothing yet, was served."""
    killed_us = played.moments.get(of_story(DEAD, "began"), 0)
    of = {row.request_id: row for row in through}
    unserved = [s for s in played.traffic.ledger if s.outcome is not Outcome.ANSWERED]
    wrong = [
        one.request_id
        for one in unserved
        if one.outcome is not Outcome.BROKEN
        or one.started_us > killed_us
        or not one.pieces
        or (row := of.get(one.request_id)) is None
        or row.model_version != DEAD.version
    ]
    rescued = sum(
        one.outcome is Outcome.ANSWERED
        and one.started_us <= killed_us < (one.ended_us or 0)
        and (row := of.get(one.request_id)) is not None
        and row.route == "fallback"
        for one in played.traffic.ledger
    )
    stood_in = sum(row.route == "fallback" for row in through)
    said = (
        f"{len(unserved)} broken in mid-stream, {rescued} under way taken over by {GOOD}, "
        f"{stood_in} answered as fallback"
    )
    if wrong:
        said += f"; not by that death: {', '.join(wrong[:5])}"
    name = "only streams that the dead vLLM had begun broke"
    return Check(name, bool(unserved) and not wrong and stood_in > 0, said)


def _server_agrees(parts: Parts, through: list[Row], direct: list[Row]) -> Check:
    """The first server lived through it all: its own count is a second witness."""
    finished = round(parts.server_metric(FIRST, "vllm:request_success_total"))
    emitted = round(
        parts.server_metric(FIRST, "tocsin_emit_events_total", topic=Topics.REQUESTS.name)
    )
    rows = sum(row.server == parts.address(FIRST) for row in through) + len(direct)
    said = f"vLLM {finished} finished, {rows} rows of it; {emitted} events of its own"
    same = finished == rows and emitted == len(direct)
    return Check("vLLM's own count agrees, and it reports only what had no gateway", same, said)


def _nothing_twice(parts: Parts, played: Played) -> Check:
    asked, applied, recovered = parts.client.query(_APPLIED).result_rows[0]
    ok = (asked, applied, recovered) == (2, 2, 2)
    ejected = parts.gateway_metric("tocsin_gateway_ejected", upstream=SECOND)
    unjoined = parts.gateway_metric("tocsin_gateway_unjoined_total")
    said = (
        f"{asked} asked for, {applied} applied, {recovered} found to have helped; "
        f"{unjoined:.0f} answers without the server's view; "
        f"{SECOND} is {'ejected' if ejected else 'in rotation'}"
    )
    name = "two rollbacks, each once, each helped; the restarted server is back"
    return Check(name, ok and not ejected, said)


def _told_once(parts: Parts) -> Check:
    incidents = parts.receiver.board.incidents.all()
    messages = [m for m in parts.receiver.board.messages.all() if not m.as_dict()["thread_ts"]]
    still_open = sum(incident.open for incident in incidents)
    ok = len(incidents) == len(messages) == 3 and not still_open
    told = "; ".join(incident.summary for incident in incidents)
    said = f"{len(incidents)} incidents ({still_open} open), {len(messages)} messages: {told}"
    name = "three incidents (errors, fallbacks, late tokens), one page and message each, resolved"
    return Check(name, ok, said)
