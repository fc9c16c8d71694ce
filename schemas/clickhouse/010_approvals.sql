-- What waits for approval, who decided, and how the kill switch stands, beside the actions themselves.
-- ORDER BY stays: "what became of this action?" reads one action_id.
ALTER TABLE actions
    ADD COLUMN IF NOT EXISTS mode LowCardinality(String) AFTER status,
    ADD COLUMN IF NOT EXISTS proposal String AFTER mode,
    ADD COLUMN IF NOT EXISTS does String AFTER proposal,
    ADD COLUMN IF NOT EXISTS approvers Array(String) AFTER does,
    ADD COLUMN IF NOT EXISTS expires Nullable(DateTime64(6, 'UTC')) AFTER approvers,
    ADD COLUMN IF NOT EXISTS by String AFTER expires,
    ADD COLUMN IF NOT EXISTS command_id String AFTER by;

ALTER TABLE commands
    ADD COLUMN IF NOT EXISTS proposal String AFTER approve;
