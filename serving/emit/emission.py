"""What one server process shares: where events go, and the join of middleware and engine."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from schemas.errors import SettingsError
from schemas.event import Operation
from schemas.settings import EmitSettings, load_settings
from serving.emit import counters
from serving.emit.build import Origin, build_event, take_usage
from serving.emit.declared import take_declared
from serving.emit.emitter import KafkaEmitter
from serving.emit.engine_facts import condense
from serving.emit.exchange import Exchange
from serving.emit.join import EngineRecord, JoinTable, Waiter
from serving.emit.joined import facts_of
from serving.emit.prompt import TextPolicy
from serving.emit.sink import EventSink

__all__ = ["Clock", "Emission", "shared_emission"]

_ALL_CHOICES: Final = 128

_log = structlog.get_logger("tocsin.emit")


@dataclass(frozen=True, slots=True)
class Clock:
    """Both clocks that an event needs."""

    monotonic: Callable[[], float] = time.monotonic
    wall_ns: Callable[[], int] = time.time_ns


class Emission:
    """Turns exchanges that are over into events and hands them to the sink, each exactly once."""

    def __init__(
        self, settings: EmitSettings, sink: EventSink, *, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self.sink = sink
        self.clock = clock or Clock()
        self.join = JoinTable()
        self.gateway_token = settings.gateway_token.get_secret_value().encode()
        self.text = TextPolicy.from_settings(settings)
        self.origin = Origin(
            server=settings.server or socket.gethostname() or "unknown",
            provider=settings.provider,
            model_version=settings.model_version,
        )
        self._waiting: dict[Waiter, Callable[[Sequence[EngineRecord]], None]] = {}

    def finish(self, exchange: Exchange, scope: Mapping[str, Any], start_time_us: int) -> None:
        """Report an exchange that is over, now or when the engine's records have come.

        To be called on the server's loop. The engine reports neither aborts by clients nor
        rejections, so only answers that went well are worth a wait.
        """
        ended_at = self._ended_at(exchange)
        state = scope.get("state") or {}
        origin, lora = self.origin, None
        try:  # what fails here costs details, never the event
            origin, exchange.sender = take_declared(state, self.origin, exchange.sender)
            lora = _lora(scope, exchange.asked.model if exchange.asked else None)
            exchange.over()
            take_usage(state, exchange.answer)
        except Exception as error:  # noqa: BLE001
            counters.contained("enrich", error)
        report = partial(
            self._report,
            exchange,
            origin=origin,
            start_time_us=start_time_us,
            ended_at=ended_at,
            lora=lora,
        )
        key = _engine_id(state, exchange)
        if key is None:
            report(())
            return
        count = exchange.asked.choices if exchange.asked else 1
        records = self.join.take(key, exchange.started_at, count)
        well = exchange.status == 200 and exchange.error_type is None and not exchange.aborted
        if (
            len(records) >= count
            or not well
            or not self.join.active
            or not self.settings.join_wait_s
        ):
            report(records)
            return
        waiter = Waiter(key, exchange.started_at, count, self._arrived, records)
        self._waiting[waiter] = report
        self.join.wait(waiter)
        asyncio.get_running_loop().call_later(self.settings.join_wait_s, self._give_up, waiter)

    def facts(self, exchange: Exchange, scope: Mapping[str, Any]) -> bytes:
        """Return what this server knows of a request that a gateway reports; see `joined.py`."""
        state = scope.get("state") or {}
        key = _engine_id(state, exchange)
        records = self.join.take(key, exchange.started_at, _ALL_CHOICES) if key else []
        return facts_of(records, state)

    def close(self) -> None:
        """Report what still waits for the engine, and send everything."""
        for waiter in tuple(self._waiting):
            self._give_up(waiter)
        self.sink.close(self.settings.flush_timeout_s)

    def _arrived(self, waiter: Waiter) -> None:
        if report := self._waiting.pop(waiter, None):
            report(waiter.records)

    def _give_up(self, waiter: Waiter) -> None:
        if self.join.give_up(waiter):
            self._arrived(waiter)

    def _report(
        self,
        exchange: Exchange,
        records: Sequence[EngineRecord],
        *,
        origin: Origin,
        start_time_us: int,
        ended_at: float,
        lora: tuple[str, str] | None,
    ) -> None:
        make = partial(
            build_event,
            exchange,
            condense(records),
            origin,
            start_time_us=start_time_us,
            ended_at=ended_at,
            lora=lora,
            text=self.text if self.text.wants_prompt else None,
        )
        prompt = exchange.asked.prompt if exchange.asked else None
        self.sink.emit_later(make, 2 * (len(prompt or "") + sum(map(len, exchange.answer.text))))

    def _ended_at(self, exchange: Exchange) -> float:
        for moment in (exchange.disconnected_at, exchange.complete_at):
            if moment is not None:
                return moment
        return self.clock.monotonic()


def _engine_id(state: Mapping[str, Any], exchange: Exchange) -> str | None:
    """Return the id under which vLLM knows the request, or None when it never got so far."""
    request_id = getattr(state.get("request_metadata"), "request_id", None)
    if isinstance(request_id, str):
        return request_id
    if exchange.operation is Operation.EMBEDDINGS and exchange.sender.request_id:
        return f"embd-{exchange.sender.request_id}"  # pooling leaves no metadata
    return None


def _lora(scope: Mapping[str, Any], model: str | None) -> tuple[str, str] | None:
    """Return (adapter, base model) when `model` is a LoRA adapter of this server."""
    models = getattr(getattr(scope.get("app"), "state", None), "openai_serving_models", None)
    adapters = getattr(models, "lora_requests", None)
    if model is None or not isinstance(adapters, dict) or model not in adapters:
        return None
    try:
        return model, str(models.base_model_paths[0].name)  # type: ignore[union-attr]
    except (AttributeError, IndexError, TypeError):
        return None


_shared: tuple[int, Emission | None] | None = None
_shared_lock = threading.Lock()


def shared_emission() -> Emission | None:
    """Return what this process shares, made from the environment at the first call.

    Wrong settings must not take a model server down: they are logged, naming the key, the gauge
    `tocsin_emit_enabled` says 0, and None is returned.
    """
    global _shared  # noqa: PLW0603  # vLLM makes both parties itself; they share the process
    with _shared_lock:
        if _shared is None or _shared[0] != os.getpid():
            try:
                settings = load_settings()
            except SettingsError as error:
                _log.critical("requests are NOT reported: wrong settings", error=str(error))
                counters.ENABLED.set(0)
                _shared = (os.getpid(), None)
            else:
                sink = KafkaEmitter(settings.emit, settings.kafka)
                _shared = (os.getpid(), Emission(settings.emit, sink))
                counters.ENABLED.set(1)
        return _shared[1]
