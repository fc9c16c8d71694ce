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
        SELECT provider, model_version AS version,
               count() AS requests,
               round(100 * countIf(failed) / requests, 1) AS `err %`,
               round(quantileExact(0.95)(ttft_s), 2) AS `ttft p95`,
               round(quantileExact(0.95)(e2e_s), 2) AS `e2e p95`,
               round(quantileExact(0.5)(1 / nullIf(tpot_s, 0))) AS `tok/s`,
               toDecimal64(sum(cost_usd), 4) AS usd,
               countIf(cost_usd IS NULL) AS `no cost`
        FROM requests
        GROUP BY provider, version
        ORDER BY provider DESC, version
        """,
    ),
    Question(
        "Who pays for what: cost by feature and plan?",
        """
        SELECT feature, plan,
               count() AS requests,
               uniqExact(user_id) AS users,
               toDecimal64(sum(cost_usd), 4) AS usd,
               toDecimal64(sum(cost_usd) / uniqExact(user_id), 5) AS `usd/user`,
               countIf(cost_usd IS NULL) AS `no cost`
        FROM requests
        GROUP BY feature, plan
        ORDER BY usd DESC NULLS LAST
        LIMIT 6
        """,
    ),
    Question(
        "What did judges and users say of each version?",
        """
        SELECT r.model_version AS version, requests, sampled, scored, mean_score AS score,
               thumbs_up AS `thumbs up`, thumbs_down AS `down`
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
        ORDER BY version
        """,
    ),
)
