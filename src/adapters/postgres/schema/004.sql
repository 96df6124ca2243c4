-- What operators need over the years.

-- The beginning of the last stretch of failure that a webhook was warned of.
ALTER TABLE {s}.webhook ADD COLUMN warned bigint;

-- Replays: past events that are delivered once more, in small steps. `due` is when the next one is to be
-- done, while there is something left to do.
CREATE TABLE {s}.replay (
    id uuid PRIMARY KEY,
    account text COLLATE "C" NOT NULL,
    mode boolean NOT NULL,
    webhook uuid,                       -- its id; null where it is for all of an account
    due bigint,
    ended bigint,
    record text NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX replay_due ON {s}.replay (due, id) WHERE due IS NOT NULL;
CREATE INDEX replay_ended ON {s}.replay (ended) WHERE ended IS NOT NULL;
-- What of a replay (or a redelivery) is not sent yet. Routed deliveries are not in them.
CREATE INDEX waiting_cause ON {s}.waiting (cause) WHERE cause IS NOT NULL;
CREATE INDEX leased_cause ON {s}.leased (cause) WHERE cause IS NOT NULL;
