"""The Faust application: settings, and nothing of its own."""

from __future__ import annotations

import faust

from schemas.settings import Settings

__all__ = ["create_app"]


def create_app(settings: Settings) -> faust.App:
    """Return a Faust application on the broker of the settings.

    Keys and values stay raw bytes: an undecodable value would be lost inside Faust, so agents
    decode. Faust's web server stays off; metrics have their own port.
    """
    kafka = settings.kafka
    return faust.App(
        settings.streams.app_id,
        broker=";".join(f"aiokafka://{host}" for host in kafka.bootstrap.split(",")),
        broker_client_id=kafka.client_id,
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.heartbeat_interval_s,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=16 * 1024 * 1024,
        producer_acks=-1,
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
    )
