"""The levers an escalation may pull: each plans, checks, acts, reads back and can be undone."""

from __future__ import annotations

import time
from collections.abc import Mapping

from schemas.action import ActionKind
from schemas.settings import Settings
from serving.actuators.adapter import AdapterUnload
from serving.actuators.base import Actuator, Plan, ReadBack, Refusal
from serving.actuators.canary_off import CanaryOff
from serving.actuators.carry_out import carry_out
from serving.actuators.chain_switch import ChainSwitch
from serving.actuators.fallback import Fallback
from serving.actuators.kubernetes_scale import KubernetesScale
from serving.actuators.kubernetes_undo import KubernetesUndo
from serving.actuators.ledger import ActionLedger
from serving.actuators.litellm_fallback import LiteLLMFallback
from serving.actuators.litellm_limit import LiteLLMLimit
from serving.actuators.rate_limit import RateLimit
from serving.actuators.rollback import Rollback
from serving.actuators.webhook_scale import WebhookScale
from serving.flags.store import FlagStore

__all__ = ["Actuator", "Fallback", "Plan", "ReadBack", "Refusal", "Rollback", "carry_out", "levers"]


def levers(store: FlagStore, settings: Settings) -> Mapping[ActionKind, Actuator]:
    """Return the actuator for each kind of action that there is one for.

    The flags' own are always there; a system beside them takes its kinds over when it is set up.
    """
    own = settings.actuators
    ledger = ActionLedger(store.path.with_name(f"{store.path.stem}.actions.json"))
    found: dict[ActionKind, Actuator] = {
        ActionKind.ROLLBACK: Rollback(store, promotion_age_s=own.promotion_age_s),
        ActionKind.FALLBACK: Fallback(store),
        ActionKind.RATE_LIMIT: RateLimit(store),
        ActionKind.CANARY_OFF: CanaryOff(store),
        ActionKind.CHAIN_ON: ChainSwitch(store, on=True),
        ActionKind.CHAIN_OFF: ChainSwitch(store, on=False),
    }
    if own.kubernetes.api_url:
        found[ActionKind.SCALE_UP] = KubernetesScale(ledger, own.kubernetes)
        found[ActionKind.ROLLOUT_UNDO] = KubernetesUndo(ledger, own.kubernetes)
    if own.webhook.url:
        found[ActionKind.SCALE_UP] = WebhookScale(ledger, own.webhook, now_s=time.time)
    if own.adapters.base_url:
        found[ActionKind.UNLOAD_ADAPTER] = AdapterUnload(ledger, own.adapters)
    if own.litellm.base_url and own.litellm.fallback_models:
        found[ActionKind.FALLBACK] = LiteLLMFallback(ledger, own.litellm)
    if own.litellm.base_url and own.litellm.key_hash:
        found[ActionKind.RATE_LIMIT] = LiteLLMLimit(ledger, own.litellm)
    return found
