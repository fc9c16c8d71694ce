-- Sketches of closed windows (detectors/packed.py): any percentile over any lookback, for a worker that
-- builds its figures anew and for a backtest. No bytes where nothing was sketched. Figures stay for
-- 400 days, sketches, which are most of a row, for 35.
ALTER TABLE windows
    ADD COLUMN IF NOT EXISTS ttft_sketch String CODEC(ZSTD(1))
        TTL toDateTime(window_start) + INTERVAL 35 DAY;

ALTER TABLE windows
    ADD COLUMN IF NOT EXISTS e2e_sketch String CODEC(ZSTD(1))
        TTL toDateTime(window_start) + INTERVAL 35 DAY;

ALTER TABLE windows
    ADD COLUMN IF NOT EXISTS tpot_sketch String CODEC(ZSTD(1))
        TTL toDateTime(window_start) + INTERVAL 35 DAY;

ALTER TABLE windows
    ADD COLUMN IF NOT EXISTS input_tokens_sketch String CODEC(ZSTD(1))
        TTL toDateTime(window_start) + INTERVAL 35 DAY;

ALTER TABLE windows
    ADD COLUMN IF NOT EXISTS output_tokens_sketch String CODEC(ZSTD(1))
        TTL toDateTime(window_start) + INTERVAL 35 DAY;

-- What detectors have learnt, for a worker that begins: a point for each value that a baseline took
-- in, a snapshot now and then of what is more than values. A snapshot's slot is taken again by a
-- later one; a row ends when no detector would look at it (docs/adr/0011).
-- ORDER BY: "what did this detector know of this series?" reads one stretch.
CREATE TABLE IF NOT EXISTS detector_memory
(
    kind        LowCardinality(String),
    asked       LowCardinality(String),
    series      Array(String),
    slot        Int64 CODEC(Delta, ZSTD(1)),
    at          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    state       String CODEC(ZSTD(3)),
    expires     DateTime('UTC') CODEC(Delta, ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(at)
PARTITION BY toYYYYMM(expires)
ORDER BY (kind, asked, series, slot)
TTL expires
SETTINGS ttl_only_drop_parts = 1;
