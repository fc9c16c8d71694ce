-- Which insert brought a row. Rows and rollups are not written in one step: a store that dies amid an
-- insert may have the rows without their sums. A partition's next owner finds the insert by these
-- columns and repeats it under its own name, which writes only what is missing (docs/adr/0008).
ALTER TABLE requests
    ADD COLUMN IF NOT EXISTS insert_writer LowCardinality(String);

ALTER TABLE requests
    ADD COLUMN IF NOT EXISTS insert_number UInt32 CODEC(Delta, ZSTD(1));

-- At ten inserts a second from each worker, the last 1,000 were soon forgotten.
ALTER TABLE requests MODIFY SETTING non_replicated_deduplication_window = 20000;

ALTER TABLE performance_1m MODIFY SETTING non_replicated_deduplication_window = 20000;

ALTER TABLE performance_1h MODIFY SETTING non_replicated_deduplication_window = 20000;

ALTER TABLE cost_1h MODIFY SETTING non_replicated_deduplication_window = 20000;
