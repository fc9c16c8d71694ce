-- The hours from the minutes' few hundred rows an insert instead of from every request: a quarter of
-- what an insert costs. A chain carries the insert's token as the views on `requests` do, so that an
-- insert repeated under its name completes the hours, too (docs/adr/0008).
-- Between the two statements an insert would miss the hours: no worker takes in anything before its
-- store is migrated, and those of an older version are to be stopped first.
DROP VIEW IF EXISTS performance_1h_view;

CREATE MATERIALIZED VIEW IF NOT EXISTS performance_1h_view TO performance_1h AS
SELECT
    toStartOfHour(p.time) AS time,
    p.provider AS provider,
    p.model AS model,
    p.model_version AS model_version,
    p.route AS route,
    p.feature AS feature,
    sum(p.requests) AS requests,
    sum(p.errors) AS errors,
    sum(p.rejected) AS rejected,
    sum(p.aborted) AS aborted,
    sum(p.input_tokens) AS input_tokens,
    sum(p.cached_input_tokens) AS cached_input_tokens,
    sum(p.output_tokens) AS output_tokens,
    sum(p.tokens_unknown) AS tokens_unknown,
    sum(p.cost_usd) AS cost_usd,
    sum(p.cost_unknown) AS cost_unknown,
    sum(p.price_unknown) AS price_unknown,
    sum(p.ttft_samples) AS ttft_samples,
    sum(p.e2e_samples) AS e2e_samples,
    sum(p.tpot_samples) AS tpot_samples,
    quantilesDDMergeState(0.01, 0.5, 0.95, 0.99)(p.ttft_us) AS ttft_us,
    quantilesDDMergeState(0.01, 0.5, 0.95, 0.99)(p.e2e_us) AS e2e_us,
    quantilesDDMergeState(0.01, 0.5, 0.95, 0.99)(p.tpot_us) AS tpot_us
FROM performance_1m AS p
GROUP BY time, provider, model, model_version, route, feature;
