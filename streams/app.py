"""The Faust application: settings, and how messages in hand are treated at the end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import faust
import structlog
from faust.types import TP

from schemas.kafka_client import kafka_tls
from schemas.settings import KafkaSettings, Settings
from schemas.topics import Topics
from streams.tables import Tables
from streams.transport import Transport

__all__ = ["App", "Hold", "create_app"]

log = structlog.get_logger(__name__)

Hold = Callable[[Iterable[Any]], None]
"""Takes Faust events whose work is done or kept elsewhere, though they are not acknowledged yet."""

_PATIENCE_S: Final = 5.0
_COPIES_S: Final = 1.0
_LINGER_S: Final = 0.005
_BATCH_BYTES: Final = 128 * 1024
"""How messages of ours gather; without, a request a message, or 16 KiB, would go to the broker."""
_IN_CHUNKS: Final = (Topics.SIGNALS, Topics.ALERTS, Topics.NOTIFICATIONS)
"""Topics of which thousands of records may come at once."""
_FEW: Final = 200
"""Records in a chunk whose agent shares the loop with others while it takes the chunk apart."""


class App(faust.App):  # type: ignore[misc]
    """Faust's application with an end that is bounded in time and loses nothing.

    Before a rebalance and at the end Faust waits until every message that an agent has seen is
    acknowledged. Some of ours wait long for that (an open window, a store that is away), and need
    no waiting for: what is not acknowledged is read again.
    """

    fetch_wait_s: float = 0.5
    """How long the broker may hold a fetch that has no data."""

    chunked: Mapping[str, int] = MappingProxyType({})
    """Topics whose records are handed over in chunks, and how many may be in one."""

    @property
    def leaving(self) -> bool:
        """Tell whether the worker stops, or its partitions are about to move."""
        return bool(self.should_stop or self.rebalancing)

    @property
    def turn(self) -> int:
        """Return what tells chunks of this assignment from older ones."""
        return int(self.consumer.turn)

    def caught_up(self, partition: int) -> bool:
        """Tell whether all that a partition of ``llm.requests`` holds is taken in."""
        return bool(self.consumer.caught_up(TP(Topics.REQUESTS.name, partition)))

    def behind(self) -> int:
        """Return how many records of requests are known that agents do not have yet: the backlog.

        0 while the worker is leaving, for it takes no more of them.
        """
        return 0 if self.leaving else int(self.consumer.behind(Topics.REQUESTS.name))

    def partitions(self) -> int:
        """Return how many partitions ``llm.requests`` has, 0 before that is known."""
        return int(self.consumer.topic_partitions(Topics.REQUESTS.name) or 0)

    def may_write(self) -> bool:
        """Tell whether this worker's partitions are surely still its own.

        A worker that was stalled for longer than the session timeout must write nothing more: the
        group has given its partitions, and what it has in hand, to another.
        """
        return bool(self.consumer.lease_left_s() > 0)

    def hold(self, events: Iterable[Any]) -> None:
        """Let Faust wait no more for these events; acknowledging them later commits them."""
        for event in events:
            self.consumer.unacked.discard(event.message)

    async def on_stop(self) -> None:
        """Stop; what no agent finishes within a few seconds is left to be read again."""
        give_up = asyncio.get_running_loop().call_later(_PATIENCE_S, self._give_up)
        try:
            await super().on_stop()
        finally:
            give_up.cancel()

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        """Wait for what agents have in hand, before partitions move.

        A topic with two agents hands each of them a copy of a message. Faust clears the copies that
        no agent has taken yet, but waits for their acknowledgement, too, if the other agent has
        acknowledged its own: for ever. What waits here, save requests, which have one agent, does
        no harm when it is done twice.
        """
        give_up = asyncio.get_running_loop().call_later(_COPIES_S, self._leave_copies)
        try:
            await super()._consumer_wait_empty(consumer, logger)
        finally:
            give_up.cancel()

    def _leave_copies(self) -> None:
        unacked = self.consumer.unacked
        left = {message for message in unacked if message.topic != Topics.REQUESTS.name}
        log.info("rebalance_leaves_messages", messages=len(left))
        unacked -= left

    def _give_up(self) -> None:
        unfinished = self.consumer.unacked
        log.warning("stop_leaves_messages", messages=len(unfinished))
        unfinished.clear()


def _credentials(kafka: KafkaSettings) -> Any:
    """Return what proves to the broker who this is, None where it does not ask."""
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.get_secret_value(),
            mechanism=kafka.sasl_mechanism,
            ssl_context=kafka_tls(kafka),
        )
    context = kafka_tls(kafka)
    return faust.SSLCredentials(context=context) if context is not None else None


def create_app(settings: Settings) -> App:
    """Return a Faust application on the broker of the settings.

    Keys and values stay raw bytes: an undecodable value would be lost inside Faust, so agents
    decode. Faust's web server stays off; metrics have their own port.
    """
    kafka = settings.kafka
    app = App(
        settings.streams.app_id,
        broker=";".join(f"aiokafka://{host}" for host in kafka.bootstrap.split(",")),
        broker_client_id=kafka.client_id,
        broker_credentials=_credentials(kafka),
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.heartbeat_interval_s,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=1024 * 1024,  # of one partition; a larger record comes alone
        producer_acks=-1,
        producer_linger=_LINGER_S,
        producer_max_batch_size=_BATCH_BYTES,
        producer_max_request_size=16 * 1024 * 1024,
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        datadir=str(settings.data_dir / "faust"),
        processing_guarantee="at_least_once",
        stream_buffer_maxsize=256,  # 16 halves throughput, 4096 fills memory
        stream_wait_empty=True,  # False acknowledges what a stop interrupts
        topic_replication_factor=kafka.replication_factor,
        topic_allow_declare=True,
        topic_disable_leader=True,
        web_enabled=False,
        TableManager=Tables,
        # Tables are small, and standby copies race with their own highwater mark: Faust's check
        # for that ends the worker.
        table_standby_replicas=0,
        recovery_consistency_check=False,
    )
    app.fetch_wait_s = kafka.fetch_wait_s
    app.chunked = {Topics.REQUESTS.name: sys.maxsize} | {topic.name: _FEW for topic in _IN_CHUNKS}
    app.transport = Transport(app.conf.broker_consumer, app)
    return app
