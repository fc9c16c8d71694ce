"""Every topic, in one table: name, partitions, retention, and what flows there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["TOPICS", "Topic", "Topics"]

_DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic; ``compacted`` keeps the newest value of each key for ever."""

    name: str
    key: str
    value: str
    made_by: str
    partitions: int = 4
    retention_ms: int = 7 * _DAY_MS
    compacted: bool = False

    @property
    def config(self) -> dict[str, str]:
        """Return the topic's configuration as Kafka's admin API takes it."""
        if self.compacted:
            return {"cleanup.policy": "compact"}
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}


class Topics:
    """The topics by name, for the code that writes or reads one."""

    REQUESTS: Final = Topic("llm.requests", "event id", "RequestEvent, one or a batch", "serving")
    ENGINE: Final = Topic("llm.engine", "server", "EngineSample", "stat logger", partitions=1)
    # One partition each from here on: deciding needs the whole picture (groupings across series,
    # caps on actions, storms), so one worker at a time decides; docs/adr/0005 says more.
    FEEDBACK: Final = Topic(
        "llm.feedback",
        "request id",
        "FeedbackEvent, one or a batch",
        "apps, gateway",
        partitions=1,
    )
    EVALS: Final = Topic("llm.evals", "request id", "EvalResult", "quality agent", partitions=1)
    WINDOWS: Final = Topic(
        "llm.windows", "source", "WindowBatch", "windows agent", partitions=1, retention_ms=_DAY_MS
    )
    SIGNALS: Final = Topic("llm.signals", "series", "Signal", "detect agents", partitions=1)
    ALERTS: Final = Topic(
        "llm.alerts",
        "alert fingerprint",
        "AlertTransition",
        "alert agent",
        partitions=1,
        compacted=True,
    )
    ACTIONS: Final = Topic(
        "llm.actions",
        "alert fingerprint",
        "ActionRequested, ActionResult, ActionVerdict, ActionProposed, ActionDecided, KillSwitch",
        "alert agent, executor",
        partitions=1,
    )
    NOTIFICATIONS: Final = Topic(
        "llm.notifications", "alert fingerprint", "NotificationIntent", "alert agent", partitions=1
    )
    COMMANDS: Final = Topic(
        "llm.commands",
        "silence, incident or action",
        "SilenceCommand, ExpireCommand, AckCommand, DecideCommand",
        "API, for humans",
        partitions=1,
        retention_ms=30 * _DAY_MS,
    )
    FLAGS: Final = Topic(
        "llm.flags", "flag key", "FlagValue", "executor, humans", partitions=1, compacted=True
    )
    DEAD_LETTER: Final = Topic(
        "llm.dead-letter", "source", "DeadLetter", "ingest", retention_ms=30 * _DAY_MS
    )


TOPICS: Final[tuple[Topic, ...]] = tuple(
    value for value in vars(Topics).values() if isinstance(value, Topic)
)
