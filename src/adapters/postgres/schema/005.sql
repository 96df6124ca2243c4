-- What people look at is found at once, however much there is.

-- What failed, newest first, of all webhooks or of one; and webhooks that are disabled, which are few among
-- many. Nothing else pays for these.
CREATE INDEX ended_failed ON {s}.ended (state, id) WHERE state > 2;
CREATE INDEX ended_failed_webhook ON {s}.ended (webhook, state, id) WHERE state > 2;
CREATE INDEX webhook_disabled ON {s}.webhook (id) WHERE NOT enabled AND ended IS NULL;

-- The statistics of all webhooks of an account, and of all accounts (whose name is empty here): added to
-- together with those of each webhook.
CREATE TABLE {s}.total (
    account text COLLATE "C" NOT NULL,
    hour integer NOT NULL,
    mode boolean NOT NULL,
    measure smallint NOT NULL,
    part smallint NOT NULL,             -- as in the table of statistics
    count bigint NOT NULL,
    PRIMARY KEY (account, hour, mode, measure, part)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);
CREATE INDEX total_hour ON {s}.total (hour);
INSERT INTO {s}.total (account, hour, mode, measure, part, count)
    SELECT coalesce(w.account, ''), s.hour, w.mode, s.measure, s.part, sum(s.count)
    FROM {s}.statistic s JOIN {s}.webhook w ON w.key = s.webhook
    GROUP BY GROUPING SETS ((w.account, s.hour, w.mode, s.measure, s.part),
        (s.hour, w.mode, s.measure, s.part));
