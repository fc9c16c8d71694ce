"""Faust's Kafka transport with the one setting that it has no name for: the fetch wait.

Faust asks brokers to hold an empty fetch for 1.5 s. Apache Kafka answers as soon as there is data;
Tansu looks again only now and then, the less often the longer it may wait, and every hop of the
loop would take most of a second.
"""

from __future__ import annotations

from typing import Any

from faust.transport.drivers import aiokafka

__all__ = ["transport_with"]


def transport_with(fetch_wait_s: float) -> type[Any]:
    """Return a transport class whose consumers wait so long for a fetch."""

    class Thread(aiokafka.AIOKafkaConsumerThread):  # type: ignore[misc]
        def _create_worker_consumer(self, transport: Any) -> Any:
            consumer = super()._create_worker_consumer(transport)
            consumer._fetch_max_wait_ms = round(fetch_wait_s * 1_000)  # noqa: SLF001 - read by start
            return consumer

    class Consumer(aiokafka.Consumer):  # type: ignore[misc]
        def _new_consumer_thread(self) -> Thread:
            return Thread(self, loop=self.loop, beacon=self.beacon)

    class Transport(aiokafka.Transport):  # type: ignore[misc]
        pass

    Transport.Consumer = Consumer
    return Transport
