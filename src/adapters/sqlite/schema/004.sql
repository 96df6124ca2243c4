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

-- Statistics: numbers that are added to as things happen. What a measure is, the code knows. A webhook's
-- row stays for as long as it has some.
CREATE TABLE tidings_statistic (
    webhook INTEGER NOT NULL,
    hour INTEGER NOT NULL,              -- since 1970
    measure INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (webhook, hour, measure)
) WITHOUT ROWID;
CREATE INDEX tidings_statistic_hour ON tidings_statistic (hour);

-- Events know the trace that they belong to: traceparent, and after a space tracestate if there is one.
ALTER TABLE tidings_event ADD COLUMN trace TEXT;

-- The same view as before, with the new column. A program that does not know of it leaves it out.
DROP TRIGGER tidings_publish_insert;
DROP VIEW tidings_publish;
CREATE VIEW tidings_publish AS
    SELECT id, account, mode, type, created, published, digest, payload, order_key, renderings, trace
    FROM tidings_event;
CREATE TRIGGER tidings_publish_insert INSTEAD OF INSERT ON tidings_publish
BEGIN
    INSERT INTO tidings_event
        (id, account, mode, type, created, published, digest, payload, order_key, renderings, trace)
    SELECT NEW.id, NEW.account, NEW.mode, NEW.type, NEW.created, NEW.published, NEW.digest,
        NEW.payload, NEW.order_key, NEW.renderings, NEW.trace
    WHERE NOT EXISTS (SELECT 1 FROM tidings_event WHERE id = NEW.id);
    INSERT INTO tidings_mark (account, seq) SELECT NEW.account, last_insert_rowid()
    WHERE changes() > 0;
END;
