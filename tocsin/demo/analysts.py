"""Three questions that an analyst would ask of what the demo left in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["QUESTIONS", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question in words and in SQL."""

    text: str
    sql: str


QUESTIONS: Final[tuple[Question, ...]] = (
    Question(
        "How did the versions and providers compare?",
        """
        SELECT provider, model_version,
               count() AS requests,
               round(100 * countIf(failed) / requests, 2) AS error_percent,
               countIf(aborted) AS aborted,
               round(quantileExact(0.95)(ttft_s), 3) AS ttft_p95_s,
               round(quantileExact(0.95)(e2e_s), 3) AS e2e_p95_s,
               round(quantileExact(0.5)(1 / nullIf(tpot_s, 0)), 1) AS tokens_per_s_p50,
               sum(cost_usd) AS usd,
               countIf(cost_usd IS NULL) AS cost_unknown
        FROM requests
        GROUP BY provider, model_version
        ORDER BY provider DESC, model_version
        """,
    ),
    Question(
        "Who pays for what: cost by feature and plan, and the margin that errors ate?",
        """
        SELECT feature, plan,
               count() AS requests,
               uniqExact(user_id) AS users,
               sum(cost_usd) AS usd,
               sumIf(cost_usd, failed OR aborted) AS usd_for_lost_answers,
               countIf(cost_usd IS NULL) AS cost_unknown
        FROM requests
        GROUP BY feature, plan
        ORDER BY usd DESC NULLS LAST
        LIMIT 8
        """,
    ),
    Question(
        "What did judges and users say of each version?",
        """
        SELECT r.model_version AS model_version, requests, sampled, scored, mean_score,
               thumbs_up, thumbs_down
        FROM
        (
            SELECT model_version, count() AS requests FROM requests GROUP BY model_version
        ) AS r
        LEFT JOIN
        (
            SELECT labels['model_version'] AS model_version,
                   count() AS sampled,
                   countIf(outcome = 'scored') AS scored,
                   round(avg(score), 3) AS mean_score
            FROM evals FINAL
            GROUP BY model_version
        ) AS e ON e.model_version = r.model_version
        LEFT JOIN
        (
            SELECT model_version,
                   countIf(thumb = 'up') AS thumbs_up,
                   countIf(thumb = 'down') AS thumbs_down
            FROM feedback FINAL
            WHERE matched
            GROUP BY model_version
        ) AS f ON f.model_version = r.model_version
        ORDER BY model_version
        """,
    ),
)
