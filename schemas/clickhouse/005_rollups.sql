-- Rollups, kept up by materialized views at each insert. Counts, sums and sketches are mergeable:
-- read them with sum(...) and quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(...) and GROUP BY.
-- Unknown is not zero: a sum is NULL when nothing in it was known, the *_unknown columns count what
-- is missing, and a percentile without samples is nan (its *_samples are 0).
CREATE TABLE IF NOT EXISTS performance_1m
(
    time                DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    provider            LowCardinality(String),
    model               LowCardinality(String),
    model_version       LowCardinality(String),
    route               LowCardinality(String),
    feature             LowCardinality(String),
    requests            SimpleAggregateFunction(sum, UInt64),
    errors              SimpleAggregateFunction(sum, UInt64),
    rejected            SimpleAggregateFunction(sum, UInt64),
    aborted             SimpleAggregateFunction(sum, UInt64),
    input_tokens        SimpleAggregateFunction(sum, Nullable(UInt64)),
    cached_input_tokens SimpleAggregateFunction(sum, Nullable(UInt64)),
    output_tokens       SimpleAggregateFunction(sum, Nullable(UInt64)),
    tokens_unknown      SimpleAggregateFunction(sum, UInt64),
    cost_usd            SimpleAggregateFunction(sum, Nullable(Decimal(38, 9))),
    cost_unknown        SimpleAggregateFunction(sum, UInt64),
    price_unknown       SimpleAggregateFunction(sum, UInt64),
    ttft_samples        SimpleAggregateFunction(sum, UInt64),
    e2e_samples         SimpleAggregateFunction(sum, UInt64),
    tpot_samples        SimpleAggregateFunction(sum, UInt64),
    ttft_s              AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Nullable(Float64)),
    e2e_s               AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64),
    tpot_s              AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Nullable(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (model, model_version, provider, route, feature, time)
TTL time + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS performance_1h
(
    time                DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    provider            LowCardinality(String),
    model               LowCardinality(String),
    model_version       LowCardinality(String),
    route               LowCardinality(String),
    feature             LowCardinality(String),
    requests            SimpleAggregateFunction(sum, UInt64),
    errors              SimpleAggregateFunction(sum, UInt64),
    rejected            SimpleAggregateFunction(sum, UInt64),
    aborted             SimpleAggregateFunction(sum, UInt64),
    input_tokens        SimpleAggregateFunction(sum, Nullable(UInt64)),
    cached_input_tokens SimpleAggregateFunction(sum, Nullable(UInt64)),
    output_tokens       SimpleAggregateFunction(sum, Nullable(UInt64)),
    tokens_unknown      SimpleAggregateFunction(sum, UInt64),
    cost_usd            SimpleAggregateFunction(sum, Nullable(Decimal(38, 9))),
    cost_unknown        SimpleAggregateFunction(sum, UInt64),
    price_unknown       SimpleAggregateFunction(sum, UInt64),
    ttft_samples        SimpleAggregateFunction(sum, UInt64),
    e2e_samples         SimpleAggregateFunction(sum, UInt64),
    tpot_samples        SimpleAggregateFunction(sum, UInt64),
    ttft_s              AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Nullable(Float64)),
    e2e_s               AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64),
    tpot_s              AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Nullable(Float64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (model, model_version, provider, route, feature, time)
TTL time + INTERVAL 800 DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS cost_1h
(
    time          DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    provider      LowCardinality(String),
    model         LowCardinality(String),
    feature       LowCardinality(String),
    user_id       String CODEC(ZSTD(1)),
    requests      SimpleAggregateFunction(sum, UInt64),
    input_tokens  SimpleAggregateFunction(sum, Nullable(UInt64)),
    output_tokens SimpleAggregateFunction(sum, Nullable(UInt64)),
    cost_usd      SimpleAggregateFunction(sum, Nullable(Decimal(38, 9))),
    cost_unknown  SimpleAggregateFunction(sum, UInt64),
    price_unknown SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (model, feature, time, provider, user_id)
TTL time + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000;

CREATE MATERIALIZED VIEW IF NOT EXISTS performance_1m_view TO performance_1m AS
SELECT
    toStartOfMinute(r.end_time) AS time,
    r.provider AS provider,
    r.model AS model,
    r.model_version AS model_version,
    r.route AS route,
    ifNull(r.feature, '') AS feature,
    count() AS requests,
    countIf(r.failed) AS errors,
    countIf(r.rejected) AS rejected,
    countIf(r.aborted) AS aborted,
    sum(r.input_tokens) AS input_tokens,
    sum(r.cached_input_tokens) AS cached_input_tokens,
    sum(r.output_tokens) AS output_tokens,
    countIf(isNull(r.input_tokens) OR isNull(r.output_tokens)) AS tokens_unknown,
    sum(r.cost_usd) AS cost_usd,
    countIf(isNull(r.cost_usd)) AS cost_unknown,
    countIf(isNull(r.cost_usd) AND isNotNull(r.input_tokens) AND isNotNull(r.output_tokens))
        AS price_unknown,
    count(r.ttft_s) AS ttft_samples,
    count(r.e2e_s) AS e2e_samples,
    count(r.tpot_s) AS tpot_samples,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.ttft_s) AS ttft_s,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.e2e_s) AS e2e_s,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.tpot_s) AS tpot_s
FROM requests AS r
GROUP BY time, provider, model, model_version, route, feature;

CREATE MATERIALIZED VIEW IF NOT EXISTS performance_1h_view TO performance_1h AS
SELECT
    toStartOfHour(r.end_time) AS time,
    r.provider AS provider,
    r.model AS model,
    r.model_version AS model_version,
    r.route AS route,
    ifNull(r.feature, '') AS feature,
    count() AS requests,
    countIf(r.failed) AS errors,
    countIf(r.rejected) AS rejected,
    countIf(r.aborted) AS aborted,
    sum(r.input_tokens) AS input_tokens,
    sum(r.cached_input_tokens) AS cached_input_tokens,
    sum(r.output_tokens) AS output_tokens,
    countIf(isNull(r.input_tokens) OR isNull(r.output_tokens)) AS tokens_unknown,
    sum(r.cost_usd) AS cost_usd,
    countIf(isNull(r.cost_usd)) AS cost_unknown,
    countIf(isNull(r.cost_usd) AND isNotNull(r.input_tokens) AND isNotNull(r.output_tokens))
        AS price_unknown,
    count(r.ttft_s) AS ttft_samples,
    count(r.e2e_s) AS e2e_samples,
    count(r.tpot_s) AS tpot_samples,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.ttft_s) AS ttft_s,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.e2e_s) AS e2e_s,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.tpot_s) AS tpot_s
FROM requests AS r
GROUP BY time, provider, model, model_version, route, feature;

CREATE MATERIALIZED VIEW IF NOT EXISTS cost_1h_view TO cost_1h AS
SELECT
    toStartOfHour(r.end_time) AS time,
    r.provider AS provider,
    r.model AS model,
    ifNull(r.feature, '') AS feature,
    ifNull(r.user_id, '') AS user_id,
    count() AS requests,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd) AS cost_usd,
    countIf(isNull(r.cost_usd)) AS cost_unknown,
    countIf(isNull(r.cost_usd) AND isNotNull(r.input_tokens) AND isNotNull(r.output_tokens))
        AS price_unknown
FROM requests AS r
GROUP BY time, provider, model, feature, user_id;
