-- The tables. Times are milliseconds since 1970; everything that refers to an event or a webhook does
-- so by the number that this schema gave it. {s} stands for the schema's name.

-- seq is the number of the publish. CACHE 1, so that a publish that begins after another one has
-- ended has the greater number: spans are counted in it.
CREATE SEQUENCE {s}.event_seq CACHE 1;
CREATE TABLE {s}.event (
    seq bigint PRIMARY KEY DEFAULT nextval('{s}.event_seq'),
    id uuid NOT NULL UNIQUE,
    account text COLLATE "C" NOT NULL,
    mode boolean NOT NULL,              -- true is live
    type text COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    published bigint NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    payload text NOT NULL,
    order_key text                      -- what the host said that it is about
);
ALTER SEQUENCE {s}.event_seq OWNED BY {s}.event.seq;
-- For listings. A host without tenants does without it: all its events are in one account.
CREATE INDEX event_account ON {s}.event (account, seq) WHERE account <> 'default';

-- An event that is still to be routed. A table of its own, so that routing never rewrites a payload.
CREATE TABLE {s}.mark (
    account text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    cursor bigint NOT NULL DEFAULT 0,   -- the last webhook that a wide event was routed to
    PRIMARY KEY (account, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0);

-- A delivery of an event that was made before the event was routed: routing passes it over.
CREATE TABLE {s}.early (
    event bigint NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (event, id)
);

-- A webhook with its lane: what every turn looks at, small and hot.
CREATE TABLE {s}.webhook (
    key bigint GENERATED ALWAYS AS IDENTITY (START WITH 2) PRIMARY KEY,   -- 1 is a cursor before all
    id uuid NOT NULL UNIQUE,
    account text COLLATE "C" NOT NULL,
    mode boolean NOT NULL,
    enabled boolean NOT NULL,
    version bigint NOT NULL,
    ended bigint,                       -- the last event number before it was deleted
    retired xid8,                       -- see span
    next_due bigint,
    paused_until bigint,
    failing_since bigint,
    ready bigint,                       -- Lane::ready_at while it is enabled and needs no holder
    needs smallint NOT NULL DEFAULT 0,  -- 0 nothing, 1 a holder, 2 and order
    holder uuid,
    held_until bigint,
    free bigint                         -- Lane::free_at while it is enabled and needs a holder
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0);
CREATE INDEX webhook_ready ON {s}.webhook (ready, key) WHERE ready IS NOT NULL;
CREATE INDEX webhook_free ON {s}.webhook (free, key) WHERE free IS NOT NULL;
CREATE INDEX webhook_holder ON {s}.webhook (holder) WHERE holder IS NOT NULL;
CREATE INDEX webhook_ordered ON {s}.webhook (account) WHERE needs = 2;
CREATE INDEX webhook_account ON {s}.webhook (account, id);
CREATE INDEX webhook_ended ON {s}.webhook (ended, key) WHERE ended IS NOT NULL;

-- The rest of a webhook, read only when it is changed, listed or sent to for the first time.
CREATE TABLE {s}.registration (
    webhook bigint PRIMARY KEY,
    search text NOT NULL,               -- id and address in lower case
    record text NOT NULL
);

-- An event with this number is wanted if from_seq < number, and number <= to_seq or the span is
-- still open.
CREATE TABLE {s}.span (
    account text COLLATE "C" NOT NULL,
    mode boolean NOT NULL,
    pattern text COLLATE "C" NOT NULL,
    webhook bigint NOT NULL,
    from_seq bigint NOT NULL,
    to_seq bigint,
    -- A transaction that began after the span was closed. Once all older ones have ended, no publish
    -- with a number inside the span can still become visible.
    retired xid8,
    PRIMARY KEY (account, mode, pattern, webhook, from_seq)
);
-- Hash, so that routing cannot take it for its order: it would read everybody's spans for a pattern
-- that nobody has.
CREATE INDEX span_webhook ON {s}.span USING hash (webhook);
CREATE INDEX span_closed ON {s}.span (to_seq) WHERE to_seq IS NOT NULL;

-- A delivery is in one of three tables, by what is done with it. Its id is a function of event,
-- webhook and cause.

-- It waits in its webhook's lane. Whoever writes here has locked the lane's row before.
CREATE TABLE {s}.waiting (
    id uuid PRIMARY KEY,
    event bigint NOT NULL,
    webhook bigint NOT NULL,
    cause uuid,                         -- null for routed ones
    published bigint NOT NULL,
    attempt integer NOT NULL,
    failures integer NOT NULL,
    interruptions integer NOT NULL,
    lapsed boolean NOT NULL,
    due bigint NOT NULL,
    settled_by uuid,                    -- the dispatcher that settled it last
    order_key bigint,                   -- where it has its place in an order
    parked boolean NOT NULL DEFAULT false   -- it stands behind another of its key, out of its lane
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);
CREATE INDEX waiting_lane ON {s}.waiting (webhook, parked, due);
-- Of each key the first goes first. The number of the event is its place.
CREATE INDEX waiting_order ON {s}.waiting (webhook, order_key, event) WHERE order_key IS NOT NULL;
CREATE INDEX waiting_age ON {s}.waiting (published);

-- It is being sent. There are never more than all dispatchers may have in flight.
CREATE TABLE {s}.leased (
    id uuid PRIMARY KEY,
    event bigint NOT NULL,
    webhook bigint NOT NULL,
    cause uuid,
    published bigint NOT NULL,
    attempt integer NOT NULL,
    failures integer NOT NULL,
    interruptions integer NOT NULL,
    lapsed boolean NOT NULL,
    holder uuid NOT NULL,
    ticket bigint NOT NULL,
    order_key bigint
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0);

CREATE INDEX leased_order ON {s}.leased (webhook, order_key, event) WHERE order_key IS NOT NULL;

-- Nothing will happen to it any more. With its last attempt, if that ended it: most deliveries have
-- one attempt for good, and this saves them a row.
CREATE TABLE {s}.ended (
    id uuid PRIMARY KEY,
    event bigint NOT NULL,
    webhook bigint NOT NULL,
    cause uuid,
    published bigint NOT NULL,
    attempt integer NOT NULL,
    failures integer NOT NULL,
    interruptions integer NOT NULL,
    lapsed boolean NOT NULL,
    -- 2 delivered, 3 exhausted, 4 expired, 5 cancelled. Checked, so that listings of other states
    -- leave this table out.
    state smallint NOT NULL CHECK (state BETWEEN 2 AND 5),
    at bigint NOT NULL,
    settled_by uuid,
    started bigint,                     -- the attempt's, as in the table of attempts
    latency bigint,
    status integer,
    retry_after bigint,
    failure text,
    response bytea,
    truncated boolean,
    error text
);
CREATE INDEX ended_webhook ON {s}.ended (webhook, id);

CREATE TABLE {s}.attempt (
    delivery uuid NOT NULL,
    number integer NOT NULL,
    started bigint NOT NULL,
    latency bigint NOT NULL,            -- nanoseconds
    status integer,                     -- of the answer, if there was one
    retry_after bigint,                 -- nanoseconds
    failure text,                       -- why there was none
    response bytea,
    truncated boolean NOT NULL,
    error text,
    PRIMARY KEY (delivery, number)
);

-- All deliveries, for listings and for people.
CREATE VIEW {s}.delivery AS
    SELECT id, event, webhook, cause, published, 0::smallint AS state, due AS at, NULL::bigint AS ticket,
        attempt, failures, interruptions, lapsed, settled_by AS holder, NULL::bigint AS started,
        NULL::bigint AS latency, NULL::integer AS status, NULL::bigint AS retry_after,
        NULL::text AS failure, NULL::bytea AS response, NULL::boolean AS truncated,
        NULL::text AS error, order_key
    FROM {s}.waiting
    UNION ALL
    SELECT id, event, webhook, cause, published, 1::smallint, NULL::bigint, ticket,
        attempt, failures, interruptions, lapsed, holder, NULL::bigint,
        NULL::bigint, NULL::integer, NULL::bigint,
        NULL::text, NULL::bytea, NULL::boolean, NULL::text, order_key
    FROM {s}.leased
    UNION ALL
    SELECT id, event, webhook, cause, published, state, at, NULL::bigint,
        attempt, failures, interruptions, lapsed, settled_by, started,
        latency, status, retry_after,
        failure, response, truncated, error, NULL::bigint
    FROM {s}.ended;

CREATE TABLE {s}.dispatcher (
    id uuid PRIMARY KEY,
    alive_until bigint NOT NULL
) WITH (fillfactor = 50);

-- Calls whose answer never came: they lease nothing any more.
CREATE TABLE {s}.abandoned (
    dispatcher uuid NOT NULL,
    ticket bigint NOT NULL,
    PRIMARY KEY (dispatcher, ticket)
);
-- Publishing in a transaction of the host's own, with any driver: one statement, one text, one row
-- back for each event. `events` is a JSON array of objects {id, account, mode, type, created, digest,
-- payload, key}; the answers are stored, duplicate or conflict, in the order of the events. If one is a
-- conflict, nothing of the call is kept; the transaction goes on either way.
CREATE FUNCTION {s}.publish(events text) RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fresh bigint[];
    answers text[];
BEGIN
    -- So that the transaction has its number before its events have theirs.
    PERFORM pg_current_xact_id();
    WITH new AS (
        INSERT INTO {s}.event (id, account, mode, type, created, published, digest, payload,
            order_key)
        SELECT n.id, n.account, n.mode, n.type, n.created,
            (extract(epoch FROM clock_timestamp()) * 1000)::bigint, decode(n.digest, 'hex'), n.payload,
            n.key
        FROM json_to_recordset(events::json) AS n(id uuid, account text, mode boolean, type text,
            created bigint, digest text, payload text, key text)
        ON CONFLICT (id) DO NOTHING
        RETURNING seq, account
    ), marks AS (
        INSERT INTO {s}.mark (account, seq) SELECT account, seq FROM new
    )
    SELECT array_agg(seq) INTO fresh FROM new;
    -- A statement of its own: it sees the row of a publish that was faster.
    SELECT array_agg(CASE
            WHEN e.digest <> decode(n.digest, 'hex') THEN 'conflict'
            WHEN e.seq = ANY (fresh) AND n.first THEN 'stored'
            ELSE 'duplicate'
        END ORDER BY n.place) INTO answers
    FROM (
        SELECT o.place, (o.value->>'id')::uuid AS id, o.value->>'digest' AS digest,
            row_number() OVER (PARTITION BY (o.value->>'id')::uuid ORDER BY o.place) = 1 AS first
        FROM json_array_elements(events::json) WITH ORDINALITY AS o(value, place)
    ) n
    -- One look-up for each, whatever the table's statistics were when this was planned: a session that
    -- began with an empty table would read all of it otherwise, until somebody analyses it.
    CROSS JOIN LATERAL (SELECT seq, digest FROM {s}.event WHERE event.id = n.id OFFSET 0) e;
    IF 'conflict' = ANY (answers) AND fresh IS NOT NULL THEN
        DELETE FROM {s}.mark m USING {s}.event e
            WHERE e.seq = ANY (fresh) AND m.account = e.account AND m.seq = e.seq;
        DELETE FROM {s}.event WHERE seq = ANY (fresh);
    END IF;
    RETURN QUERY SELECT unnest(answers);
END
$$;
