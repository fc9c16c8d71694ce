"""Writes docs/events.md from the schemas: ``python -m tests.support.event_docs``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from schemas.codec import encode_batch
from schemas.event import RequestEvent
from schemas.meanings import DEAD_LETTER_MEANINGS, FIELD_MEANINGS
from schemas.otel import OTEL_NAMES
from schemas.signal import SIGNALS
from schemas.topics import TOPICS
from tests.support.events import event

__all__ = ["EVENTS_PAGE", "render"]

EVENTS_PAGE = Path(__file__).parents[2] / "docs/events.md"

_INTRODUCTION = """\
# Events

<!-- Made by `python -m tests.support.event_docs` from schemas/; a test keeps the two in step. -->

One request to a model is one `RequestEvent`, sent when the request has ended: answered, rejected,
failed or aborted. Terms are OpenTelemetry's for generative AI; what has no standard term lives in
our own namespace `tocsin.*`. **An absent field is unknown, never zero.** Times are UTC
microseconds, durations seconds.
"""

_WIRE = """\
## On the wire

A record of `llm.requests` is one JSON object, or a JSON array of them (`serving` sends batches: a
Kafka record costs more than an event). Absent fields are left out. Unknown fields are refused, so
that a typing mistake is found on the first day and not in the first incident:

```json
{example}
```

`failed` (an error that is no rejection and no abort), `rejected` (4xx) and `cost_usd` are derived
when events are read, and are columns of the table `requests` as well.
"""


def render() -> str:
    """Return the page."""
    schema = RequestEvent.model_json_schema()
    fields = [
        (
            f"`{name}`" + ("" if name in schema["required"] else " *"),
            _type(schema["properties"][name], schema["$defs"]),
            _otel(OTEL_NAMES[name]),
            FIELD_MEANINGS[name],
        )
        for name in RequestEvent.model_fields
    ]
    batch = json.loads(encode_batch([event()]))
    example = json.dumps(batch[0], indent=2)
    return "\n".join(
        [
            _INTRODUCTION,
            "## RequestEvent\n",
            *_table(("Field", "Type", "OpenTelemetry", "Meaning"), fields),
            "\n\\* may be absent.\n",
            _WIRE.format(example=example),
            "## Refused\n",
            "What cannot be taken goes to `llm.dead-letter` with its reason, topic, partition,",
            "offset and place in the batch; its neighbours are taken.\n",
            *_table(
                ("Reason", "When"),
                [(f"`{reason}`", text) for reason, text in DEAD_LETTER_MEANINGS.items()],
            ),
            "\n## Topics\n",
            *_table(
                ("Topic", "Key", "Value", "Made by", "Partitions", "Kept"),
                [
                    (f"`{t.name}`", t.key, t.value, t.made_by, str(t.partitions), _kept(t))
                    for t in TOPICS
                ],
            ),
            "\n## Signals\n",
            "What detectors say and rules may name.\n",
            *_table(
                ("Signal", "Unit", "Meaning"),
                [(f"`{name}`", spec.unit, spec.meaning) for name, spec in SIGNALS.items()],
            ),
            "",
        ]
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _kept(topic: Any) -> str:
    days = topic.retention_ms / 86_400_000
    return "newest of each key" if topic.compacted else f"{days:g} d"


def _otel(name: str) -> str:
    return name if " " in name else f"`{name}`"


def _type(prop: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "anyOf" in prop:
        (known,) = [one for one in prop["anyOf"] if one.get("type") != "null"]
        return _type(known, definitions)
    if "$ref" in prop:
        return _type(definitions[prop["$ref"].rsplit("/", 1)[1]], definitions)
    if "enum" in prop:
        return ", ".join(f"`{value}`" for value in prop["enum"])
    if "const" in prop:
        return f"`{prop['const']}`"
    if prop["type"] == "array":
        return f"list of {_type(prop['items'], definitions)}"
    return str(prop.get("format", prop["type"]))


if __name__ == "__main__":
    EVENTS_PAGE.write_text(render())
