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

-- Statistics: numbers that are added to as things happen. What a measure is, the code knows. A webhook's
-- row stays for as long as it has some.
CREATE TABLE {s}.statistic (
    webhook bigint NOT NULL,
    hour integer NOT NULL,              -- since 1970
    measure smallint NOT NULL,
    part smallint NOT NULL,             -- so that nodes that send to the same webhook need not wait for each other
    count bigint NOT NULL,
    PRIMARY KEY (webhook, hour, measure, part)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);
CREATE INDEX statistic_hour ON {s}.statistic (hour);

-- Events know the trace that they belong to: traceparent, and after a space tracestate if there is one.
ALTER TABLE {s}.event ADD COLUMN trace text;

-- The same function as before, with `trace` in the objects. A program that does not know of it leaves it
-- out; a schema without a place for it passes it over, for a trace is no part of what happened.
CREATE OR REPLACE FUNCTION {s}.publish(events text) RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fresh bigint[];
    answers text[];
BEGIN
    -- So that the transaction has its number before its events have theirs.
    PERFORM pg_current_xact_id();
    WITH new AS (
        INSERT INTO {s}.event (id, account, mode, type, created, published, digest, payload,
            order_key, renderings, trace)
        SELECT n.id, n.account, n.mode, n.type, n.created,
            (extract(epoch FROM clock_timestamp()) * 1000)::bigint, decode(n.digest, 'hex'), n.payload,
            n.key, n.renderings, n.trace
        FROM json_to_recordset(events::json) AS n(id uuid, account text, mode boolean, type text,
            created bigint, digest text, payload text, key text, renderings text, trace text)
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
