-- Listings of what failed, newest first, of all webhooks or of one. Nothing else pays for them.
CREATE INDEX ended_failed ON {s}.ended (state, id) WHERE state > 2;
CREATE INDEX ended_failed_webhook ON {s}.ended (webhook, state, id) WHERE state > 2;
