-- The tables. Times are milliseconds since 1970, ids are 16 bytes, everything that refers to an
-- event or a webhook does so by the number that this file gave it.

-- seq is the number of the publish. AUTOINCREMENT, because the number of a removed event must
-- never come again: spans are counted in it.
CREATE TABLE tidings_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE CHECK (typeof(id) = 'blob' AND length(id) = 16),
    account TEXT NOT NULL,
    mode INTEGER NOT NULL,              -- 1 live, 0 test
    type TEXT NOT NULL,
    created INTEGER NOT NULL,
    published INTEGER NOT NULL,
    digest BLOB NOT NULL CHECK (typeof(digest) = 'blob' AND length(digest) = 32),
    payload TEXT NOT NULL,
    order_key TEXT                      -- what the host said that it is about
);
-- For listings. A host without tenants does without it: all its events are in one account.
CREATE INDEX tidings_event_account ON tidings_event (account) WHERE account <> 'default';

-- An event that is still to be routed. A table of its own, so that routing never rewrites a
-- payload.
CREATE TABLE tidings_mark (
    account TEXT NOT NULL,
    seq INTEGER NOT NULL,
    cursor INTEGER NOT NULL DEFAULT 0,  -- the last webhook that a wide event was routed to
    PRIMARY KEY (account, seq)
) WITHOUT ROWID;

-- Where others than this crate insert events, in transactions of their own: the event and its mark
-- are born by one statement, and an id that comes again changes nothing. This crate writes both
-- tables itself; a trigger on the table would cost each publish a third more.
CREATE VIEW tidings_publish AS
    SELECT id, account, mode, type, created, published, digest, payload, order_key
    FROM tidings_event;
CREATE TRIGGER tidings_publish_insert INSTEAD OF INSERT ON tidings_publish
BEGIN
    INSERT INTO tidings_event
        (id, account, mode, type, created, published, digest, payload, order_key)
    SELECT NEW.id, NEW.account, NEW.mode, NEW.type, NEW.created, NEW.published, NEW.digest,
        NEW.payload, NEW.order_key
    WHERE NOT EXISTS (SELECT 1 FROM tidings_event WHERE id = NEW.id);
    INSERT INTO tidings_mark (account, seq) SELECT NEW.account, last_insert_rowid()
    WHERE changes() > 0;
END;

-- A webhook with its lane: what every turn looks at, small and hot.
CREATE TABLE tidings_webhook (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    account TEXT NOT NULL,
    mode INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    version INTEGER NOT NULL,
    ended INTEGER,                      -- the last event number before it was deleted
    next_due INTEGER,
    paused_until INTEGER,
    failing_since INTEGER,
    ready INTEGER,                      -- Lane::ready_at while it is enabled and needs no holder
    needs INTEGER NOT NULL,             -- 0 no holder, 1 a holder, 2 a holder and order
    holder BLOB,
    held_until INTEGER,
    free INTEGER                        -- Lane::free_at while it is enabled and needs a holder
);
CREATE INDEX tidings_webhook_ready ON tidings_webhook (ready) WHERE ready IS NOT NULL;
CREATE INDEX tidings_webhook_free ON tidings_webhook (free) WHERE free IS NOT NULL;
CREATE INDEX tidings_webhook_holder ON tidings_webhook (holder) WHERE holder IS NOT NULL;
CREATE INDEX tidings_webhook_account ON tidings_webhook (account, id);
CREATE INDEX tidings_webhook_ended ON tidings_webhook (ended) WHERE ended IS NOT NULL;

-- The rest of a webhook, read only when it is changed, listed or sent to for the first time.
CREATE TABLE tidings_registration (
    webhook INTEGER PRIMARY KEY,
    search TEXT NOT NULL,               -- id and address in lower case
    record TEXT NOT NULL
);

-- An event with this number is wanted if from_seq < number, and number <= to_seq or the span is
-- still open.
CREATE TABLE tidings_span (
    account TEXT NOT NULL,
    mode INTEGER NOT NULL,
    pattern TEXT NOT NULL,
    webhook INTEGER NOT NULL,
    from_seq INTEGER NOT NULL,
    to_seq INTEGER,
    PRIMARY KEY (account, mode, pattern, webhook, from_seq)
) WITHOUT ROWID;
CREATE INDEX tidings_span_open ON tidings_span (webhook) WHERE to_seq IS NULL;
CREATE INDEX tidings_span_closed ON tidings_span (to_seq) WHERE to_seq IS NOT NULL;

-- The id is a function of event, webhook and cause, so the key keeps the three unique.
CREATE TABLE tidings_delivery (
    id BLOB NOT NULL PRIMARY KEY,
    event INTEGER NOT NULL,
    webhook INTEGER NOT NULL,
    cause BLOB,                         -- null for routed ones
    published INTEGER NOT NULL,
    state INTEGER NOT NULL,             -- 0 waiting, 1 leased, 2 delivered, 3 exhausted, 4 expired, 5 cancelled;
                                        -- -1 waiting, and found to stand behind another of its key
    at INTEGER,                         -- when it is due, or when it ended
    ticket INTEGER,                     -- of the lease
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    interruptions INTEGER NOT NULL,
    lapsed INTEGER NOT NULL,
    holder BLOB,                        -- the dispatcher that leases it, or that settled it last
    order_key INTEGER                   -- where it has its place in an order
) WITHOUT ROWID;
CREATE INDEX tidings_delivery_webhook ON tidings_delivery (webhook);
CREATE INDEX tidings_delivery_waiting ON tidings_delivery (webhook, at) WHERE state = 0;
CREATE INDEX tidings_delivery_age ON tidings_delivery (published) WHERE state <= 0;
CREATE INDEX tidings_delivery_leased ON tidings_delivery (holder, ticket) WHERE state = 1;
-- Of each key the first goes first. The number of the event is its place.
CREATE INDEX tidings_delivery_order ON tidings_delivery (webhook, order_key, event)
    WHERE order_key IS NOT NULL AND state < 2;

CREATE TABLE tidings_attempt (
    delivery BLOB NOT NULL,
    number INTEGER NOT NULL,
    started INTEGER NOT NULL,
    latency INTEGER NOT NULL,           -- nanoseconds
    status INTEGER,                     -- of the answer, if there was one
    retry_after INTEGER,                -- nanoseconds
    failure TEXT,                       -- why there was none
    response BLOB,
    truncated INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (delivery, number)
) WITHOUT ROWID;

CREATE TABLE tidings_dispatcher (
    id BLOB NOT NULL PRIMARY KEY,
    alive_until INTEGER NOT NULL
) WITHOUT ROWID;

-- Calls whose answer never came: they lease nothing any more.
CREATE TABLE tidings_abandoned (
    dispatcher BLOB NOT NULL,
    ticket INTEGER NOT NULL,
    PRIMARY KEY (dispatcher, ticket)
) WITHOUT ROWID;
