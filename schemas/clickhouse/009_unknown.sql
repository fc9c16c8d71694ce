-- A span may tell neither an HTTP status nor whether a stream was asked for: unknown is NULL.
ALTER TABLE requests MODIFY COLUMN status_code Nullable(UInt16);

ALTER TABLE requests MODIFY COLUMN stream Nullable(Bool);
