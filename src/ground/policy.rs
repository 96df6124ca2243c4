//! Every limit and every rule of time in one place: one page to read before production.
//!
//! The constants are bounds that hold always. [`Policy`] is what a host may set; its defaults are
//! those of the tables in the crate's documentation.

use std::time::Duration;

use super::account::Mode;
use super::error::{Error, Result};

// --- ground: names and texts -------------------------------------------------------------------

/// Bytes of an account's name.
pub const ACCOUNT_BYTES_MAX: usize = 128;
/// Bytes of an event type.
pub const EVENT_TYPE_BYTES_MAX: usize = 128;
/// Segments of an event type: `resource.event` has two (seed row E8).
pub const EVENT_TYPE_SEGMENTS: std::ops::RangeInclusive<usize> = 2..=8;
/// Patterns in a webhook's filter list.
pub const FILTERS_MAX: usize = 512;
/// Bytes of a condition.
pub const CONDITION_BYTES_MAX: usize = 8 * 1024;
/// Brackets and braces that are open at once in a condition.
pub const CONDITION_DEPTH_MAX: usize = 16;
/// Comparisons in a condition: each may walk the whole payload.
pub const CONDITION_TESTS_MAX: usize = 50;
/// Values that an attribute is one of.
pub const CONDITION_CHOICES_MAX: usize = 100;
/// Names from the payload's outside to an attribute.
pub const CONDITION_PATH_MAX: usize = 16;
/// Bytes of a payload, as it is sent.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Levels of nesting in a payload.
pub const PAYLOAD_DEPTH_MAX: usize = 100;
/// Bytes of an `apiVersion`.
pub const API_VERSION_BYTES_MAX: usize = 64;
/// Versions of a host's API beside the newest one: each event is rendered and kept for all of them.
pub const VERSIONS_OLDER_MAX: usize = 16;
/// Bytes that an event's payloads for older versions may have together: they are read with the event,
/// whoever gets it.
pub const RENDERINGS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a trace's state (W3C Trace Context asks for at least this much).
pub const TRACE_STATE_BYTES_MAX: usize = 512;
/// Members of a trace's state (W3C Trace Context).
pub const TRACE_STATE_MEMBERS_MAX: usize = 32;
/// Events in one publish.
pub const PUBLISH_EVENTS_MAX: usize = 10_000;
/// Bytes of payload in one publish, in all versions: in the host's transaction they travel as one value.
pub const PUBLISH_BYTES_MAX: usize = 64 * 1024 * 1024;

// --- ground: webhooks --------------------------------------------------------------------------

/// Bytes of an endpoint URL.
pub const URL_BYTES_MAX: usize = 2_048;
/// Bytes of the name of a host (RFC 1035).
pub const HOST_BYTES_MAX: usize = 253;
/// Bytes of one label in the name of a host (RFC 1035).
pub const HOST_LABEL_BYTES_MAX: usize = 63;
/// Bytes of a webhook's description.
pub const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// Entries of a webhook's metadata.
pub const METADATA_ENTRIES_MAX: usize = 50;
/// Bytes of a metadata key.
pub const METADATA_KEY_BYTES_MAX: usize = 64;
/// Bytes of a metadata value.
pub const METADATA_VALUE_BYTES_MAX: usize = 512;
/// Custom headers of a webhook.
pub const HEADERS_MAX: usize = 32;
/// Bytes of a custom header's name.
pub const HEADER_NAME_BYTES_MAX: usize = 128;
/// Bytes of a custom header's value.
pub const HEADER_VALUE_BYTES_MAX: usize = 4_096;
/// Bytes of a user name, a password, or a client's id, secret or audience.
pub const CREDENTIAL_BYTES_MAX: usize = 512;
/// Bytes of a token endpoint's answer.
pub const TOKEN_RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an access token.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Bytes of the name of a sealing key.
pub const KEY_ID_BYTES_MAX: usize = 64;
/// Bytes of a webhook's secrets and credentials, as they are sealed.
pub const SEALED_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a text in PEM.
pub const PEM_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a client certificate's private key.
pub const PRIVATE_KEY_BYTES_MAX: usize = 8 * 1024;
/// Certificates of a client's chain, its own included.
pub const CLIENT_CERTIFICATES_MAX: usize = 8;
/// Authorities that one webhook may trust.
pub const ROOT_CERTIFICATES_MAX: usize = 16;
/// Signature schemes that one webhook may use at once.
pub const SCHEMES_MAX: usize = 4;
/// Secrets that one webhook may have at once (domain 4c).
pub const SECRETS_MAX: usize = 5;
/// Bytes of a secret's key (Standard Webhooks).
pub const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of a secret that the crate makes.
pub const SECRET_BYTES_MADE: usize = 32;
/// The choices for how long an old secret lives on after a rotation, in hours (domain 4c).
pub const ROTATION_HOURS: [u8; 6] = [0, 1, 3, 6, 12, 24];
/// The shortest and the longest deadline that a webhook may set for one attempt.
pub const TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60);

/// Requests per second of a rate limit, and requests of a burst.
pub const RATE_RANGE: std::ops::RangeInclusive<u32> = 1..=10_000;
/// Requests that may be under way to one webhook over all dispatchers, where it has such a limit.
pub const CONCURRENCY_RANGE: std::ops::RangeInclusive<u32> = 1..=10_000;
/// Bytes of the key by which a host says which events belong together.
pub const ORDER_KEY_BYTES_MAX: usize = 256;
/// How long after the end of a hold its lane can be taken by another dispatcher: what the former
/// holder began before is over by then. The longest deadline of a POST, and the time that the
/// engine grants a transport beyond it.
pub const TAKEOVER_WAIT: Duration = Duration::from_secs(61);
/// How long a lane waits for its probe to come back, before another one is taken: as long as a POST may
/// take, and a little for its settlement. It is waited for in full only when the prober died.
pub const PROBE_WAIT: Duration = Duration::from_secs(65);

// --- ground: signatures ------------------------------------------------------------------------

/// How far a signature's timestamp may be from the verifier's clock, both ways, inclusive.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// Signatures looked at in one header (rule S5), whatever their version. Empty items are none.
pub const SIGNATURES_MAX: usize = 16;
/// Signatures by private keys that are checked in one header: as many as a webhook has secrets. Each costs
/// a pass over the body for each public key.
pub const SIGNATURES_ASYMMETRIC_MAX: usize = SECRETS_MAX;
/// Secrets that one verifier may try.
pub const VERIFY_SECRETS_MAX: usize = 16;
/// Public keys that one verifier may try: a pass over the body for each of them and each signature.
pub const VERIFY_PUBLIC_KEYS_MAX: usize = SECRETS_MAX;
/// Bytes of a `webhook-id` that a verifier accepts (rule S9).
pub const MESSAGE_ID_BYTES_MAX: usize = 256;
/// Bytes of a body that a receiver takes unless told otherwise: what a payload of this crate has at most.
pub const RECEIVED_BYTES: usize = PAYLOAD_BYTES_MAX;
/// Events that a receiver remembers in memory unless told otherwise.
pub const SEEN_EVENTS_MAX: usize = 100_000;
/// How long a receiver remembers an event in memory unless told otherwise: longer than the schedule of
/// Standard Webhooks with its jitter, and as long as a webhook of this crate may fail before it is
/// disabled. An event that was forgotten would be handled again.
pub const SEEN_AGE: Duration = Duration::from_secs(5 * 86_400);
/// Bytes of a body that a verifier accepts.
pub const VERIFY_BYTES_MAX: usize = 16 * 1024 * 1024;

// --- ports: pages and batches ------------------------------------------------------------------

/// Items on one page.
pub const PAGE_ITEMS_MAX: usize = 100;
/// Items on a page when nobody says.
pub const PAGE_ITEMS_DEFAULT: usize = 10;
/// Rows that are looked at for one page where many do not fit: then it is answered with what was found.
pub const LISTING_ROWS: usize = 50_000;
/// The same for webhooks, whose texts are looked through.
pub const LISTING_WEBHOOK_ROWS: usize = 25_000;
/// Rows that are read whole and then do not fit, since the columns could not tell.
pub const LISTING_ROWS_READ: usize = 2_500;
/// Rows that are looked at first; then ten times as many, and again.
pub const LISTING_ROWS_FIRST: usize = 500;
/// Bytes after which a page ends: one of 100 events could have 100 MiB otherwise.
pub const LISTING_BYTES: usize = 4 * 1024 * 1024;
/// Webhooks of an account up to which its deliveries are found webhook by webhook.
pub const LISTING_WEBHOOKS: usize = 100;
/// Bytes of a response that are kept with an attempt.
pub const RESPONSE_BYTES_KEPT: usize = 16 * 1024;
/// Bytes of an error's text that are kept with an attempt.
pub const ERROR_BYTES_KEPT: usize = 512;
/// Bytes of the text of an [`Error`](crate::Error): what it repeats of its input is cut.
pub const MESSAGE_BYTES_MAX: usize = 1_024;
/// Causes behind an [`Error`](crate::Error) whose texts are looked at; those behind them are dropped.
pub const CAUSES_MAX: usize = 16;

// --- the hyper transport -----------------------------------------------------------------------

/// The longest that a look-up of a name may take.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Look-ups that may run at once; they block a thread each.
pub const LOOKUPS_MAX: usize = 32;
/// Addresses of one name that are tried in turn.
pub const ADDRESSES_MAX: usize = 8;
/// The longest that making a connection may take, over all addresses, when nobody says.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The least time that one of several addresses gets before the next one is tried.
pub const CONNECT_TIMEOUT_MIN: Duration = Duration::from_secs(2);
/// How long a connection without a request is kept, when nobody says.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections to one host, and to one address, when nobody says.
pub const HOST_CONNECTIONS: usize = 64;
/// Destinations (hosts and addresses) that are remembered at once: those with requests under way or
/// kept connections, and those whose rate is not yet rested.
pub const DESTINATIONS_MAX: usize = 131_072;
/// Requests that may wait for their turn at one destination.
pub const DESTINATION_WAITERS_MAX: usize = 4_096;
/// Requests that may wait where others waited in vain lately, if it has no more places than this.
pub const DESTINATION_WAITERS_MIN: usize = 64;
/// How long that stays lately.
pub const DESTINATION_STUCK: Duration = Duration::from_secs(15);
/// The longest that a request waits for its turn at a destination: it holds what others need.
pub const DESTINATION_WAIT_MAX: Duration = Duration::from_secs(1);
/// Connections without a request that are kept to one host, when nobody says.
pub const HOST_IDLE_CONNECTIONS: usize = 32;
/// TLS configurations that are kept for webhooks with settings of their own.
pub const TLS_CONFIGS_KEPT: usize = 256;
/// TLS sessions that are kept for resumption under one such configuration.
pub const TLS_SESSIONS_KEPT: usize = 4;
/// Bytes of the head of an answer.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Frames of a body that are read at a stretch, before deadlines are looked at again.
pub const BODY_FRAMES_PER_POLL: usize = 32;
/// Reads from a connection at a stretch, before deadlines are looked at again.
pub const READS_PER_POLL: usize = 8;
/// Bytes that may be on their way to one HTTP/2 request: what an endless answer can make us hold.
pub const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes that may be on their way to all requests on one HTTP/2 connection.
pub const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

// --- the SQLite storage ------------------------------------------------------------------------

/// Commands that share one commit.
pub const SQLITE_GROUP_COMMANDS: usize = 256;
/// How long commands are gathered for one commit, at most: other processes wait meanwhile.
pub const SQLITE_GROUP_TIME: Duration = Duration::from_millis(10);
/// How long a group waits for callers that came with the last one.
pub const SQLITE_GROUP_LINGER: Duration = Duration::from_millis(1);
/// Commands in memory; more callers wait.
pub const SQLITE_QUEUE: usize = 4_096;
/// How long to wait for another process that has locked the file, when nobody says.
pub const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait between two tries where SQLite itself does not wait.
pub const SQLITE_BUSY_STEP: Duration = Duration::from_millis(10);
/// Threads that serve listings when nobody says, and at most.
pub const SQLITE_READERS: usize = 2;
/// See [`SQLITE_READERS`].
pub const SQLITE_READERS_MAX: usize = 16;
/// Prepared statements of one connection.
pub const SQLITE_STATEMENTS: usize = 128;
/// KiB of pages that one connection keeps in memory.
pub const SQLITE_CACHE_KIB: i64 = 16 * 1024;
/// Pages in the write-ahead log after which a commit copies them into the file.
pub const SQLITE_CHECKPOINT_PAGES: i64 = 4_000;
/// Bytes of the write-ahead log that stay on the disk when it was longer for a while.
pub const SQLITE_WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;
/// Webhooks that the writer keeps in memory, and spans of one event type in one route call.
pub const SQLITE_WEBHOOKS_KEPT: usize = 4_096;
/// See [`SQLITE_WEBHOOKS_KEPT`].
pub const SQLITE_SPANS_KEPT: usize = 1_024;
/// Events that one step of the pruning looks at: clocks may disagree by as many publishes.
pub const SQLITE_PRUNE_STRETCH: i64 = 512;

// --- models and catalogues -----------------------------------------------------------------------

/// Keys of a path in a [`ResourceModel`](crate::ResourceModel).
pub const MODEL_PATH_STEPS_MAX: usize = 16;
/// Resources and parts of a model.
pub const MODEL_PARTS_MAX: usize = 64;
/// States and transitions of one resource or part in a model.
pub const MODEL_STATES_MAX: usize = 1_024;
/// Events that a model declares for one kind of change.
pub const MODEL_TYPES_MAX: usize = 16;
/// Event types of a [`Catalogue`](crate::Catalogue).
pub const CATALOGUE_TYPES_MAX: usize = 10_000;

// --- the PostgreSQL storage --------------------------------------------------------------------

/// Connections of a storage when nobody says, and at most.
pub const POSTGRES_CONNECTIONS: usize = 10;
/// See [`POSTGRES_CONNECTIONS`].
pub const POSTGRES_CONNECTIONS_MAX: usize = 1_000;
/// How long a call waits for a connection when nobody says.
pub const POSTGRES_WAIT: Duration = Duration::from_secs(10);
/// How long PostgreSQL lets a transaction of ours stand open while nothing comes from us: a node that
/// was stopped, or cut off, within one keeps others from the rows that it locked for no longer.
pub const POSTGRES_STALL: Duration = Duration::from_secs(10);
/// How long a connection may be silent before it is asked whether the other side is there, and how
/// long what was sent may stay unacknowledged: a broken path is noticed by then.
pub const POSTGRES_SILENCE: Duration = Duration::from_secs(20);
/// Publishes of single events that share one transaction, and such transactions at once.
pub const POSTGRES_GROUP_EVENTS: usize = 256;
/// Bytes of payload in one such transaction, if it has more than one event: they travel in one message.
pub const POSTGRES_GROUP_BYTES: usize = 64 * 1024 * 1024;
/// See [`POSTGRES_GROUP_EVENTS`].
pub const POSTGRES_GROUPS: usize = 2;
/// How long a migration stands in the queue for a table, for which everybody behind it waits too, and
/// how long it then steps aside.
pub const POSTGRES_MIGRATION_LOCK: Duration = Duration::from_secs(2);
/// See [`POSTGRES_MIGRATION_LOCK`].
pub const POSTGRES_MIGRATION_PAUSE: Duration = Duration::from_secs(1);
/// How often a transaction is tried that PostgreSQL took back because of others.
pub const POSTGRES_TRIES: u32 = 10;
/// Bytes of a schema's name, as PostgreSQL has it.
pub const POSTGRES_NAME_MAX: usize = 63;
/// Webhooks that a storage keeps in memory.
pub const POSTGRES_WEBHOOKS_KEPT: usize = 16_384;
/// Spans of one pattern that are read at once.
pub const POSTGRES_SPANS_READ: usize = 2_048;
/// Lanes that one claim call locks at once.
pub const POSTGRES_CLAIM_LANES: usize = 512;
/// Rows that a listing reads at once where most do not fit.
pub const POSTGRES_LISTING_ROWS: usize = 2_048;
/// Rows with payloads that a listing reads at once: they are in memory together.
pub const POSTGRES_LISTING_PAYLOADS: usize = 32;
/// As [`SQLITE_PRUNE_STRETCH`].
pub const POSTGRES_PRUNE_STRETCH: i64 = 512;
/// How far behind the newest publish a look for marks begins: a publish that takes longer is found
/// by a look at everything.
pub const POSTGRES_FLOOR_LAG: Duration = Duration::from_secs(1);
/// The least time between two looks at everything, and how many times as long as it takes one must
/// wait for the next.
pub const POSTGRES_WHOLE_LOOK: Duration = Duration::from_millis(250);
/// See [`POSTGRES_WHOLE_LOOK`].
pub const POSTGRES_WHOLE_LOOK_SHARE: u32 = 20;
/// Accounts of which it is remembered where to look.
pub const POSTGRES_ACCOUNTS_KEPT: usize = 1_024;
/// Moments of which it is remembered who published then.
pub const POSTGRES_PUBLISHES_KEPT: usize = 64;
/// The least time between two wake-ups that a node sends.
pub const POSTGRES_NOTIFY_EVERY: Duration = Duration::from_millis(20);
/// How long to wait before listening again after the connection broke: at first, and at most.
pub const POSTGRES_RECONNECT: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));
/// Abandoned calls that are remembered of one dispatcher.
pub const ABANDONED_KEPT: i64 = 4_096;

// --- engine ------------------------------------------------------------------------------------

/// Delays of a schedule, and the longest one.
pub const SCHEDULE_DELAYS_MAX: usize = 64;
/// The longest delay between two tries.
pub const DELAY_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Deliveries that one dispatcher may have in flight at most, whatever the host sets.
pub const IN_FLIGHT_MAX: u32 = 65_536;
/// Marks that one route call looks at.
pub const ROUTE_MARKS: usize = 512;
/// Deliveries that one route call makes at most; a wider event goes on in the next call.
pub const ROUTE_DELIVERIES: usize = 1_024;
/// Marks of one account that a storage routes before it looks at the next account's.
pub const ROUTE_FEW: usize = 8;
/// Deliveries that a storage leases from one lane before it turns to the next.
pub const CLAIM_FEW: usize = 4;
/// Lanes that one claim call takes, at most: others find some too.
pub const CLAIM_HOLDS: usize = 16;
/// Waiting deliveries of one ordered lane that one claim call looks at, beside those that it leases.
pub const CLAIM_LOOKS: usize = 1_024;
/// How long a dispatcher rests between two claim calls that take lanes.
pub const HOLD_REST: Duration = Duration::from_millis(50);
/// How long a dispatcher holds a lane from which there was nothing to send.
pub const HOLD_IDLE: Duration = Duration::from_secs(30);
/// How long before its moment a delivery of a webhook with a rate limit is leased.
pub const RATE_AHEAD: Duration = Duration::from_millis(50);
/// How long after its moment it may still be sent; it is given back when that has passed.
pub const RATE_LATE: Duration = Duration::from_millis(100);
/// How long the host's hooks may take for one attempt, unless the host sets another limit.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Hooks that run at once, each on a thread of its own.
pub const HOOKS_AT_ONCE: usize = 64;
/// Hooks that are late and do not count for those: as many threads can be lost before others have
/// fewer. All together are fewer than tokio's threads for blocking work.
pub const HOOKS_LATE: usize = 384;
/// Late hooks for deliveries to one webhook at which its others are not asked.
pub const HOOKS_LATE_PER_WEBHOOK: usize = 128;
/// Webhooks whose late hooks are counted before those that have none running are forgotten.
pub const HOOK_WEBHOOKS: usize = 4_096;
/// Notices that wait for the host's observer; later ones are missed.
pub const NOTICES_WAITING: usize = 4_096;
/// Bytes of events and answers in those notices.
pub const NOTICE_BYTES_WAITING: usize = 16 * 1024 * 1024;
/// How much longer than its deadline the engine waits for a transport before it cuts it off.
pub const DEADLINE_SLACK: Duration = Duration::from_secs(1);
/// Access tokens that one dispatcher keeps, beside those in use at the moment.
pub const TOKENS_KEPT: usize = 1_024;
/// How long an access token is used when its endpoint does not say.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(300);
/// The longest that an access token is used without asking for a new one.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(86_400);
/// How long before its end an access token is replaced (never more than half of its life).
pub const TOKEN_MARGIN: Duration = Duration::from_secs(30);
/// How long a token endpoint is left in peace after it gave no token.
pub const TOKEN_REST: Duration = Duration::from_secs(1);
/// How long a delivery waits at least, and at most, for which its destination had no place.
pub const BUSY_DELAY: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(10);
/// How often a webhook is sealed anew that others change at the same time.
pub const RESEAL_TRIES: usize = 8;
/// How many deliveries of a webhook that has just come back may be in flight at first, in the dispatcher
/// whose probe it was; each success allows one more.
pub const RAMP_START: u32 = 2;
/// After this the usual limits hold for it in any case.
pub const RAMP_TIME: Duration = Duration::from_secs(60);
/// Webhooks that may come back at a time, in one dispatcher, before the usual limits hold for more.
pub const RAMPS_MAX: usize = 16_384;
/// Outcomes in one settle call.
pub const SETTLE_BATCH: usize = 512;
/// How long a count of what waits is good enough at least.
pub const BACKLOG_LOOK: Duration = Duration::from_millis(100);
/// A count is good for this many times as long as it took, if that is more.
pub const BACKLOG_SHARE: u32 = 20;
/// Accounts whose counts are remembered before all are forgotten.
pub const BACKLOG_ACCOUNTS_KEPT: usize = 16_384;
/// Events that one step of a privacy request expunges.
pub const EXPUNGE_EVENTS: usize = 200;
/// Bodies of answers that it expunges for each of them, at most.
pub const EXPUNGE_WIDE: usize = 100;
/// Deliveries per second of a replay, and what it has when nobody says.
pub const REPLAY_RATE_RANGE: std::ops::RangeInclusive<u32> = 1..=10_000;
/// See [`REPLAY_RATE_RANGE`].
pub const REPLAY_RATE: u32 = 100;
/// Replays of one account and mode that may run at once; at most a page, on which they are counted.
pub const REPLAYS_RUNNING_MAX: usize = 100;
/// Events, or webhooks, that one step of a replay looks at. Clocks may disagree by as many publishes.
pub const REPLAY_STEP_EVENTS: usize = 512;
/// Deliveries that one step of a replay makes.
pub const REPLAY_STEP_DELIVERIES: usize = 256;
/// Deliveries of a webhook that are due, from which on a replay to it rests: a live one that comes then
/// has no more replays before it.
pub const REPLAY_DUE_MAX: usize = 256;
/// Deliveries of a replay that wait, due or not, from which on it rests: those that failed, and are to be
/// tried again.
pub const REPLAY_WAITING_MAX: usize = 1_000;
/// How long a replay rests while there is no room.
pub const REPLAY_REST: Duration = Duration::from_millis(250);
/// How long it rests while its webhook is disabled, and while very many of its deliveries wait.
pub const REPLAY_REST_LONG: Duration = Duration::from_secs(30);
/// What one step of a replay makes is at most what its rate allows in this time. A few at a time leave the
/// lane empty in between, and live events are sent without waiting in it.
pub const REPLAY_GRAIN: Duration = Duration::from_millis(100);
/// How long a step of a replay leaves room for other work, and how often a dispatcher looks for replays
/// that others started (not more often than it polls).
pub const REPLAY_STEP_REST: Duration = Duration::from_millis(20);
/// See [`REPLAY_STEP_REST`].
pub const REPLAY_LOOK: Duration = Duration::from_secs(5);
/// How long a look at the health waits for the storage.
pub const HEALTH_PATIENCE: Duration = Duration::from_secs(3);
/// Hours that one query of statistics may cover: a year.
pub const STATISTICS_HOURS_MAX: u16 = 8_784;
/// Rows that one step of a sweep touches.
pub const SWEEP_ROWS: usize = 500;
/// Bytes that the body of a request to the HTTP API may have: an event's payload, and what is around it.
pub const API_BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 64 * 1_024;
/// How long the HTTP API waits for the host's authorizer, and for a body.
pub const API_PATIENCE: Duration = Duration::from_secs(10);
/// Exact event types that one listing may ask for.
pub const API_TYPES_MAX: usize = 20;
/// Up to how many the overview counts what waits.
pub const API_COUNT_MAX: usize = 10_000;
/// Failing webhooks that the overview names.
pub const API_FAILING_MAX: usize = 20;
/// Bytes of an `Idempotency-Key`, from one on.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long a sweep rests between two steps: so many times as long as the step took, and no less than
/// [`SWEEP_REST_MIN`]. So it takes a fifth of what one caller gets, and leaves the rest to what is live.
pub const SWEEP_REST: u32 = 4;
/// See [`SWEEP_REST`].
pub const SWEEP_REST_MIN: Duration = Duration::from_millis(20);

/// The delays between the tries of a delivery. The first try comes at once, so there is one try
/// more than there are delays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    delays: Vec<Duration>,
}

impl Schedule {
    /// The schedule of these delays.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when there are more than 64 delays, or one is longer
    /// than 30 days.
    pub fn new(delays: impl IntoIterator<Item = Duration>) -> Result<Self> {
        let delays: Vec<_> = delays.into_iter().take(SCHEDULE_DELAYS_MAX + 1).collect();
        if delays.len() > SCHEDULE_DELAYS_MAX {
            let message = format!("has more than {SCHEDULE_DELAYS_MAX} delays");
            return Err(Error::invalid("schedule", message));
        }
        if delays.iter().any(|delay| *delay > DELAY_MAX) {
            return Err(Error::invalid("schedule", "has a delay of more than 30 days"));
        }
        Ok(Self { delays })
    }

    /// How often a delivery is tried at most.
    pub fn tries(&self) -> u32 {
        u32::try_from(self.delays.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The delay after the `failures`-th failure; `None` when that was the last try.
    pub fn delay(&self, failures: u32) -> Option<Duration> {
        let index = usize::try_from(failures).ok()?.checked_sub(1)?;
        self.delays.get(index).copied()
    }

    /// The time from the first to the last try, without jitter.
    pub fn length(&self) -> Duration {
        self.delays.iter().sum()
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The rules of delivery that a host may set.
///
/// ```
/// use std::time::Duration;
/// use tidings::{Mode, Policy, Schedule};
///
/// let policy = Policy::default().with_timeout(Duration::from_secs(5));
/// assert_eq!(policy.schedule(Mode::Live).tries(), 10);
/// assert_eq!(policy.schedule(Mode::Test).tries(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    live: Schedule,
    test: Schedule,
    timeout: Duration,
    jitter_percent: u32,
    retry_after_max: Duration,
    pause_min: Duration,
    pause_max: Duration,
    interruptions_free: u32,
    warn_after: Duration,
    disable_after: Duration,
    expire_after: Duration,
    retain: Duration,
    retain_statistics: Duration,
}

impl Default for Policy {
    /// Live: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h (10 tries over about 75 h, as
    /// Standard Webhooks advises). Test mode: 5 min, 2 h (3 tries). A deadline of 15 s for each
    /// attempt. Warned of after a day of nothing but failure, and disabled after 5 days. Waiting deliveries
    /// expire, and events may be pruned, 30 days after the publish. Statistics are kept for 90 days.
    fn default() -> Self {
        let live = [
            Duration::from_secs(5),
            5 * MINUTE,
            30 * MINUTE,
            2 * HOUR,
            5 * HOUR,
            10 * HOUR,
            14 * HOUR,
            20 * HOUR,
            24 * HOUR,
        ];
        Self {
            live: Schedule { delays: live.to_vec() },
            test: Schedule { delays: vec![5 * MINUTE, 2 * HOUR] },
            timeout: Duration::from_secs(15),
            jitter_percent: 10,
            retry_after_max: 24 * HOUR,
            pause_min: Duration::from_secs(5),
            pause_max: 15 * MINUTE,
            interruptions_free: 3,
            warn_after: DAY,
            disable_after: 5 * DAY,
            expire_after: 30 * DAY,
            retain: 30 * DAY,
            retain_statistics: 90 * DAY,
        }
    }
}

impl Policy {
    /// The schedule of retries in `mode`.
    pub fn schedule(&self, mode: Mode) -> &Schedule {
        match mode {
            Mode::Live => &self.live,
            Mode::Test => &self.test,
        }
    }

    /// The deadline of one attempt, from the look-up of the name to the last byte of the answer,
    /// for webhooks that set none of their own.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The most that jitter adds to a delay, in percent of it. It never shortens one. Unless this is 0,
    /// pauses that no receiver asked for are spread, too, within their bounds.
    pub fn jitter_percent(&self) -> u32 {
        self.jitter_percent
    }

    /// The longest `Retry-After` that is honoured; longer ones are cut to it.
    pub fn retry_after_max(&self) -> Duration {
        self.retry_after_max
    }

    /// The shortest pause of a lane.
    pub fn pause_min(&self) -> Duration {
        self.pause_min
    }

    /// The longest pause of a lane that the receiver did not ask for.
    pub fn pause_max(&self) -> Duration {
        self.pause_max
    }

    /// How many interruptions (crashes of the sender) of one delivery are free. Each later one
    /// counts as a failure on the schedule, so that a payload that kills its sender ends.
    pub fn interruptions_free(&self) -> u32 {
        self.interruptions_free
    }

    /// How long a webhook of `mode` must do nothing but fail before it is warned of: half the time after
    /// which it is disabled at most, so that there is a warning, and time to act on it.
    pub fn warn_after(&self, mode: Mode) -> Duration {
        self.warn_after.min(self.disable_after(mode) / 2)
    }

    /// How long a webhook of `mode` must do nothing but fail before it is disabled (seed row W17).
    /// Never shorter than the schedule with its jitter: a last try comes before the disable.
    pub fn disable_after(&self, mode: Mode) -> Duration {
        let length = self.schedule(mode).length();
        let with_jitter = length + length * self.jitter_percent / 100;
        self.disable_after.max(with_jitter)
    }

    /// How long after its publish an unfinished delivery expires.
    pub fn expire_after(&self) -> Duration {
        self.expire_after
    }

    /// How long after its publish an event whose deliveries have all ended is kept.
    pub fn retain(&self) -> Duration {
        self.retain
    }

    /// How long the counts of an hour are kept.
    pub fn retain_statistics(&self) -> Duration {
        self.retain_statistics
    }

    /// Sets the schedule of retries in `mode`.
    #[must_use]
    pub fn with_schedule(mut self, mode: Mode, schedule: Schedule) -> Self {
        match mode {
            Mode::Live => self.live = schedule,
            Mode::Test => self.test = schedule,
        }
        self
    }

    /// Sets the deadline of one attempt; clamped to 1 s to 60 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.clamp(*TIMEOUT_RANGE.start(), *TIMEOUT_RANGE.end());
        self
    }

    /// Sets the most that jitter adds to a delay; clamped to 100 percent.
    #[must_use]
    pub fn with_jitter_percent(mut self, percent: u32) -> Self {
        self.jitter_percent = percent.min(100);
        self
    }

    /// Sets the longest `Retry-After` that is honoured; clamped to 30 days.
    #[must_use]
    pub fn with_retry_after_max(mut self, max: Duration) -> Self {
        self.retry_after_max = max.min(DELAY_MAX);
        self
    }

    /// Sets the shortest and the longest pause of a lane; clamped to 1 s to 30 days.
    #[must_use]
    pub fn with_pause(mut self, min: Duration, max: Duration) -> Self {
        self.pause_min = min.clamp(Duration::from_secs(1), DELAY_MAX);
        self.pause_max = max.clamp(self.pause_min, DELAY_MAX);
        self
    }

    /// Sets how many interruptions of one delivery are free.
    #[must_use]
    pub fn with_interruptions_free(mut self, interruptions: u32) -> Self {
        self.interruptions_free = interruptions;
        self
    }

    /// Sets how long a webhook must do nothing but fail before it is warned of; at least a minute.
    #[must_use]
    pub fn with_warn_after(mut self, time: Duration) -> Self {
        self.warn_after = time.max(MINUTE);
        self
    }

    /// Sets how long a webhook must do nothing but fail before it is disabled. A value shorter than
    /// a schedule's length counts as that length.
    #[must_use]
    pub fn with_disable_after(mut self, time: Duration) -> Self {
        self.disable_after = time;
        self
    }

    /// Sets how long after its publish an unfinished delivery expires.
    #[must_use]
    pub fn with_expire_after(mut self, time: Duration) -> Self {
        self.expire_after = time;
        self
    }

    /// Sets how long after its publish an event whose deliveries have all ended is kept.
    #[must_use]
    pub fn with_retain(mut self, time: Duration) -> Self {
        self.retain = time;
        self
    }

    /// Sets how long the counts of an hour are kept.
    #[must_use]
    pub fn with_retain_statistics(mut self, time: Duration) -> Self {
        self.retain_statistics = time;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds schedules at their bounds and beyond (table).
    #[test]
    fn a_schedule_is_bounded() {
        for (delays, tries) in [(vec![], 1), (vec![DELAY_MAX; 64], 65), (vec![MINUTE; 3], 4)] {
            let schedule = Schedule::new(delays.clone()).unwrap();
            assert_eq!((schedule.tries(), schedule.length()), (tries, delays.iter().sum()));
            let read: Vec<_> = (1..).map_while(|failures| schedule.delay(failures)).collect();
            assert_eq!(read, delays);
            assert_eq!(schedule.delay(0), None);
            assert_eq!(schedule.delay(u32::MAX), None);
        }
        let second = Duration::from_secs(1);
        for (delays, limit) in [(vec![second; 65], "64"), (vec![DELAY_MAX + second], "30 days")] {
            let error = Schedule::new(delays).unwrap_err();
            assert_eq!(error.field(), Some("schedule"));
            assert!(error.to_string().contains(limit), "{error}");
        }
        let endless = std::iter::repeat(second);
        assert!(Schedule::new(endless).is_err());
    }

    /// Sets what a host may set, far beyond what makes sense (table).
    #[test]
    fn a_policy_is_clamped() {
        let (zero, endless) = (Duration::ZERO, Duration::MAX);
        let low = Policy::default()
            .with_timeout(zero)
            .with_jitter_percent(0)
            .with_retry_after_max(zero)
            .with_pause(zero, zero)
            .with_disable_after(zero);
        assert_eq!(low.timeout(), Duration::from_secs(1));
        assert_eq!((low.jitter_percent(), low.retry_after_max()), (0, zero));
        assert_eq!(
            (low.pause_min(), low.pause_max()),
            (Duration::from_secs(1), Duration::from_secs(1))
        );
        assert_eq!(low.disable_after(Mode::Live), low.schedule(Mode::Live).length());
        let high = Policy::default()
            .with_timeout(endless)
            .with_jitter_percent(u32::MAX)
            .with_retry_after_max(endless)
            .with_pause(endless, zero)
            .with_schedule(Mode::Live, Schedule::new([DELAY_MAX; 64]).unwrap())
            .with_disable_after(endless);
        assert_eq!(high.timeout(), Duration::from_secs(60));
        assert_eq!((high.jitter_percent(), high.retry_after_max()), (100, DELAY_MAX));
        assert_eq!((high.pause_min(), high.pause_max()), (DELAY_MAX, DELAY_MAX));
        assert_eq!(high.disable_after(Mode::Live), endless);
        let jittered = high.with_disable_after(zero);
        assert_eq!(jittered.disable_after(Mode::Live), DELAY_MAX * 128);
    }

    /// Compares the defaults with the tables that they come from (Standard Webhooks; domain 6).
    #[test]
    fn the_defaults_are_those_of_the_documents() {
        let policy = Policy::default();
        assert_eq!(policy.schedule(Mode::Live).tries(), 10);
        assert_eq!(
            policy.schedule(Mode::Live).length(),
            75 * HOUR + 35 * MINUTE + Duration::from_secs(5)
        );
        assert_eq!(policy.schedule(Mode::Test).tries(), 3);
        for mode in [Mode::Live, Mode::Test] {
            assert_eq!(policy.disable_after(mode), 5 * DAY);
        }
        assert_eq!((policy.timeout(), policy.jitter_percent()), (Duration::from_secs(15), 10));
        assert_eq!((policy.expire_after(), policy.retain()), (30 * DAY, 30 * DAY));
    }

    /// Compares what a receiver remembers with what a sender with the defaults does.
    #[test]
    fn a_receiver_remembers_for_as_long_as_a_sender_tries() {
        let policy = Policy::default();
        let length = policy.schedule(Mode::Live).length();
        assert!(SEEN_AGE > length + length * policy.jitter_percent() / 100);
        assert!(SEEN_AGE >= policy.disable_after(Mode::Live));
    }
}
