-- What the loop said and did: signals, alerts, actions.
CREATE TABLE IF NOT EXISTS signals
(
    signal      LowCardinality(String),
    labels      Map(LowCardinality(String), String),
    over_s      Float64,
    window_end  DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    value       Nullable(Float64),
    samples     UInt64,
    baseline    Nullable(Float64),
    detector    LowCardinality(String),
    detail      Map(LowCardinality(String), Float64),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
-- Said again after a restart, with less of the past behind it, a signal does not replace the first.
ENGINE = ReplacingMergeTree(samples)
PARTITION BY toYYYYMM(window_end)
ORDER BY (signal, labels, over_s, window_end)
TTL toDateTime(window_end) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS alerts
(
    fingerprint  String,
    incident_id  String,
    rule         LowCardinality(String),
    labels       Map(LowCardinality(String), String),
    severity     LowCardinality(String),
    from_phase   LowCardinality(String),
    to_phase     LowCardinality(String),
    step         Nullable(String),
    value        Nullable(Float64),
    samples      UInt64,
    reason       String,
    at           DateTime64(6, 'UTC'),
    kafka_log    LowCardinality(String),
    kafka_partition UInt16,
    kafka_offset UInt64,
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(at)
ORDER BY (rule, fingerprint, at, kafka_log, kafka_offset)
TTL toDateTime(at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS actions
(
    type         LowCardinality(String),
    action_id    String,
    kind         LowCardinality(String),
    fingerprint  String,
    incident_id  String,
    rule         LowCardinality(String),
    step         LowCardinality(String),
    labels       Map(LowCardinality(String), String),
    status       LowCardinality(String),
    actuator     LowCardinality(String),
    executor     LowCardinality(String),
    recovered    Nullable(Bool),
    value        Nullable(Float64),
    reason       String,
    evidence     Map(LowCardinality(String), Float64),
    before       String,
    after        String,
    inverse      String,
    at           DateTime64(6, 'UTC'),
    kafka_log    LowCardinality(String),
    kafka_partition UInt16,
    kafka_offset UInt64,
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(at)
ORDER BY (action_id, at, type, kafka_log, kafka_offset)
TTL toDateTime(at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS flags
(
    key              LowCardinality(String),
    variants         Map(String, String),
    variant          LowCardinality(String),
    previous_variant Nullable(String),
    revision         UInt64,
    changed_by       String,
    reason           String,
    at               DateTime64(6, 'UTC'),
    kafka_log        LowCardinality(String),
    kafka_partition  UInt16,
    kafka_offset     UInt64,
    ingested_at      DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(at)
ORDER BY (key, at, revision, kafka_log, kafka_offset)
TTL toDateTime(at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;
