-- One row a request. The key begins with what analysts filter and group by, then the minute; the
-- event id ends it, so that one request is found within its minute. docs/adr/0003 says why.
CREATE TABLE IF NOT EXISTS requests
(
    event_id            UUID CODEC(ZSTD(1)),
    request_id          String CODEC(ZSTD(1)),
    schema_version      UInt8,
    start_time          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    end_time            DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
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
    cost_usd            Nullable(Decimal(18, 9)) CODEC(T64, ZSTD(1)),
    ttft_s              Nullable(Float64) CODEC(ZSTD(1)),
    itl_mean_s          Nullable(Float64) CODEC(ZSTD(1)),
    itl_max_s           Nullable(Float64) CODEC(ZSTD(1)),
    tpot_s              Nullable(Float64) CODEC(ZSTD(1)),
    e2e_s               Float64 CODEC(ZSTD(1)),
    queue_s             Nullable(Float64) CODEC(ZSTD(1)),
    prefill_s           Nullable(Float64) CODEC(ZSTD(1)),
    decode_s            Nullable(Float64) CODEC(ZSTD(1)),
    preemptions         Nullable(UInt32) CODEC(T64, ZSTD(1)),
    prompt_hash         Nullable(FixedString(64)) CODEC(ZSTD(1)),
    prompt_redacted     Nullable(String) CODEC(ZSTD(3)) TTL toDateTime(end_time) + INTERVAL 90 DAY,
    output_redacted     Nullable(String) CODEC(ZSTD(3)) TTL toDateTime(end_time) + INTERVAL 90 DAY,
    kafka_log           LowCardinality(String),
    kafka_topic         LowCardinality(String),
    kafka_partition     UInt16,
    kafka_offset        UInt64 CODEC(Delta, ZSTD(1)),
    kafka_index         UInt32 CODEC(Delta, ZSTD(1)),
    ingested_at         DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1)),

    -- A user's rows (to erase them) and a request's row (to join feedback) without a full scan.
    INDEX user_id_seen user_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX request_id_seen request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    -- What the store holds of each partition of the log, which a starting worker asks for.
    PROJECTION held
    (
        SELECT kafka_log, kafka_topic, kafka_partition, max(kafka_offset)
        GROUP BY kafka_log, kafka_topic, kafka_partition
    )
)
ENGINE = MergeTree
PARTITION BY toDate(end_time)
ORDER BY (model, model_version, toStartOfMinute(end_time), event_id)
TTL toDateTime(end_time) + INTERVAL 180 DAY
SETTINGS
    non_replicated_deduplication_window = 1000,
    ttl_only_drop_parts = 1,
    lightweight_mutation_projection_mode = 'rebuild';
