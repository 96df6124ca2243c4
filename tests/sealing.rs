//! Secrets at rest, whole way: what is sealed, what opens it, and what happens where nothing does.
#![cfg(all(feature = "engine", feature = "sealing"))]

#[path = "support/trace.rs"]
mod trace;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidings::storage::{MemoryStorage, Storage};
use tidings::transport::{Request, Response, Transport, transport_fn};
use tidings::{
    Account, Authentication, Basic, Change, Confirmation, DeliveryQuery, Edit, EndpointUrl,
    ErrorKind, FailureKind, Grant, Headers, KeyId, KeyProvider, KeyRing, Mode, OAuth, Outcome,
    Overlap, PageRequest, Registration, Result, SealingKey, Secret, Tidings, Timestamp, Verifier,
    Webhook, WebhookId, WebhookQuery, WebhookView,
};
use tokio::sync::{Notify, oneshot};

/// Far more time than anything here needs.
const CEILING: Duration = Duration::from_secs(60);

fn key(id: &str, byte: u8) -> SealingKey {
    trace::listen();
    SealingKey::new(KeyId::parse(id).unwrap(), [byte; 32])
}

fn typed() -> Confirmation {
    Confirmation::new("ada", "ada")
}

fn canary(n: u8) -> Secret {
    Secret::parse(&format!("whk_CANARY-00000000-0000-4000-80{n:02}")).unwrap()
}

fn credentials() -> Edit {
    Edit::new()
        .headers(Headers::parse([("X-Key", "CANARY-header \"quoted\"")]).unwrap())
        .authentication(Authentication::Basic(Basic::new("ada", "CANARY-basic").unwrap()))
}

fn oauth() -> Edit {
    let endpoint = EndpointUrl::parse("https://id.example/t").unwrap();
    let grant = Grant::password("ada", "CANARY-user");
    let oauth = OAuth::new(endpoint, "shop", "CANARY-client", grant).unwrap();
    Edit::new().authentication(Authentication::OAuth(oauth))
}

fn registration(name: &str) -> Registration {
    Registration::new(&format!("https://{name}.example/hook"), ["order.*"])
        .unwrap()
        .enabled(true)
        .secret(canary(1))
        .with(credentials())
}

fn webhook(edit: Edit) -> Webhook {
    let now = Timestamp::UNIX_EPOCH;
    let id = WebhookId::new(now, &[1; 10]);
    registration("a")
        .account(Account::new("acme").unwrap())
        .with(edit)
        .into_webhook(id, Secret::from_random(&[2; 32]), now)
        .unwrap()
        .stored(now)
}

/// Fails for the key and repeats nothing of what is secret.
fn locked<T: std::fmt::Debug>(result: Result<T>, id: &str) -> String {
    let error = result.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert_eq!(error.kind(), ErrorKind::Sealed, "{shown}");
    assert!(shown.contains(id) && !shown.contains("CANARY"), "{shown}");
    error.to_string()
}

/// Seals webhooks with each authentication, stores and opens them.
#[test]
fn what_is_sealed_opens_as_it_was() {
    let key = key("k1", 1);
    for edit in [Edit::new(), oauth()] {
        let open = webhook(edit);
        let sealed = open.seal(&key, [7; 24]).unwrap();
        let text = sealed.to_stored().unwrap();
        assert!(open.to_stored().unwrap().matches("CANARY").count() >= 3);
        assert!(!text.contains("CANARY"), "{text}");
        let read = Webhook::from_stored(&text).unwrap();
        assert_eq!(read, sealed);
        assert_eq!(read.sealed_with(), Some(key.id()));
        assert_eq!(read.open(&key).unwrap(), open);
        assert_eq!(open.open(&key).unwrap(), open, "what is open stays so");
        let other = open.seal(&key, [8; 24]).unwrap().to_stored().unwrap();
        assert_ne!(other, text, "each nonce gives another text");
    }
}

/// Asks a sealed webhook for everything that needs its secrets, and for what does not.
#[test]
fn a_sealed_webhook_signs_nothing_and_is_not_edited() {
    let key = key("k1", 1);
    let open = webhook(Edit::new());
    let sealed = open.seal(&key, [7; 24]).unwrap();
    locked(sealed.secrets().cloned(), "key k1");
    locked(sealed.edit(Edit::new().description("x")), "key k1");
    locked(sealed.with_secrets(open.secrets().unwrap().clone()), "key k1");
    locked(sealed.seal(&key, [7; 24]), "key k1");
    assert!(!format!("{sealed:?} {key:?}").contains("CANARY"));

    let view = |webhook: &Webhook| serde_json::to_value(WebhookView::from(webhook)).unwrap();
    assert_eq!(view(&sealed), view(&open), "a listing is the same");
    let disabled = sealed.disable(tidings::DisabledReason::Person);
    assert_eq!(disabled.open(&key).unwrap(), open.disable(tidings::DisabledReason::Person));
}

/// Seals a webhook that signs with a private key, stores it, and lists it beside the open one.
#[cfg(feature = "ed25519")]
#[test]
fn what_receivers_verify_with_is_listed_of_a_sealed_webhook() {
    use tidings::SignatureScheme::StandardWebhooksAsymmetric;

    let now = Timestamp::UNIX_EPOCH;
    let secret = Secret::asymmetric_from_random(&[7; 32]);
    let open = Registration::new("https://a.example/hook", ["order.*"])
        .unwrap()
        .secret(secret.clone())
        .with(Edit::new().schemes([StandardWebhooksAsymmetric]))
        .into_webhook(WebhookId::new(now, &[1; 10]), Secret::from_random(&[2; 32]), now)
        .unwrap();
    let sealed = open.seal(&key("a", 1), [3; 24]).unwrap();
    let stored = Webhook::from_stored(&sealed.to_stored().unwrap()).unwrap();
    for webhook in [&open, &sealed, &stored] {
        let view = WebhookView::from(webhook);
        assert_eq!(view.public_key, secret.public_key().map(|key| key.to_string()));
    }
    assert_eq!(stored.open(&key("a", 1)).unwrap(), open);
}

/// Moves the sealed text to other records, and changes it at every place (table).
#[test]
fn a_record_that_was_changed_or_moved_does_not_open() {
    let key = key("k1", 1);
    let sealed = webhook(oauth()).seal(&key, [7; 24]).unwrap();
    let record: Value = serde_json::from_str(&sealed.to_stored().unwrap()).unwrap();
    let read = |record: &Value| Webhook::from_stored(&record.to_string()).unwrap();
    assert!(read(&record).open(&key).is_ok());

    let other = WebhookId::new(Timestamp::UNIX_EPOCH, &[2; 10]).to_string();
    for (field, value) in [
        ("account", json!("other")),
        ("account", json!("acm")),
        ("id", json!(other)),
        ("mode", json!("test")),
    ] {
        let mut moved = record.clone();
        assert_ne!(moved[field], value);
        moved[field] = value;
        locked(read(&moved).open(&key), "key k1");
    }
    for part in ["text", "nonce"] {
        let bytes = STANDARD.decode(record["sealed"][part].as_str().unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let mut record = record.clone();
            record["sealed"][part] = STANDARD.encode(changed).into();
            locked(read(&record).open(&key), "key k1");
        }
    }
    for text in ["", "AAAA"] {
        let mut cut = record.clone();
        cut["sealed"]["text"] = text.into();
        locked(read(&cut).open(&key), "key k1");
    }
    let mut renamed = record.clone();
    renamed["sealed"]["key"] = "k2".into();
    let renamed = read(&renamed);
    locked(renamed.open(&key), "key k2");
    locked(renamed.open(&SealingKey::new(KeyId::parse("k2").unwrap(), [1; 32])), "key k2");
}

/// Opens with a key of another name, and with other bytes under the same name.
#[test]
fn a_wrong_key_is_named() {
    let sealed = webhook(Edit::new()).seal(&key("k1", 1), [7; 24]).unwrap();
    assert!(locked(sealed.open(&key("k2", 1)), "key k1").contains("not k2"));
    assert!(locked(sealed.open(&key("k1", 2)), "key k1").contains("other bytes"));
}

/// Keys that can be exchanged.
#[derive(Debug, Clone)]
struct Keys(Arc<Mutex<KeyRing>>);

impl Keys {
    fn new(ring: KeyRing) -> Self {
        Self(Arc::new(Mutex::new(ring)))
    }

    fn set(&self, ring: KeyRing) {
        *self.0.lock().unwrap() = ring;
    }
}

impl KeyProvider for Keys {
    fn current(&self) -> Result<SealingKey> {
        self.0.lock().unwrap().current()
    }

    fn key(&self, id: &KeyId) -> Result<Option<SealingKey>> {
        self.0.lock().unwrap().key(id)
    }
}

/// What receivers got.
#[derive(Default)]
struct Got {
    events: Mutex<Vec<http::Request<bytes::Bytes>>>,
    count: AtomicUsize,
    bell: Notify,
}

impl Got {
    fn transport(self: &Arc<Self>) -> impl Transport {
        let got = Arc::clone(self);
        transport_fn(move |request: Request| {
            got.events.lock().unwrap().push(request.http);
            got.count.fetch_add(1, Ordering::SeqCst);
            got.bell.notify_one();
            async { Ok(Response::new(204)) }
        })
    }

    async fn until(&self, count: usize) {
        let wait = async {
            while self.count.load(Ordering::SeqCst) < count {
                self.bell.notified().await;
            }
        };
        tokio::time::timeout(CEILING, wait).await.expect("it arrives");
    }

    /// Checks that each was signed with one of these and has the credentials.
    fn verify(&self, secrets: &[Secret]) {
        for request in &*self.events.lock().unwrap() {
            let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            let verifier = Verifier::standard_webhooks(secrets.iter().cloned()).unwrap();
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
            verifier.verify(headers, request.body(), chrono::Utc::now()).unwrap();
            assert_eq!(header("x-key"), "CANARY-header \"quoted\"");
            assert_eq!(
                header("authorization"),
                format!("Basic {}", STANDARD.encode("ada:CANARY-basic"))
            );
        }
    }
}

/// A dispatcher that runs until it is stopped.
async fn while_running<T>(
    tidings: &Tidings,
    transport: impl Transport,
    work: impl Future<Output = T>,
) -> T {
    let (stop, stopped) = oneshot::channel::<()>();
    let dispatcher = tidings.dispatcher(transport).unwrap();
    let run = dispatcher.run(async {
        let _ = stopped.await;
    });
    let work = async {
        let result = work.await;
        drop(stop);
        result
    };
    tokio::time::timeout(CEILING, async { tokio::join!(run, work).1 }).await.expect("it ends")
}

async fn publish(tidings: &Tidings) {
    let change = Change::of("order.paid", &json!({ "id": "7" })).unwrap();
    tidings.publish(&tidings.event(change).unwrap()).await.unwrap();
}

async fn all(tidings: &Tidings) -> Vec<Webhook> {
    let page = PageRequest::first(100).unwrap();
    tidings.webhooks(&WebhookQuery::default(), &page).await.unwrap().items
}

/// Creates, delivers, edits and rotates over a storage, and looks at what it holds.
async fn whole_way(storage: Arc<dyn Storage>) {
    let keys = Keys::new(KeyRing::new(key("k1", 1)));
    let tidings = Tidings::builder_shared(storage.clone()).keys(keys).build();
    let created = tidings.create(registration("a")).await.unwrap().webhook;
    let id = created.id();
    assert_eq!(created.secrets().unwrap().current(), &canary(1), "shown once");
    let k1 = KeyId::parse("k1").unwrap();
    assert!(all(&tidings).await.iter().all(|webhook| webhook.sealed_with() == Some(&k1)));
    assert_eq!(tidings.reveal(id, &typed()).await.unwrap().current(), &canary(1));

    let got = Arc::new(Got::default());
    let rotated = while_running(&tidings, got.transport(), async {
        publish(&tidings).await;
        got.until(1).await;
        got.verify(&[canary(1)]);
        let rotated = tidings.rotate(id, Overlap::IMMEDIATE, &typed()).await.unwrap();
        tidings.edit(id, None, Edit::new().description("new")).await.unwrap();
        tidings.disable(id, &typed()).await.unwrap();
        tidings.enable(id).await.unwrap();
        got.events.lock().unwrap().clear();
        publish(&tidings).await;
        got.until(2).await;
        rotated
    })
    .await;
    got.verify(&[rotated.current().clone()]);
    let stored = tidings.webhook(id).await.unwrap();
    assert_eq!((stored.description(), stored.sealed_with()), ("new", Some(&k1)));
    let same = tidings.edit(id, None, Edit::new().description("new")).await.unwrap();
    assert_eq!(same, stored, "an edit that changes nothing writes nothing");

    let query = |text: &str| WebhookQuery { text: Some(text.into()), ..WebhookQuery::default() };
    let page = PageRequest::default();
    for text in [id.to_string(), "A.EXAMPLE/ho".into()] {
        let found = tidings.webhooks(&query(&text), &page).await.unwrap().items;
        assert_eq!(found, std::slice::from_ref(&stored));
    }
    assert!(tidings.webhooks(&query("CANARY"), &page).await.unwrap().items.is_empty());

    // Somebody without the keys.
    let other = Tidings::builder_shared(storage).build();
    locked(other.reveal(id, &typed()).await, "key k1");
    locked(other.rotate(id, Overlap::IMMEDIATE, &typed()).await, "key k1");
    locked(other.edit(id, None, Edit::new().description("x")).await, "key k1");
    assert_eq!(other.webhook(id).await.unwrap(), stored);
    assert!(!other.disable(id, &typed()).await.unwrap().is_enabled(), "that needs no key");
    assert!(tidings.enable(id).await.unwrap().is_enabled());
    assert_eq!(tidings.reveal(id, &typed()).await.unwrap(), rotated);
}

/// Goes the whole way in memory.
#[tokio::test]
async fn the_whole_way_in_memory() {
    whole_way(Arc::new(MemoryStorage::new())).await;
}

/// Goes the whole way in a file, and searches its bytes; the same in clear, so that the search is one.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn no_secret_is_in_the_file() {
    let canaries = |folder: &std::path::Path| {
        let mut found = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            found += bytes.windows(6).filter(|window| window == b"CANARY").count();
        }
        found
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.db");
    let storage = tidings::storage::SqliteStorage::open(&file).await.unwrap();
    let storage: Arc<dyn Storage> = Arc::new(storage);
    whole_way(storage.clone()).await;
    assert_eq!(canaries(folder.path()), 0);
    Tidings::builder_shared(storage).build().create(registration("b")).await.unwrap();
    assert!(canaries(folder.path()) >= 3);
}

/// Sends to webhooks sealed with a key that is missing, and that is another: nothing leaves, and the
/// attempt says why; the receiver is not to blame.
#[tokio::test]
async fn without_the_key_nothing_is_sent() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let tidings = Tidings::builder_shared(storage.clone()).keys(KeyRing::new(key("k1", 1))).build();
    let id = tidings.create(registration("a")).await.unwrap().webhook.id();
    for ring in [None, Some(KeyRing::new(key("k2", 1))), Some(KeyRing::new(key("k1", 2)))] {
        let builder = Tidings::builder_shared(storage.clone());
        let tidings = match ring {
            Some(ring) => builder.keys(ring).build(),
            None => builder.build(),
        };
        let got = Arc::new(Got::default());
        let change = Change::of("order.paid", &json!({ "id": "7" })).unwrap();
        let event = tidings.event(change).unwrap();
        let views = while_running(&tidings, got.transport(), async {
            tidings.publish(&event).await.unwrap();
            let query = DeliveryQuery { event: Some(event.id()), ..DeliveryQuery::default() };
            loop {
                let found = tidings.deliveries(&query, &PageRequest::default()).await.unwrap();
                if found.items.iter().any(|view| !view.attempts.is_empty()) {
                    return found.items;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(got.count.load(Ordering::SeqCst), 0);
        let attempt = &views[0].attempts[0];
        assert_eq!(attempt.outcome, Outcome::Unanswered(FailureKind::Sealed));
        let text = format!("{views:?}");
        assert!(attempt.error.as_ref().unwrap().contains("key k1"), "{text}");
        assert!(!text.contains("CANARY"), "{text}");
        assert_eq!(views[0].delivery.failures, 0, "it counts as our own trouble");
    }
    assert!(tidings.webhook(id).await.unwrap().is_enabled());
}

/// Exchanges the key while events flow, seals anew in small steps, and takes the old key away.
#[tokio::test]
async fn keys_rotate_under_traffic() {
    const WEBHOOKS: usize = 25;
    const ROUNDS: usize = 12;
    let keys = Keys::new(KeyRing::new(key("k1", 1)));
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let clear = Tidings::builder_shared(storage.clone()).build();
    let tidings = Tidings::builder_shared(storage).keys(keys.clone()).build();
    for n in 0..WEBHOOKS {
        // Every fifth is there from before there were keys.
        let handle = if n % 5 == 0 { &clear } else { &tidings };
        handle.create(registration(&format!("a{n}"))).await.unwrap();
    }
    let got = Arc::new(Got::default());
    while_running(&tidings, got.transport(), async {
        let mut done = 0;
        for round in 0..ROUNDS {
            publish(&tidings).await;
            match round {
                2 => keys.set(KeyRing::new(key("k2", 2)).with_old(key("k1", 1))),
                3..=7 => {
                    let resealed = tidings.reseal(5).await.unwrap();
                    done += resealed.done;
                    assert_eq!((resealed.done, resealed.left), (5, WEBHOOKS - done));
                }
                8 => {
                    let resealed = tidings.reseal(5).await.unwrap();
                    assert_eq!((resealed.done, resealed.left, resealed.locked), (0, 0, 0));
                    keys.set(KeyRing::new(key("k2", 2)));
                }
                _ => {}
            }
        }
        got.until(WEBHOOKS * ROUNDS).await;
    })
    .await;
    assert_eq!(got.count.load(Ordering::SeqCst), WEBHOOKS * ROUNDS, "each once");
    got.verify(&[canary(1)]);
    let used: BTreeSet<_> = all(&tidings).await.iter().map(|w| w.sealed_with().cloned()).collect();
    assert_eq!(used, [Some(KeyId::parse("k2").unwrap())].into());
}

/// Edits every webhook while they are sealed anew, many times over.
#[tokio::test]
async fn edits_and_resealing_do_not_undo_each_other() {
    let keys = Keys::new(KeyRing::new(key("k1", 1)));
    let tidings = Tidings::builder(MemoryStorage::new()).keys(keys.clone()).build();
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(tidings.create(registration(&format!("a{n}"))).await.unwrap().webhook.id());
    }
    keys.set(KeyRing::new(key("k2", 2)).with_old(key("k1", 1)));
    let edits = ids.iter().flat_map(|id| (0..3).map(move |n| (*id, n))).map(|(id, n)| {
        let edit = match n {
            0 => Edit::new().description("edited"),
            1 => Edit::new().metadata([("team".to_owned(), "ops".to_owned())].into()),
            _ => Edit::new().timeout(Some(Duration::from_secs(5))),
        };
        let tidings = &tidings;
        async move { tidings.edit(id, None, edit).await.map(|_| ()) }
    });
    let reseals = (0..3).map(|_| tidings.reseal(7));
    let (edited, resealed) = tokio::join!(
        futures_util::future::join_all(edits),
        futures_util::future::join_all(reseals),
    );
    edited.into_iter().collect::<Result<Vec<_>>>().unwrap();
    resealed.into_iter().collect::<Result<Vec<_>>>().unwrap();
    while tidings.reseal(7).await.unwrap().left > 0 {}
    keys.set(KeyRing::new(key("k2", 2)));
    for webhook in all(&tidings).await {
        assert_eq!(webhook.description(), "edited");
        assert_eq!(webhook.metadata().len(), 1);
        assert_eq!(webhook.timeout(), Some(Duration::from_secs(5)));
        let secrets = tidings.reveal(webhook.id(), &typed()).await.unwrap();
        assert_eq!(secrets.current(), &canary(1));
    }
}

/// Seals anew where one key is lost, and where there is no provider.
#[tokio::test]
async fn what_is_locked_is_counted_and_left_alone() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    for (id, byte) in [("k1", 1), ("k2", 2)] {
        let tidings =
            Tidings::builder_shared(storage.clone()).keys(KeyRing::new(key(id, byte))).build();
        tidings.create(registration(id)).await.unwrap();
    }
    let ring = KeyRing::new(key("k3", 3)).with_old(key("k2", 2));
    let tidings = Tidings::builder_shared(storage.clone()).keys(ring).build();
    let resealed = tidings.reseal(100).await.unwrap();
    assert_eq!((resealed.done, resealed.left, resealed.locked), (1, 1, 1));
    let clear = Tidings::builder_shared(storage).build();
    assert_eq!(clear.reseal(1).await.unwrap_err().kind(), ErrorKind::Refused);
}

/// A provider that panics.
#[derive(Debug)]
struct Panicking;

impl KeyProvider for Panicking {
    fn current(&self) -> Result<SealingKey> {
        panic!("planted")
    }

    fn key(&self, _: &KeyId) -> Result<Option<SealingKey>> {
        panic!("planted")
    }
}

/// Asks a provider that panics, in the dispatcher too.
#[tokio::test]
async fn a_provider_that_panics_is_contained() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let sealed = webhook(Edit::new()).seal(&key("k1", 1), [7; 24]).unwrap();
    let tidings = Tidings::builder_shared(storage).keys(Panicking).build();
    assert_eq!(tidings.create(registration("a")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(all(&tidings).await.is_empty(), "nothing is stored in clear");
    let record = sealed.to_stored().unwrap().replace("\"version\":1", "\"version\":0");
    let sealed = Webhook::from_stored(&record).unwrap();
    assert_eq!(sealed.mode(), Mode::Live);
    let id = tidings.storage().put(&sealed, chrono::Utc::now()).await.unwrap().id();
    locked(tidings.reveal(id, &typed()).await, "key k1");
}

/// A writer into memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs two dispatchers of each handle, with keys and without, and counts the lines that warn.
#[tokio::test]
async fn secrets_in_clear_are_warned_of_once() {
    for (with_keys, warnings) in [(false, 1), (true, 0)] {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let mut builder = Tidings::builder(MemoryStorage::new());
        if with_keys {
            builder = builder.keys(KeyRing::new(key("k1", 1)));
        }
        let tidings = builder.build();
        let got = Arc::new(Got::default());
        for _ in 0..2 {
            while_running(&tidings.clone(), got.transport(), async {}).await;
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let found: Vec<_> = text.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(found.len(), warnings, "{text}");
        assert!(found.iter().all(|line| line.contains("stored in clear") && line.contains("keys")));
    }
}
