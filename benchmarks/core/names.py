"""Names of topics: the two that hold the events, and Tocsin's own, new for each run."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from schemas import topics
from schemas.topics import TOPICS, Topic, Topics

__all__ = ["BATCHED", "KINDS", "SINGLE", "own_topics", "requests_topic", "use_topics"]

SINGLE: Final = "single"
BATCHED: Final = "batch"
KINDS: Final = (SINGLE, BATCHED)
"""One event a record; 500 events a record."""


def requests_topic(kind: str) -> str:
    """Return the name of the topic that holds the events in records of a kind."""
    return f"bench.requests.{kind}"


def own_topics(run: str) -> tuple[Topic, ...]:
    """Return the topics that a run of Tocsin needs beside that of the requests."""
    return tuple(_named(topic, run) for topic in TOPICS if topic is not Topics.REQUESTS)


def use_topics(requests: str, run: str) -> None:
    """Let this process's Tocsin read requests from a topic and write to topics of its run.

    A backlog is loaded once and read by many runs, whose windows and signals must not mix. To be
    called before anything of ``streams`` is imported.
    """
    named = {
        topic.name: _named(topic, run)
        if topic is not Topics.REQUESTS
        else replace(topic, name=requests)
        for topic in TOPICS
    }
    for name, value in list(vars(Topics).items()):
        if isinstance(value, Topic):
            setattr(Topics, name, named[value.name])
    topics.__dict__["TOPICS"] = tuple(named.values())


def _named(topic: Topic, run: str) -> Topic:
    return replace(topic, name=f"{run}.{topic.name}")
