"""What the gateway's file may say: upstreams, models, keys, limits."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.base import Name
from serving.gateway.breaker import BreakerPolicy
from serving.gateway.rules import Rule

__all__ = ["GatewayFile", "KeyEntry", "LimitRule", "ModelEntry", "Target", "UpstreamEntry"]

_Rate = Annotated[float, Field(gt=0, le=1e12)]
_HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class UpstreamEntry(_Model):
    """A server that speaks OpenAI's protocol, or Anthropic's.

    Attributes:
        base_url: up to and with `/v1`.
        api: what it speaks; requests for `anthropic` are translated.
        max_tokens: the limit that Anthropic's API gets for requests without one; 4,096 if None.
        provider: the value of `ai.model.provider` that prefers it; events carry it.
        api_key_env: the environment variable that holds its key; none sends none.
        joined: it runs Tocsin's middleware with the gateway's token, so its view of a request is
            joined to the gateway's instead of being an event of its own.
        ask_usage: ask streams for their usage and keep it from clients that did not ask.
        forward_headers: names of client headers that it gets beside the usual ones.
        guardrail_header: the header that tells it how strict guardrails are to be.
    """

    base_url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
    provider: Name
    api: Literal["openai", "anthropic"] = "openai"
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    joined: bool = False
    ask_usage: bool = True
    forward_headers: tuple[_HeaderName, ...] = ()
    guardrail_header: _HeaderName = "X-Guardrails"

    @model_validator(mode="after")
    def _of_its_api(self) -> Self:
        if self.api == "anthropic" and self.joined:
            raise ValueError("joined: Anthropic's API does not run Tocsin's middleware")
        if self.api != "anthropic" and self.max_tokens is not None:
            raise ValueError("max_tokens: only with api: anthropic")
        return self


class Target(_Model):
    """Where a model can be had: at an upstream, under which name for each of its versions."""

    upstream: Name
    versions: Annotated[dict[Name, Name], Field(min_length=1)]


class ModelEntry(_Model):
    """A model that clients may ask for: served by targets, or chosen by rules.

    Targets stand in the order of the fallback chain. A target without the version in force comes
    after those that have it and answers with the first version that it names.
    """

    targets: tuple[Target, ...] = ()
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.targets) == bool(self.rules):
            raise ValueError("a model has either targets or rules")
        if self.rules and not self.rules[-1].always:
            raise ValueError("the last rule needs no condition: it takes what is left")
        return self


class KeyEntry(_Model):
    """A client's API key, by its SHA-256; what it says of user, plan and feature is binding."""

    name: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    user: Name | None = None
    plan: Name | None = None
    feature: Name | None = None


class LimitRule(_Model):
    """A rate for each user, plan, feature or key, of those that match."""

    by: Literal["user", "plan", "feature", "key"]
    plan: Name | None = None
    feature: Name | None = None
    requests_per_minute: _Rate | None = None
    tokens_per_minute: _Rate | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ValueError("needs requests_per_minute or tokens_per_minute")
        return self


class GatewayFile(_Model):
    """The whole file. The first of ``limits`` holds unless `ai.ratelimit.profile` names another."""

    version: Literal[1]
    upstreams: Annotated[dict[Name, UpstreamEntry], Field(min_length=1, max_length=1_000)]
    models: Annotated[dict[Name, ModelEntry], Field(min_length=1)]
    keys: tuple[KeyEntry, ...] = ()
    limits: dict[Name, tuple[LimitRule, ...]] = Field(default_factory=dict)
    breaker: BreakerPolicy = BreakerPolicy()
    attempts: Annotated[int, Field(ge=1, le=20)] = 3

    @field_validator("keys")
    @classmethod
    def _keys_differ(cls, keys: tuple[KeyEntry, ...]) -> tuple[KeyEntry, ...]:
        seen: dict[str, str] = {}
        for key in keys:
            if other := seen.get(key.sha256):
                raise ValueError(f"{key.name} and {other} are the same key")
            seen[key.sha256] = key.name
        return keys

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, model in self.models.items():
            for target in model.targets:
                if target.upstream not in self.upstreams:
                    raise ValueError(f"models.{name}: no such upstream: {target.upstream}")
            for rule in model.rules:
                used = self.models.get(rule.use)
                if used is None or used.rules:
                    raise ValueError(f"models.{name}: {rule.use} is no model with targets")
        return self
