"""Everything the receiver holds, and the feed that tells pages what changed."""

from __future__ import annotations

from typing import Any

from schemas.clock import Clock, system_clock
from tocsin.receiver.charts import Point, PointStore
from tocsin.receiver.faults import FaultBox
from tocsin.receiver.feed import Feed
from tocsin.receiver.incidents import Incident, IncidentStore
from tocsin.receiver.messages import MessageStore, SlackMessage
from tocsin.receiver.timeline import Step, Timeline

__all__ = ["Board"]


class Board:
    """The stores behind the page; every method that changes one publishes the change."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self.clock = clock
        self.messages = MessageStore()
        self.incidents = IncidentStore()
        self.timeline = Timeline()
        self.points = PointStore()
        self.faults = FaultBox()
        self.feed = Feed(self.snapshot)

    def post_message(self, fields: dict[str, Any]) -> SlackMessage:
        """Post to Slack; see ``MessageStore.post``."""
        message = self.messages.post(fields, self.clock())
        self.feed.publish("message", message.as_dict())
        return message

    def update_message(self, fields: dict[str, Any]) -> SlackMessage:
        """Edit a Slack message; see ``MessageStore.update``."""
        message = self.messages.update(fields, self.clock())
        self.feed.publish("message", message.as_dict())
        return message

    def take_event(self, event: dict[str, Any]) -> tuple[str, Incident | None]:
        """Take a valid PagerDuty event; see ``IncidentStore.take``."""
        dedup_key, incident = self.incidents.take(event, self.clock())
        if incident is not None:
            self.feed.publish("incident", incident.as_dict())
        return dedup_key, incident

    def add_step(self, step: Step) -> None:
        """Put a step on the timeline."""
        self.timeline.add(step)
        self.feed.publish("timeline", self.timeline.as_dict())

    def add_points(self, points: list[Point]) -> int:
        """Put points on the charts; return how many were kept."""
        kept = self.points.add(points)
        self.feed.publish("points", [point.model_dump(mode="json") for point in kept])
        return len(kept)

    def snapshot(self) -> dict[str, Any]:
        """Return all that a page needs to show everything."""
        return {
            "now_us": self.clock(),
            "messages": [message.as_dict() for message in self.messages.all()],
            "incidents": [incident.as_dict() for incident in self.incidents.all()],
            "timeline": self.timeline.as_dict(),
            "charts": self.points.as_dict(),
            "limits": {
                "messages": self.messages.limit,
                "incidents": self.incidents.limit,
                "points_a_series": self.points.points_a_series,
            },
        }
