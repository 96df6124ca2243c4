-- What people look at is found at once, however much there is.

-- What failed, newest first, of all webhooks or of one; and webhooks that are disabled, which are few among
-- many. Nothing else pays for these.
CREATE INDEX tidings_delivery_failed ON tidings_delivery (state) WHERE state > 2;
CREATE INDEX tidings_delivery_failed_webhook ON tidings_delivery (webhook, state) WHERE state > 2;
CREATE INDEX tidings_webhook_disabled ON tidings_webhook (id) WHERE enabled = 0 AND ended IS NULL;

-- The statistics of all webhooks of an account, and of all accounts (whose name is empty here): added to
-- together with those of each webhook.
CREATE TABLE tidings_total (
    account TEXT NOT NULL,
    hour INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    measure INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (account, hour, mode, measure)
) WITHOUT ROWID;
CREATE INDEX tidings_total_hour ON tidings_total (hour);
INSERT INTO tidings_total
    SELECT w.account, s.hour, w.mode, s.measure, sum(s.count)
    FROM tidings_statistic s JOIN tidings_webhook w ON w.key = s.webhook GROUP BY 1, 2, 3, 4;
INSERT INTO tidings_total SELECT '', hour, mode, measure, sum(count) FROM tidings_total GROUP BY 2, 3, 4;
