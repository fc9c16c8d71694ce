-- What people asked of alerting: who silenced, acknowledged or decided what, when and why.
-- ORDER BY: "what happened to this incident or silence?" reads one subject.
CREATE TABLE IF NOT EXISTS commands
(
    type          LowCardinality(String),
    command_id    String,
    subject       String,
    incident_id   String,
    by            String,
    via           LowCardinality(String),
    reason        String,
    matchers      Array(String),
    starts        Nullable(DateTime64(6, 'UTC')),
    ends          Nullable(DateTime64(6, 'UTC')),
    mutes_actions Nullable(Bool),
    approve       Nullable(Bool),
    at            DateTime64(6, 'UTC'),
    kafka_log     LowCardinality(String),
    kafka_partition UInt16,
    kafka_offset  UInt64,
    ingested_at   DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(ingested_at)
PARTITION BY toYYYYMM(at)
ORDER BY (subject, at, command_id, kafka_log, kafka_offset)
TTL toDateTime(at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;
