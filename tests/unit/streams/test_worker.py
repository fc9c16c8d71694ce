"""What stands in front of each agent, by topic."""

from __future__ import annotations

from pathlib import Path

from schemas.settings import load_settings
from schemas.topics import Topics
from streams.worker import build_app


def test_only_chunks_of_requests_have_a_short_queue(tmp_path: Path) -> None:
    app = build_app(load_settings(data_dir=tmp_path))
    waiting = {
        agent.channel.get_topic_name(): agent.channel.maxsize or app.conf.stream_buffer_maxsize
        for agent in app.agents.values()
    }
    assert waiting.pop(Topics.REQUESTS.name) == 4
    # A sink whose store is away lets its queue fill; a full one stops the fetching of all topics.
    assert {Topics.SIGNALS.name, Topics.ALERTS.name, Topics.COMMANDS.name} < waiting.keys()
    assert set(waiting.values()) == {256}
