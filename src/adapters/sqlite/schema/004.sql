-- What operators need over the years.

-- The beginning of the last stretch of failure that a webhook was warned of.
ALTER TABLE tidings_webhook ADD COLUMN warned INTEGER;

-- Replays: past events that are delivered once more, in small steps. `due` is when the next one is to be
-- done, while there is something left to do.
CREATE TABLE tidings_replay (
    id BLOB NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    mode INTEGER NOT NULL,
    webhook BLOB,                       -- its id; null where it is for all of an account
    due INTEGER,
    ended INTEGER,
    record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX tidings_replay_due ON tidings_replay (due) WHERE due IS NOT NULL;
CREATE INDEX tidings_replay_ended ON tidings_replay (ended) WHERE ended IS NOT NULL;
-- What of a replay (or a redelivery) is not sent yet. Routed deliveries are not in it.
CREATE INDEX tidings_delivery_cause ON tidings_delivery (cause) WHERE cause IS NOT NULL AND state <= 1;
