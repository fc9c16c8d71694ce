-- Rollups, kept up by materialized views at each insert, read through the views at the end. Unknown
-- is not zero: a sum is NULL when nothing in it was known, a percentile is NULL without samples, and
-- the *_unknown columns count what is missing.
-- The sketches hold microseconds: quantilesDD is within its 1 % for values from 1 upwards, but up to
-- 3 % too high below 1, where seconds would lie (docs/adr/0003).
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
    ttft_us             AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Nullable(Float64)),
    e2e_us              AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64),
    tpot_us             AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Nullable(Float64))
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
    ttft_us             AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Nullable(Float64)),
    e2e_us              AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Float64),
    tpot_us             AggregateFunction(quantilesDD(0.01, 0.5, 0.95, 0.99), Nullable(Float64))
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
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.ttft_s * 1e6) AS ttft_us,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.e2e_s * 1e6) AS e2e_us,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.tpot_s * 1e6) AS tpot_us
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
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.ttft_s * 1e6) AS ttft_us,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.e2e_s * 1e6) AS e2e_us,
    quantilesDDState(0.01, 0.5, 0.95, 0.99)(r.tpot_s * 1e6) AS tpot_us
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

CREATE VIEW IF NOT EXISTS performance_by_minute AS
SELECT
    p.time AS time,
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
    if(sum(p.ttft_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.ttft_us)[1] / 1e6) AS ttft_p50_s,
    if(sum(p.ttft_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.ttft_us)[2] / 1e6) AS ttft_p95_s,
    if(sum(p.ttft_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.ttft_us)[3] / 1e6) AS ttft_p99_s,
    if(sum(p.e2e_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.e2e_us)[1] / 1e6) AS e2e_p50_s,
    if(sum(p.e2e_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.e2e_us)[2] / 1e6) AS e2e_p95_s,
    if(sum(p.e2e_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.e2e_us)[3] / 1e6) AS e2e_p99_s,
    if(sum(p.tpot_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.tpot_us)[1] / 1e6) AS tpot_p50_s,
    if(sum(p.tpot_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.tpot_us)[2] / 1e6) AS tpot_p95_s,
    if(sum(p.tpot_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.tpot_us)[3] / 1e6) AS tpot_p99_s
FROM performance_1m AS p
GROUP BY time, provider, model, model_version, route, feature;

CREATE VIEW IF NOT EXISTS performance_by_hour AS
SELECT
    p.time AS time,
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
    if(sum(p.ttft_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.ttft_us)[1] / 1e6) AS ttft_p50_s,
    if(sum(p.ttft_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.ttft_us)[2] / 1e6) AS ttft_p95_s,
    if(sum(p.ttft_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.ttft_us)[3] / 1e6) AS ttft_p99_s,
    if(sum(p.e2e_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.e2e_us)[1] / 1e6) AS e2e_p50_s,
    if(sum(p.e2e_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.e2e_us)[2] / 1e6) AS e2e_p95_s,
    if(sum(p.e2e_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.e2e_us)[3] / 1e6) AS e2e_p99_s,
    if(sum(p.tpot_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.tpot_us)[1] / 1e6) AS tpot_p50_s,
    if(sum(p.tpot_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.tpot_us)[2] / 1e6) AS tpot_p95_s,
    if(sum(p.tpot_samples) = 0, NULL,
        quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(p.tpot_us)[3] / 1e6) AS tpot_p99_s
FROM performance_1h AS p
GROUP BY time, provider, model, model_version, route, feature;
