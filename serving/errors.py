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
    │   ├── GatewayAddressError  it cannot, or must not, listen there
    │   └── GatewayWorkerError   one of its workers could not start
    ├── RolloutError             a rollout cannot begin, or its file cannot be read
    └── FleetError               the simulated fleet cannot do what it was asked
"""

from __future__ import annotations

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
    "GatewayWorkerError",
    "PreconditionError",
    "RolloutError",
    "ServingError",
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
    """A rollout cannot begin, or its file cannot be read."""


class GatewayError(ServingError):
    """The gateway cannot start or go on."""


class GatewayFileError(GatewayError):
    """The gateway's file is missing, torn, or not what it should be; the text names the place."""


class GatewayWorkerError(GatewayError):
    """A worker of the gateway ended before it could serve."""


class GatewayAddressError(GatewayError):
    """The gateway cannot listen at its address, or must not: open to others without keys."""
