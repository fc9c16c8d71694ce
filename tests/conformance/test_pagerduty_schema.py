"""PagerDuty's events against the schema of Events API v2, whatever an incident holds.

The fast test holds them to our own schema (``tests/support/receivers.py``), written from the
published facts: PagerDuty's api-schema repository grants no licence to copy its file,
``reference/events-v2/openapiv3.json``. Where ``PAGERDUTY_OPENAPI`` names a copy, events, our schema
and our receiver's answers are held to it as well:

    PAGERDUTY_OPENAPI=.../openapiv3.json python -m pytest -m oracle tests/conformance
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.intent import LadderNote, NotificationIntent, NotifyEvent, PlannedStep
from alerting.notifiers.pagerduty import event_of
from schemas.alert import Severity
from tests.support.events import NOW_US
from tests.support.intents import intent_of
from tests.support.receivers import KEY, PAGERDUTY_EVENT
from tocsin.receiver import Receiver

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).flatmap(
    lambda text: st.sampled_from([text, text * 200])
)
names = st.sampled_from(["model", "model_version", "provider", "feature", "user_id"])
notes = st.builds(LadderNote, at_us=st.just(NOW_US), text=texts)
plans = st.builds(PlannedStep, at_us=st.just(NOW_US), text=texts)


@st.composite
def intents(draw: st.DrawFn) -> NotificationIntent:
    """Return an incident with anything in it that people or clients may have put there."""
    title = draw(texts)
    return intent_of(
        draw(st.sampled_from(["i", "i" * 248])),
        draw(st.integers(1, 9)),
        draw(st.sampled_from(list(NotifyEvent))),
        severity=draw(st.sampled_from(list(Severity))),
        title=title,
        description=draw(st.none() | texts),
        labels=draw(st.dictionaries(names, texts, max_size=5)),
        news=tuple(draw(st.lists(texts, max_size=3))),
        history=tuple(draw(st.lists(notes, max_size=40))),
        plan=tuple(draw(st.lists(plans, max_size=10))),
        value=draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
        sql=draw(texts),
        runbook=draw(st.sampled_from(["docs/alerting.md", "https://wiki.example/llm?x=1"])),
    )


def sent(intent: NotificationIntent) -> dict[str, Any]:
    """Return an event as it goes over the wire."""
    event = event_of(intent, KEY, "https://grafana.example/d/tocsin")
    found: dict[str, Any] = json.loads(json.dumps(event))
    return found


@settings(deadline=None)
@given(intents())
def test_any_incident_is_an_event_that_pagerduty_takes(intent: NotificationIntent) -> None:
    event = sent(intent)
    jsonschema.validate(event, PAGERDUTY_EVENT)
    assert len(json.dumps(event, ensure_ascii=False).encode()) <= 512 * 1024


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    path = os.environ.get("PAGERDUTY_OPENAPI")
    if not path:
        pytest.skip("PAGERDUTY_OPENAPI names no copy of reference/events-v2/openapiv3.json")
    document: dict[str, Any] = json.loads(Path(path).read_text())
    return document


def validator(published: dict[str, Any], schema: dict[str, Any]) -> jsonschema.Draft7Validator:
    """Return a validator of one schema of the document; OpenAPI 3.0's are JSON Schema's here."""
    whole = {**schema, "components": published["components"]}
    return jsonschema.Draft7Validator(
        whole, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
    )


def request_of(published: dict[str, Any]) -> dict[str, Any]:
    body = published["paths"]["/enqueue"]["post"]["requestBody"]["content"]["application/json"]
    schema: dict[str, Any] = body["schema"]
    return schema


def resolved(published: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema, or what it refers to."""
    if "$ref" not in schema:
        return schema
    found: Any = published
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    kept: dict[str, Any] = found
    return kept


@pytest.mark.oracle
def test_every_event_fulfils_the_published_schema(published: dict[str, Any]) -> None:
    checks = validator(published, request_of(published))
    properties = request_of(published)["properties"]
    payload = resolved(published, properties["payload"])["properties"]

    @settings(deadline=None)
    @given(intents())
    def holds(intent: NotificationIntent) -> None:
        event = sent(intent)
        assert [error.message for error in checks.iter_errors(event)] == []
        assert set(event) <= set(properties)
        assert set(event["payload"]) <= set(payload)

    holds()


def differences(
    published: dict[str, Any], theirs: dict[str, Any], ours: dict[str, Any], path: str = ""
) -> Iterator[str]:
    """Yield where our schema takes what the published one does not know or refuses."""
    theirs = resolved(published, theirs)
    if missing := set(theirs.get("required", ())) - set(ours.get("required", ())):
        yield f"{path}: {missing} not required"
    if set(ours.get("enum", ())) != set(theirs.get("enum", ())):
        yield f"{path}: other values"
    if theirs.get("type", "") != ours.get("type", ""):
        yield f"{path}: another type"
    for name, schema in ours.get("properties", {}).items():
        if name not in theirs["properties"]:
            yield f"{path}.{name}: unknown"
        else:
            yield from differences(published, theirs["properties"][name], schema, f"{path}.{name}")
    if "items" in ours:
        yield from differences(published, theirs["items"], ours["items"], f"{path}[]")


@pytest.mark.oracle
def test_our_schema_is_the_published_one_or_stricter(published: dict[str, Any]) -> None:
    assert list(differences(published, request_of(published), PAGERDUTY_EVENT)) == []


@pytest.mark.oracle
def test_our_receiver_answers_as_published(published: dict[str, Any]) -> None:
    answers = published["components"]["responses"]
    taken, refused = (
        validator(published, answers[name]["content"]["application/json"]["schema"])
        for name in ("Success", "Error")
    )
    with Receiver(pagerduty_routing_key=KEY) as receiver:
        url = f"{receiver.pagerduty_base_url}/v2/enqueue"
        with httpx.Client(trust_env=False) as client:
            good = client.post(url, json=sent(intent_of()))
            bad = client.post(url, json={**sent(intent_of()), "event_action": "shout"})
            broken = client.post(url, content=b"{")
    assert (good.status_code, bad.status_code, broken.status_code) == (202, 400, 400)
    taken.validate(good.json())
    for answer in (bad, broken):
        refused.validate(answer.json())
