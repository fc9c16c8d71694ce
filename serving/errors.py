"""Exceptions of serving.

TocsinError
└── ServingError
    ├── EmitError                an event could not be handed on; never reaches a request
    │   ├── EventTooLargeError   one event is larger than a Kafka record may be
    │   └── EmitterClosedError   the emitter is shutting down
    ├── ActuatorError            an action could not be carried out
    │   └── PreconditionError    what the plan was made for no longer stands; nothing was done
    ├── FlagError                the flags could not be read or changed; they stay as they were
    │   ├── FlagFileError        the flag file is missing, torn, or not what it should be
    │   ├── FlagLockError        another writer held the flag file for too long
    │   ├── FlagConflictError    the flag file is no longer the one that was looked at
    │   └── UnknownVariantError  no such flag, or the flag has no such variant
    ├── GatewayError             the gateway cannot start or go on
    │   ├── GatewayFileError     the gateway's file is missing, torn, or not what it should be
    │   └── GatewayAddressError  it cannot, or must not, listen there
    ├── OtlpError                what came over OTLP is not taken; has its HTTP status
    │   └── OtlpBusyError        too much at once, or no broker: the client tries again
    ├── SpanRefusedError         one span tells of a request and is wrong; its neighbours are taken
    ├── OtlpAddressError         the OTLP receiver cannot listen there, or must not
    ├── RolloutError             a rollout cannot begin or end, or its file cannot be read
    │   ├── RolloutDisturbedError  somebody else has changed its flags
    │   └── LooksError           the store cannot say how requests have done
    └── FleetError               the simulated fleet cannot do what it was asked
"""

from __future__ import annotations

from schemas.dead_letter import DeadLetterReason
from schemas.errors import TocsinError

__all__ = [
    "ActuatorError",
    "EmitError",
    "EmitterClosedError",
    "EventTooLargeError",
    "FlagConflictError",
    "FlagError",
    "FlagFileError",
    "FlagLockError",
    "FleetError",
    "GatewayAddressError",
    "GatewayError",
    "GatewayFileError",
    "LooksError",
    "OtlpAddressError",
    "OtlpBusyError",
    "OtlpError",
    "PreconditionError",
    "RolloutDisturbedError",
    "RolloutError",
    "ServingError",
    "SpanRefusedError",
    "UnknownVariantError",
]


class ServingError(TocsinError):
    """The root of the model side's errors."""


class EmitError(ServingError):
    """An event could not be handed on."""


class EventTooLargeError(EmitError):
    """One event alone is larger than a Kafka record may be."""


class EmitterClosedError(EmitError):
    """The emitter takes no more events."""


class ActuatorError(ServingError):
    """An action could not be carried out."""


class PreconditionError(ActuatorError):
    """What the plan was made for no longer stands; nothing was done."""


class FlagError(ServingError):
    """The flags could not be read or changed; they stay as they were."""


class FlagFileError(FlagError):
    """The flag file is missing, torn, or not what it should be; the text names the place."""


class FlagLockError(FlagError):
    """Another writer held the flag file for too long."""


class FlagConflictError(FlagError):
    """The flag file is no longer the one that the change was made for."""


class UnknownVariantError(FlagError):
    """There is no such flag, or the flag has no such variant."""


class FleetError(ServingError):
    """The simulated fleet cannot do what it was asked."""


class RolloutError(ServingError):
    """A rollout cannot begin or end, or its file cannot be read."""


class RolloutDisturbedError(RolloutError):
    """Somebody else has changed the flags of a rollout; the text says who."""


class LooksError(RolloutError):
    """The store cannot say how requests have done."""


class GatewayError(ServingError):
    """The gateway cannot start or go on."""


class GatewayFileError(GatewayError):
    """The gateway's file is missing, torn, or not what it should be; the text names the place."""


class GatewayAddressError(GatewayError):
    """The gateway cannot listen at its address, or must not: open to others without keys."""


class OtlpError(ServingError):
    """What came over OTLP is not taken; ``status`` is the HTTP status that says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class OtlpBusyError(OtlpError):
    """It is not taken now; the client shall come again after ``retry_after_s`` seconds."""

    def __init__(self, status: int, text: str, retry_after_s: int) -> None:
        super().__init__(status, text)
        self.retry_after_s = retry_after_s


class SpanRefusedError(ServingError):
    """One span tells of a request and cannot be taken."""

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class OtlpAddressError(ServingError):
    """The OTLP receiver cannot listen at its address, or must not: open to others, no token."""
