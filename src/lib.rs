//! Embeddable events and webhooks: publish a change, deliver it signed, at least once, losing nothing.
//!
//! A host application links this crate. When a resource changes, the host publishes an event; `tidings`
//! keeps it durably and delivers it to every webhook that wants it: signed, retried for days, at least
//! once. There is no server to run beside the host, and no message broker: the storage is the queue.
//!
//! # Publishing
//!
//! ```no_run
//! use tidings::storage::SqliteStorage;
//! use tidings::transport::{HyperOptions, HyperTransport};
//! use tidings::{Change, Registration, Tidings};
//!
//! # use std::future::pending;
//! # use serde_json::json;
//! # async fn shown() -> tidings::Result<()> {
//! # let shutdown = pending();
//! # let before = json!({ "id": "247468780336", "state": "in_review" });
//! # let after = json!({ "id": "247468780336", "state": "accepted" });
//! let tidings = Tidings::new(SqliteStorage::open("tidings.db").await?);
//! let transport = HyperTransport::new(HyperOptions::default())?;
//! tokio::spawn(tidings.dispatcher(transport)?.run(shutdown));
//!
//! let webhook = Registration::new("https://example.com/hook", ["order.*"])?.enabled(true);
//! tidings.create(webhook).await?;
//!
//! let event = tidings.event(Change::updated("order.accepted", &before, &after)?)?;
//! tidings.publish(&event).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `Ok` from `publish` means that the event is on the disk. Keep the event and publish it again after
//! an error: its id tells the repetition.
//!
//! # From a change to its events
//!
//! An event's type is `resource.state`, nearly always. Rules for the rest are declared once: states that are
//! called otherwise, parts that have events of their own, changes that say several things. The host hands
//! over what a resource was and what it is:
//!
//! ```
//! # use serde_json::json;
//! # use tidings::{Tidings, storage::MemoryStorage};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tidings::Result<()> {
//! # let tidings = Tidings::new(MemoryStorage::new());
//! # let before = json!({ "id": "247468780336", "state": "pending_payment" });
//! # let after = json!({ "id": "247468780336", "state": "in_review" });
//! use tidings::{DataObject, ResourceModel};
//!
//! let capture = ResourceModel::builder("capture").state("state").object(DataObject::Parent);
//! let order = ResourceModel::builder("order")
//!     .state("state")
//!     .on_state("in_review", ["order.review_opened"])
//!     .part("captures[]", capture)
//!     .build()?;
//!
//! let events = tidings.events_of(order.events(&before, &after)?)?;
//! tidings.publish_all(&events).await?;
//! # assert_eq!(events[0].event_type().as_str(), "order.review_opened");
//! # Ok(())
//! # }
//! ```
//!
//! A [`Catalogue`] says which types there are: it refuses others, checks payloads against
//! their schemas, and tells people and tools. [`docs::resources`] has all of it, and the example
//! `commerce` a shop's whole day.
//!
//! # Publishing in your own transaction
//!
//! Where the change is a row of yours, publish in the transaction that changes it: both are kept, or
//! neither. An [`Outbox`](outbox::Outbox) writes through your own driver:
//!
//! ```
//! # use tidings::{Event, Result, Tidings, outbox::{Outbox, SqlExecutor}};
//! # async fn shown(mut tx: impl SqlExecutor, event: Event, tidings: Tidings) -> Result<()> {
//! let outbox = Outbox::postgres(); // or `Outbox::sqlite()`
//! outbox.publish(&mut tx, &[event]).await?;
//! // Commit the transaction; then:
//! tidings.wake();
//! # Ok(())
//! # }
//! ```
//!
//! [`docs::outbox`] has the ten lines that make a transaction of sqlx, sea-orm, diesel, rusqlite or
//! tokio-postgres fit. The example `transaction` is killed in the middle of things and counts.
//!
//! # Many nodes: PostgreSQL
//!
//! A host of several processes or machines keeps all of it in PostgreSQL (feature `postgres`), and runs
//! a dispatcher in every one. Only the storage is another:
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn shown(transport: impl tidings::transport::Transport + 'static) -> tidings::Result<()> {
//! # use std::future::pending;
//! # use tidings::Tidings;
//! # let shutdown = pending();
//! use tidings::storage::PostgresStorage;
//!
//! let storage = PostgresStorage::connect("postgres://shop@db.example.com/shop?sslmode=require").await?;
//! let tidings = Tidings::new(storage);
//! tokio::spawn(tidings.dispatcher(transport)?.run(shutdown));
//! # Ok(())
//! # }
//! ```
//!
//! Its tables lie in a schema of their own, `tidings`, which the first start makes. The nodes share the
//! work; what a node had in flight that dies is sent again by the others, after its lease (30 s). See it
//! with `cargo run --features postgres --example cluster`, which kills one of three processes and counts:
//! it takes the URL of a database, or starts a server for itself where PostgreSQL is installed.
//!
//! # Receiving
//!
//! A receiver needs no feature of the crate. It verifies the bytes as they came:
//!
//! ```
//! use tidings::{Secret, Timestamp, Verifier};
//!
//! # fn verify(headers: &[(&str, &[u8])], body: &[u8], now: Timestamp) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::standard_webhooks([Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?])?;
//! let verified = verifier.verify(headers.iter().copied(), body, now)?;
//! // `verified.id` is the same on every attempt: what was seen before is acknowledged, and not done again.
//! # Ok(())
//! # }
//! # assert!(verify(&[], b"{}", Timestamp::UNIX_EPOCH).is_err());
//! ```
//!
//! In axum the feature `receiver` does the rest: it bounds the body, parses the event, tells repetitions
//! and calls a handler for each type. `docs::receiving` has both ways.
//!
//! # The words
//!
//! * A [`Change`] of a resource becomes an [`Event`]: a type (`order.charge.capture.complete`), the
//!   resource as it is now, and the attributes that changed with their values before. The payload's
//!   bytes are fixed then; every attempt sends the same. So are those for webhooks that are pinned to an
//!   older version of the host's API.
//! * A [`Webhook`] is a receiver's registration: an address, the types that it wants (`order.*`), and
//!   secrets. It is disabled until somebody enables it.
//! * A [`Delivery`] is one event owed to one webhook. Who is owed an event is decided by when it was
//!   published: every webhook that was enabled for it at that time.
//! * An [`Attempt`] is one try of a delivery. Only an answer from 200 to 299 ends it well.
//! * A [`Dispatcher`] sends what is owed, while it runs. Several may run over one storage.
//! * A [`Policy`] says when to try again, when to leave a receiver in peace, and when to give up.
//!
//! # What it does
//!
//! * Publishes one event or many, all or nothing, idempotent by the event's id.
//! * Delivers at least once: what was answered with `Ok` is delivered, or its end is on record
//!   (exhausted, expired, cancelled). A crash between a receiver's answer and its record makes a
//!   repetition, with the same id and the same bytes.
//! * Signs by Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`) with a shared
//!   secret (`v1`) or a private key (`v1a`), in the form `t=…,v1=…`, or as `<timestamp>, <base64>…` in a
//!   header of your choice; up to five secrets at once, so that they can be rotated.
//! * Authenticates itself, where a receiver asks for it, by basic authentication, OAuth 2.0 or a client
//!   certificate, and sends headers of your choice.
//! * Seals secrets and credentials before a storage sees them, where the host gives keys.
//! * Keeps, for webhooks that want it, the order of each object's events, a rate limit, and a limit of
//!   requests under way, over all processes that send.
//! * Retries over about three days, honours `Retry-After`, leaves a receiver in peace that is
//!   overloaded, and disables one that does nothing but fail for days.
//! * Dials public addresses only, unless the host allows more. Every address is vetted after the name
//!   was looked up, and the vetted one is dialled.
//! * Keeps the record: events, deliveries, attempts with status, latency and the answer's beginning;
//!   redelivers on request, and replays past events: all, what failed, or what a webhook missed.
//! * Counts attempts, successes, ends and latencies by hour, exactly, for each webhook and account; answers
//!   readiness probes; passes traces on; and has metrics.
//! * Lets operators and customers manage webhooks over an HTTP API and a web page, as far as the host's
//!   authorizer lets each of them (features `api`, `console`).
//!
//! # What it does not do
//!
//! * Deliver exactly once: nobody can over HTTP. Receivers tell repetitions by the id.
//! * Deliver in order where nobody asks for it: deliveries run side by side, and a retry comes later
//!   than what was published after it. A webhook that is ordered ([`Ordering::PerObject`]) gets the
//!   events of one object one after the other, in the order of their publishes; those of different
//!   objects, redeliveries and test events go side by side all the same.
//! * Speak to databases other than SQLite and PostgreSQL: bring your own [`Storage`](storage::Storage).
//! * Encrypt payloads: they lie in the database in clear, and so do secrets unless the host gives keys
//!   (feature `sealing`).
//! * Listen: it opens no port. The HTTP API and the web page are routers, which a host mounts behind its
//!   own login.
//! * Change payloads on their way: a host has code for that, also for receivers of
//!   older versions of its API ([`docs::versions`]).
//!
//! # Own storage, own transport
//!
//! Storage and transport are traits: [`Storage`](storage::Storage) (batches in, batches out; the store
//! compares, locks and writes, and never decides) and [`Transport`](transport::Transport) (one request,
//! one answer). The feature `conformance` has a suite that a storage passes in one test. The examples
//! `storage` and `transport` implement each; [`docs::own_storage`] and [`docs::own_transport`] are the
//! guides.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `engine` | yes | ports, dispatcher, the `Tidings` handle, the in-memory storage (tokio) |
//! | `sqlite` | yes | durable storage in one SQLite file |
//! | `sqlite-bundled` | yes | compiles SQLite into the program |
//! | `postgres` | no | durable storage for many nodes in PostgreSQL, the outbox over tokio-postgres |
//! | `outbox-rusqlite` | no | the outbox over transactions of rusqlite |
//! | `hyper` | yes | the HTTP transport over hyper and rustls |
//! | `native-roots` | no | trust in the operating system's root certificates |
//! | `conformance` | no | the suite for implementers of the storage ports |
//! | `sealing` | no | secrets and credentials are sealed before a storage sees them |
//! | `schema` | no | payloads are checked against the JSON Schemas of a catalogue |
//! | `ed25519` | no | signatures with private and public keys: `v1a` of Standard Webhooks |
//! | `api` | no | the HTTP API: an axum router to mount behind the host's login |
//! | `console` | no | the webhook service page over that API, with its files in the crate |
//! | `receiver` | no | the receiver's side in axum: verify, parse, tell repetitions, dispatch |
//! | `metrics` | no | metrics through the facade `metrics` |
//! | `toml` | no | catalogues can be read from TOML |
//! | `testing` | no | the test kit for hosts: scripted receivers, virtual time, expectations |
//!
//! Without any feature the crate is its ground floor: events, webhooks, signatures and the verifier,
//! with no async runtime. It needs Rust 1.89.
//!
//! # More
//!
//! [`docs::getting_started`] is where to begin; [`docs::production`] has the checklist of what to set before
//! production, [`docs::observability`] what there is to see, [`docs::operations`] what each alarm means, and [`docs::moving`] how to come from another
//! sender. [`docs::resources`] says how changes become events, [`docs::conditions`] what must be in one for
//! a webhook, [`docs::lifecycle`] what becomes of an event, [`docs::outbox`] how to publish in a transaction
//! of your own, `docs::receiving` how to receive, [`docs::versions`] how to serve receivers of older
//! versions, [`docs::security`] what is promised against whom, [`docs::scale`] what one database carries,
//! [`docs::own_storage`] and [`docs::own_transport`] how to bring your own, [`docs::replay`] how to deliver past
//! events again, `docs::api` how to manage webhooks over HTTP, `docs::testing` how to test a
//! host, and [`docs::design`] why things are as they are.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(doc)]
pub mod docs;
mod ground;

#[cfg(feature = "engine")]
mod adapters;
#[cfg(feature = "console")]
mod console;
#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "api")]
mod http;
#[cfg(feature = "engine")]
mod ports;
#[cfg(feature = "receiver")]
#[cfg_attr(docsrs, doc(cfg(feature = "receiver")))]
pub mod receiver;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

pub use ground::account::{Account, Mode};
pub use ground::address::EndpointUrl;
pub use ground::address_rule::AddressRule;
pub use ground::advance::{Health, LaneChange, Next, Seen, Transition, advance, must_account};
pub use ground::authentication::{Authentication, Basic};
pub use ground::catalogue::{Catalogue, CatalogueBuilder, CatalogueEntry, Selected};
pub use ground::change::Change;
pub use ground::condition::Condition;
pub use ground::delivery::{
    Attempt, Delivery, DeliveryView, Fence, Outcome, Standing, State, StateKind,
};
pub use ground::diff;
pub use ground::digest::Digest;
pub use ground::error::{Error, ErrorKind, Result};
pub use ground::event::{Event, StoredEvent};
pub use ground::event_type::{EventType, TEST_EVENT_TYPE};
pub use ground::failure::FailureKind;
pub use ground::filter::{Filter, Filters};
pub use ground::header::{HeaderName, HeaderValue, Headers};
pub use ground::id::{Cause, DeliveryId, DispatcherId, EventId, ReplayId, WebhookId};
pub use ground::identity::{ClientIdentity, KeyForm, RootCertificates, TlsSettings};
pub use ground::lane::{Lane, Readiness, Turned};
pub use ground::model::{DataObject, ModelBuilder, ModelChange, ResourceModel};
pub use ground::network::{NetworkPolicy, Refusal};
pub use ground::oauth::{Grant, OAuth, Token};
pub use ground::order::{OrderKey, Ordering};
pub use ground::page::{Cursor, Page, PageRequest, Place};
pub use ground::policy::{self, Policy, Schedule};
#[cfg(feature = "ed25519")]
#[cfg_attr(docsrs, doc(cfg(feature = "ed25519")))]
pub use ground::public_key::PublicKey;
pub use ground::query::{DeliveryQuery, EventQuery, WebhookQuery};
pub use ground::rate_limit::RateLimit;
pub use ground::replay::{
    ReplayEvent, ReplayJob, ReplayKind, ReplayPass, ReplayRoom, ReplayScope, ReplayState,
};
pub use ground::replay_request::{ReplayQuery, ReplayRequest};
pub use ground::resource::{self, Resource};
pub use ground::retry_after::retry_after;
pub use ground::secret::Secret;
pub use ground::secrets::{Overlap, SecretRecord, Secrets};
pub use ground::signature::{SignatureScheme, Verified, Verifier, VerifyError};
pub use ground::statistics::{self, StatisticsQuery, StatisticsReport};
pub use ground::time::{self, Timestamp};
pub use ground::trace::TraceContext;
pub use ground::vault::KeyId;
#[cfg(feature = "sealing")]
#[cfg_attr(docsrs, doc(cfg(feature = "sealing")))]
pub use ground::vault_key::SealingKey;
pub use ground::versions::{VersionedData, Versions};
pub use ground::view::{
    AttemptJson, DeliveryJson, OAuthView, TransportType, UserView, WebhookView,
};
pub use ground::webhook::{
    Confirmation, Created, DisabledReason, Edit, Registration, Status, Webhook,
};

#[cfg(feature = "engine")]
pub use engine::backlog::Backlog;
#[cfg(feature = "engine")]
pub use engine::dispatcher::Dispatcher;
#[cfg(feature = "engine")]
pub use engine::health::{DispatcherHealth, HealthReport};
#[cfg(feature = "engine")]
pub use engine::options::DispatcherOptions;
#[cfg(all(feature = "engine", feature = "sealing"))]
#[cfg_attr(docsrs, doc(cfg(feature = "sealing")))]
pub use engine::reseal::Resealed;
#[cfg(feature = "engine")]
pub use engine::tidings::{Builder, Published, Tidings};
#[cfg(feature = "engine")]
pub use ground::report::ReportKind;
#[cfg(all(feature = "engine", feature = "sealing"))]
#[cfg_attr(docsrs, doc(cfg(feature = "sealing")))]
pub use ports::keys::{KeyProvider, KeyRing};
#[cfg(feature = "engine")]
pub use ports::{
    clock::{Clock, SystemClock, clock_fn},
    entropy::{Entropy, OsEntropy, entropy_fn},
    observer::{Notice, Observer},
};

/// The HTTP API, and the port that says who may do what over it.
#[cfg(feature = "api")]
#[cfg_attr(docsrs, doc(cfg(feature = "api")))]
pub mod api {
    #[cfg(feature = "console")]
    #[cfg_attr(docsrs, doc(cfg(feature = "console")))]
    pub use crate::console::Console;
    pub use crate::http::{Actor, Api, Authorizer, Permission, authorizer_fn, openapi};
}

/// What a sender does with signatures. A receiver uses [`Verifier`].
pub mod signature {
    pub use crate::ground::signature::{check, sign};
}

/// The storage port, and the storages that come with the crate.
#[cfg(feature = "engine")]
pub mod storage {
    #[cfg(feature = "conformance")]
    pub use crate::adapters::conformance;
    pub use crate::adapters::memory::MemoryStorage;
    #[cfg(feature = "postgres")]
    #[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
    pub use crate::adapters::postgres::{Migration, PostgresOptions, PostgresStorage};
    #[cfg(feature = "sqlite")]
    pub use crate::adapters::sqlite::{SqliteOptions, SqliteStorage};
    pub use crate::ports::kept::KeptWebhook;
    pub use crate::ports::replay::{Replay, ReplayStepped};
    pub use crate::ports::statistics::{Counted, Statistics};
    pub use crate::ports::storage::*;
}

/// Publishing in a transaction of the host's own, with the host's own driver.
#[cfg(feature = "engine")]
pub mod outbox {
    pub use crate::adapters::outbox::Outbox;
    pub use crate::ports::sql::{BlockingSqlExecutor, BoxError, SqlExecutor};
}

/// What a host decides and adds when a delivery is about to be sent.
#[cfg(feature = "engine")]
pub mod hooks {
    pub use crate::ports::hooks::{Hooks, Sending};
    pub use crate::ports::sql::BoxError;
}

/// The transport port, and the transport that comes with the crate.
#[cfg(feature = "engine")]
pub mod transport {
    #[cfg(feature = "hyper")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
    pub use crate::adapters::hyper::{HyperOptions, HyperTransport, Resolver};
    pub use crate::ports::transport::{Request, Response, Transport, TransportError, transport_fn};
}
