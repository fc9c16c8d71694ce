-- Which upstreams failed before one answered: `SELECT arrayJoin(failed_attempts), count()`.
ALTER TABLE requests
    ADD COLUMN IF NOT EXISTS failed_attempts Array(LowCardinality(String)) CODEC(ZSTD(1));
