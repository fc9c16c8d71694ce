-- One row a request. Analysts ask for a model's last hours, so time leads the partition and
-- the model the key; the event id ends it, so that one request is found within its minute.
CREATE TABLE IF NOT EXISTS requests
(
    event_id            UUID,
    request_id          String CODEC(ZSTD(1)),
    schema_version      UInt8,
    start_time          DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    end_time            DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    server              LowCardinality(String),
    provider            LowCardinality(String),
    model               LowCardinality(String),
    model_version       LowCardinality(String),
    lora_adapter        LowCardinality(Nullable(String)),
    operation           LowCardinality(String),
    stream              Bool,
    route               LowCardinality(String),
    feature             LowCardinality(Nullable(String)),
    user_id             Nullable(String) CODEC(ZSTD(1)),
    plan                LowCardinality(Nullable(String)),
    status_code         UInt16,
    error_type          LowCardinality(Nullable(String)),
    failed              Bool,
    rejected            Bool,
    aborted             Bool,
    finish_reasons      Array(LowCardinality(String)),
    input_tokens        Nullable(UInt32) CODEC(T64, ZSTD(1)),
    cached_input_tokens Nullable(UInt32) CODEC(T64, ZSTD(1)),
    output_tokens       Nullable(UInt32) CODEC(T64, ZSTD(1)),
    tokens_estimated    Bool,
    cost_usd            Nullable(Decimal(18, 9)),
    ttft_s              Nullable(Float64) CODEC(Gorilla, ZSTD(1)),
    itl_mean_s          Nullable(Float64) CODEC(Gorilla, ZSTD(1)),
    itl_max_s           Nullable(Float64) CODEC(Gorilla, ZSTD(1)),
    tpot_s              Nullable(Float64) CODEC(Gorilla, ZSTD(1)),
    e2e_s               Float64 CODEC(Gorilla, ZSTD(1)),
    queue_s             Nullable(Float64) CODEC(Gorilla, ZSTD(1)),
    prefill_s           Nullable(Float64) CODEC(Gorilla, ZSTD(1)),
    decode_s            Nullable(Float64) CODEC(Gorilla, ZSTD(1)),
    preemptions         Nullable(UInt32),
    prompt_hash         Nullable(FixedString(64)) CODEC(ZSTD(1)),
    prompt_redacted     Nullable(String) TTL toDateTime(end_time) + INTERVAL 30 DAY,
    output_redacted     Nullable(String) TTL toDateTime(end_time) + INTERVAL 30 DAY,
    kafka_log           LowCardinality(String),
    kafka_topic         LowCardinality(String),
    kafka_partition     UInt16,
    kafka_offset        UInt64 CODEC(Delta, ZSTD(1)),
    kafka_index         UInt32,
    ingested_at         DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
PARTITION BY toDate(end_time)
ORDER BY (model, model_version, toStartOfMinute(end_time), event_id)
TTL toDateTime(end_time) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 1000;
