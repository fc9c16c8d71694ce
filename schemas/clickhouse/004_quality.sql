-- What judges and users said, and what could not be read.
CREATE TABLE IF NOT EXISTS evals
(
    eval_id      UUID,
    event_id     UUID,
    request_id   String,
    request_end  DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    at           DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    evaluator    LowCardinality(String),
    judge_model  LowCardinality(String),
    labels       Map(LowCardinality(String), String),
    outcome      LowCardinality(String),
    score        Nullable(Float64),
    explanation  Nullable(String) CODEC(ZSTD(3)) TTL toDateTime(request_end) + INTERVAL 90 DAY,
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3),
    INDEX event_id_seen event_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(request_end)
ORDER BY (evaluator, request_end, eval_id)
TTL toDateTime(request_end) + INTERVAL 180 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS feedback
(
    feedback_id         UUID,
    request_id          String,
    at                  DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    user_id             Nullable(String),
    thumb               LowCardinality(Nullable(String)),
    correction_redacted Nullable(String) CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,
    matched             Bool,
    provider            LowCardinality(String),
    model               LowCardinality(String),
    model_version       LowCardinality(String),
    feature             LowCardinality(String),
    ingested_at         DateTime64(3, 'UTC') DEFAULT now64(3),
    INDEX user_id_seen user_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(at)
ORDER BY (request_id, feedback_id)
TTL toDateTime(at) + INTERVAL 180 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS dead_letters
(
    reason       LowCardinality(String),
    detail       String,
    topic        LowCardinality(String),
    partition    UInt16,
    offset       UInt64,
    `index`      Nullable(UInt32),
    payload      String CODEC(ZSTD(3)),
    payload_size UInt64,
    at           DateTime64(6, 'UTC'),
    kafka_log    LowCardinality(String),
    kafka_offset UInt64,
    kafka_partition UInt16,
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(at)
-- By where the bad record stood, not where its letter does: a letter sent twice is one row.
ORDER BY (topic, partition, offset, kafka_log, ifNull(`index`, 4294967295))
TTL toDateTime(at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS engine_samples
(
    server                      LowCardinality(String),
    engine_index                UInt16,
    at                          DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    model                       LowCardinality(String),
    running_requests            UInt32,
    waiting_requests            UInt32,
    kv_cache_usage              Nullable(Float64),
    prefix_cache_hit_rate       Nullable(Float64),
    spec_decode_acceptance_rate Nullable(Float64),
    gpu_utilization             Nullable(Float64),
    ingested_at                 DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(at)
ORDER BY (server, engine_index, at)
TTL toDateTime(at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;
