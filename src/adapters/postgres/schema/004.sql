-- What operators need over the years.

-- The beginning of the last stretch of failure that a webhook was warned of.
ALTER TABLE {s}.webhook ADD COLUMN warned bigint;
