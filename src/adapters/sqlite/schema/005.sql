-- Listings of what failed, newest first, of all webhooks or of one. Nothing else pays for them.
CREATE INDEX tidings_delivery_failed ON tidings_delivery (state) WHERE state > 2;
CREATE INDEX tidings_delivery_failed_webhook ON tidings_delivery (webhook, state) WHERE state > 2;
