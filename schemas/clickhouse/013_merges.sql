-- Merges of what was just inserted cost the store more than the inserts did. With a higher base a row is
-- rewritten fewer times, for some twenty parts a day in place of fourteen; the more parts a day has and
-- the older they are, the less of it counts, so they stay bounded (docs/adr/0003).
ALTER TABLE requests MODIFY SETTING merge_selector_base = 15;

ALTER TABLE performance_1m MODIFY SETTING merge_selector_base = 15;

ALTER TABLE performance_1h MODIFY SETTING merge_selector_base = 15;

ALTER TABLE cost_1h MODIFY SETTING merge_selector_base = 15;
