-- One row a closed window of a series. A window only ever grows, so of several rows for one window
-- that with the most requests is the newest, whichever worker wrote it.
CREATE TABLE IF NOT EXISTS windows
(
    window_start        DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    window_end          DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    provider            LowCardinality(String),
    model               LowCardinality(String),
    model_version       LowCardinality(String),
    route               LowCardinality(String),
    feature             LowCardinality(String),
    labels              Map(LowCardinality(String), String),
    revision            UInt32,
    requests            UInt64,
    errors              UInt64,
    rejected            UInt64,
    aborted             UInt64,
    input_tokens        UInt64,
    cached_input_tokens UInt64,
    output_tokens       UInt64,
    tokens_unknown      UInt64,
    cost_usd            Nullable(Decimal(18, 9)),
    cost_unknown        UInt64,
    price_unknown       UInt64,
    ttft_p50_s          Nullable(Float64),
    ttft_p95_s          Nullable(Float64),
    ttft_p99_s          Nullable(Float64),
    e2e_p50_s           Nullable(Float64),
    e2e_p95_s           Nullable(Float64),
    e2e_p99_s           Nullable(Float64),
    tpot_p50_s          Nullable(Float64),
    tpot_p95_s          Nullable(Float64),
    tpot_p99_s          Nullable(Float64),
    output_tokens_per_s Nullable(Float64),
    closed_at           DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(requests)
PARTITION BY toYYYYMM(window_start)
ORDER BY (model, model_version, provider, route, feature, window_start, labels)
TTL toDateTime(window_start) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;
