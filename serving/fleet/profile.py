"""What a simulated fleet looks like: providers, versions, speed and faults, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.base import Name
from schemas.event import Route
from serving.errors import FleetError

__all__ = ["DEMO_PROFILE", "Fault", "FleetProfile", "ProviderProfile", "Speed", "load_profile"]

DEMO_PROFILE: Final = Path(__file__).with_name("demo.yaml")
"""A profile that ships with Tocsin: two providers, and a version v2 that goes wrong."""

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=1_000)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fault(_Model):
    """What goes wrong, of a version, a provider, or both together.

    ``error_share`` of the requests fail; of these, streams break in the middle (status 200, then an
    error in the stream) with ``mid_stream_share``, everything else answers 500 before the first
    token. ``degenerate_share`` of the answers repeat themselves. ``outage`` answers 503 to all.
    """

    error_share: Share = 0
    mid_stream_share: Share = 0.5
    latency_factor: Factor = 1
    degenerate_share: Share = 0
    output_factor: Factor = 1
    outage: bool = False

    def with_(self, other: Fault) -> Fault:
        """Return both faults together: shares as of independent causes, factors multiplied."""
        return Fault(
            error_share=_either(self.error_share, other.error_share),
            mid_stream_share=max(self.mid_stream_share, other.mid_stream_share)
            if self.error_share and other.error_share
            else (self if self.error_share else other).mid_stream_share,
            latency_factor=min(1_000, self.latency_factor * other.latency_factor),
            degenerate_share=_either(self.degenerate_share, other.degenerate_share),
            output_factor=min(1_000, self.output_factor * other.output_factor),
            outage=self.outage or other.outage,
        )


def _either(a: float, b: float) -> float:
    """Return how likely at least one of two independent causes hits."""
    return min(1.0, a + b - a * b)


class Speed(_Model):
    """How fast a provider is; the defaults are of the order of a 70B model on large GPUs.

    One provider stands for a pool of ``replicas``. Each prefills one prompt at a time and decodes
    up to ``max_num_seqs`` sequences; a decode step takes ``step_s`` for one sequence and grows by
    ``step_growth`` of it with each further one of the replica; ``noise`` is the sigma of the
    lognormal noise on both. ``cached_share`` of the prompts hit the prefix cache, with up to all of
    their tokens. Longer queues than ``max_queued`` are turned away (503). Tokens of about
    ``chunk_s`` seconds travel together.
    """

    replicas: Count = 32
    max_num_seqs: Count = 16
    max_queued: Count = 512
    prefill_tokens_per_s: Positive = 20_000
    step_s: Positive = 0.02
    step_growth: Annotated[float, Field(ge=0)] = 0.02
    noise: Annotated[float, Field(ge=0, le=3)] = 0.15
    cached_share: Share = 0.4
    chunk_s: Positive = 0.12
    max_model_len: Count = 131_072


class ProviderProfile(_Model):
    """One server: the versions that it can answer with, the first being its default."""

    versions: Annotated[dict[Name, Fault], Field(min_length=1)]
    fault: Fault = Fault()
    speed: Speed = Speed()
    route: Route = Route.STABLE


class FleetProfile(_Model):
    """All servers by provider."""

    model: Name = "llama-3.1-70b"
    seed: int = 20_260_101
    providers: Annotated[dict[Name, ProviderProfile], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _versions_by_name(cls, data: object) -> object:
        """Let `versions` be a list of names where nothing is wrong with any of them."""
        if isinstance(data, dict) and isinstance(providers := data.get("providers"), dict):
            for provider in providers.values():
                if isinstance(provider, dict) and isinstance(provider.get("versions"), list):
                    provider["versions"] = {name: {} for name in provider["versions"]}
        return data


def load_profile(path: Path) -> FleetProfile:
    """Return the profile in a YAML or JSON file.

    Raises:
        FleetError: the file cannot be read or says what cannot be; the text names file and key.
    """
    try:
        data = yaml.safe_load(path.read_text())
        return FleetProfile.model_validate(data)
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise FleetError(f"{path}: not YAML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise FleetError(f"{path}: {place}: {first['msg']}") from None
