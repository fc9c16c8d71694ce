"""Every metric of the streaming core, with its meaning; names follow Prometheus' conventions.

User ids never become labels: their number has no bound.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "BATCH_EVENTS",
    "DEAD_LETTERS",
    "DETECTOR_FAILURES",
    "DUPLICATES",
    "EVALS",
    "EVENTS",
    "FEEDBACK_UNMATCHED",
    "FIGURES_RESUMED",
    "GROUPS_TOLD",
    "INSERTS_IN_DOUBT",
    "INSERT_FAILURES",
    "INSERT_SECONDS",
    "LATE_REQUESTS",
    "MESSAGES_SENT",
    "NOTIFICATIONS",
    "RECEIVER_FAILING",
    "RECORDS",
    "REFUSED",
    "ROWS",
    "RULES_LOADED",
    "RULES_REFUSED",
    "RULE_FAILURES",
    "SIGNALS_REPEATED",
    "WATERMARK_LAG",
    "WINDOWS_CLOSED",
    "WINDOW_FAILURES",
    "WORKER_READY",
]

_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

RECORDS: Final = Counter("tocsin_records_total", "Kafka records taken in.", ["topic"])
EVENTS: Final = Counter("tocsin_events_total", "Request events decoded.")
BATCH_EVENTS: Final = Histogram(
    "tocsin_batch_events",
    "Events of one micro-batch.",
    buckets=[1, 10, 100, 1_000, 10_000, 100_000],
)
DEAD_LETTERS: Final = Counter(
    "tocsin_dead_letters_total", "Records or events sent to llm.dead-letter.", ["reason"]
)
DUPLICATES: Final = Counter(
    "tocsin_duplicates_total", "Events that were there already, and what told so.", ["how"]
)
REFUSED: Final = Counter(
    "tocsin_messages_refused_total",
    "Messages of Tocsin's own topics that were of another version, or that the store refused.",
    ["topic"],
)
DETECTOR_FAILURES: Final = Counter(
    "tocsin_detector_failures_total",
    "Evaluations that a source of signals could not do, for a fault of ours.",
    ["source"],
)
RULE_FAILURES: Final = Counter(
    "tocsin_rule_failures_total", "Steps that a rule could not take, for a fault of ours.", ["rule"]
)
RULES_LOADED: Final = Counter(
    "tocsin_rules_loaded_total", "Changed rules files that were taken over."
)
RULES_REFUSED: Final = Gauge(
    "tocsin_rules_refused", "1 while the rules file does not check, so that older rules stay."
)
SIGNALS_REPEATED: Final = Counter(
    "tocsin_signals_repeated_total", "Signals of evaluations that had ended, not looked at again."
)
ROWS: Final = Counter("tocsin_rows_inserted_total", "Rows that the store acknowledged.", ["table"])
INSERT_SECONDS: Final = Histogram(
    "tocsin_insert_seconds", "Time of one insert.", ["table"], buckets=_FAST
)
INSERT_FAILURES: Final = Counter(
    "tocsin_insert_failures_total", "Inserts that failed and were tried again.", ["table"]
)
INSERTS_IN_DOUBT: Final = Counter(
    "tocsin_inserts_in_doubt_total",
    "Inserts of dead workers whose rollups may lack them, found too late to be repeated.",
)
MESSAGES_SENT: Final = Counter(
    "tocsin_messages_sent_total", "Messages that the broker acknowledged.", ["topic"]
)
WINDOWS_CLOSED: Final = Counter(
    "tocsin_windows_closed_total", "Windows closed, corrections included.", ["correction"]
)
WINDOW_FAILURES: Final = Counter(
    "tocsin_window_failures_total", "Events stored but in no window, for a fault of ours."
)
LATE_REQUESTS: Final = Gauge(
    "tocsin_late_requests", "Requests too late for any correction of their window, since start."
)
WATERMARK_LAG: Final = Gauge(
    "tocsin_watermark_lag_seconds", "Wall clock minus the watermark of the closed windows."
)
FIGURES_RESUMED: Final = Gauge(
    "tocsin_figures_resumed",
    "1 once baselines, references and lookbacks stand where another worker's stood; until then "
    "nothing is evaluated.",
)
EVALS: Final = Counter(
    "tocsin_evals_total", "Sampled requests by what the judge made of them.", ["outcome"]
)
FEEDBACK_UNMATCHED: Final = Counter(
    "tocsin_feedback_unmatched_total", "Feedback whose request the store does not hold."
)
NOTIFICATIONS: Final = Counter(
    "tocsin_notifications_total", "Deliveries by receiver and outcome.", ["notifier", "outcome"]
)
GROUPS_TOLD: Final = Counter(
    "tocsin_groups_told_total", "Messages made of groups of incidents, and why.", ["reason"]
)
RECEIVER_FAILING: Final = Gauge(
    "tocsin_receiver_failing", "1 while a receiver takes no notifications.", ["notifier"]
)
WORKER_READY: Final = Gauge(
    "tocsin_worker_ready", "1 once tables are recovered and partitions are read."
)
