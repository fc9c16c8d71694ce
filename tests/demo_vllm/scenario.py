"""Who is who in the demo, and what it waits for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = [
    "CLIENTS",
    "DEAD",
    "FALLBACK_RULE",
    "GOOD",
    "LATE",
    "MODEL",
    "PROVIDER",
    "RULES",
    "SERVED",
    "Scenario",
    "Story",
]

MODEL: Final = "assistant"
"""What clients ask for; the servers know their versions under names of their own."""
PROVIDER: Final = "vllm"
RULES: Final = Path(__file__).parent / "rules.yaml"
CLIENTS: Final = 12


@dataclass(frozen=True, slots=True)
class Story:
    """A version that goes wrong, and the rule that has to notice."""

    version: str
    rule: str
    title: str


GOOD: Final = "v1"
DEAD: Final = Story("v2", "error-rate", "v2 killed in mid-stream (SIGKILL)")
LATE: Final = Story("v3", "first-token-late", "v3 promoted, which serves one request at a time")
FALLBACK_RULE: Final = "fallback-serves"
"""Rings while another version answers for one that is dead."""
SERVED: Final = {version: f"tiny-{version}" for version in (GOOD, DEAD.version, LATE.version)}


@dataclass(frozen=True, slots=True)
class Scenario:
    """``time_scale`` divides the rules' durations; ``patience_s`` bounds each wait.

    ``kill`` says which process dies: the one that computes, after which vLLM tells its clients and
    ends itself, or the one that serves, after which nobody tells anything.
    """

    kill: Literal["engine", "server"] = "engine"
    time_scale: float = 20
    patience_s: float = 150
    stream_s: float = 1.5
    """How long an answer should take: long enough that many are under way at any moment."""
