-- Events have payloads for older versions of the host's API beside their own.
ALTER TABLE tidings_event ADD COLUMN renderings TEXT;

-- The same view as before, with the new column. A program that does not know of it leaves it out.
DROP TRIGGER tidings_publish_insert;
DROP VIEW tidings_publish;
CREATE VIEW tidings_publish AS
    SELECT id, account, mode, type, created, published, digest, payload, order_key, renderings
    FROM tidings_event;
CREATE TRIGGER tidings_publish_insert INSTEAD OF INSERT ON tidings_publish
BEGIN
    INSERT INTO tidings_event
        (id, account, mode, type, created, published, digest, payload, order_key, renderings)
    SELECT NEW.id, NEW.account, NEW.mode, NEW.type, NEW.created, NEW.published, NEW.digest,
        NEW.payload, NEW.order_key, NEW.renderings
    WHERE NOT EXISTS (SELECT 1 FROM tidings_event WHERE id = NEW.id);
    INSERT INTO tidings_mark (account, seq) SELECT NEW.account, last_insert_rowid()
    WHERE changes() > 0;
END;
