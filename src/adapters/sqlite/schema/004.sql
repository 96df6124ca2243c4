-- What operators need over the years.

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
