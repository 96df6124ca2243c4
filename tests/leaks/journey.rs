//! One life of webhooks with canaries for secrets: made, listed, sent to over TLS, refused, rotated, and
//! broken in every way that shows an error.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tidings::storage::Storage;
use tidings::transport::{HyperOptions, HyperTransport, Resolver};
use tidings::{
    Authentication, Basic, Change, ClientIdentity, Confirmation, DeliveryQuery, DispatcherOptions,
    Edit, EndpointUrl, EventQuery, Grant, HeaderValue, Headers, KeyId, KeyRing, NetworkPolicy,
    Notice, OAuth, Observer, Overlap, PageRequest, Policy, Registration, SealingKey, Secret,
    Tidings, Token, Webhook, WebhookId, WebhookQuery, WebhookView,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::authority::Authority;
use crate::log;

const SECRET: &[u8; 32] = b"CANARY-webhook-secret-0123456789";
pub(crate) const PASSWORD: &str = "CANARY-basic-password";
const CLIENT_SECRET: &str = "CANARY-client-secret";
const TOKEN: &str = "CANARY-access-token";
const HEADER: &str = "CANARY-header-value";
const USERINFO: &str = "https://shop:CANARY-userinfo@example.com/";
const GRANT_PASSWORD: &str = "CANARY-grant-password";

const SEALING_KEY: &[u8; 32] = b"CANARY-sealing-key-0123456789abc";

const LIMIT: Duration = Duration::from_secs(60);

/// What anybody could read of that life, beside the logs.
pub(crate) struct Journey {
    shown: Vec<String>,
    sent: usize,
}

impl Journey {
    pub(crate) async fn over(storage: Arc<dyn Storage>) -> Self {
        log::listen();
        let mut journey = Self { shown: Vec::new(), sent: 0 };
        journey.refusals();
        let authority = Authority::new();
        let port = receiver(&authority).await;
        let (told, mut notices) = mpsc::unbounded_channel();
        let millisecond = Duration::from_millis(1);
        let network =
            NetworkPolicy::public_only().allow("127.0.0.0/8".parse().unwrap()).require_https(true);
        let key = SealingKey::new(KeyId::parse("k1").unwrap(), *SEALING_KEY);
        let ring = KeyRing::new(key.clone());
        journey.debugs(&key);
        journey.debugs(&ring);
        let builder = Tidings::builder_shared(storage.clone())
            .keys(ring)
            .policy(Policy::default().with_pause(millisecond, millisecond))
            .network(network.clone())
            .observer(Ear(told));
        let tidings = builder.build();
        let options = HyperOptions::default()
            .with_network(network)
            .with_root_certificate(authority.0.der().to_vec())
            .with_resolver(Loopback);
        journey.debugs(&options);
        let transport = HyperTransport::new(options).unwrap();
        let identity = journey.identity(&authority);
        let ids = journey.register(&tidings, port, identity).await;

        let options = DispatcherOptions::default().poll(Duration::from_millis(10));
        let dispatcher = tidings.dispatcher_with(Arc::new(transport), options).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(dispatcher.run(async {
            let _ = stopped.await;
        }));
        for number in 0..3 {
            let change = Change::of("order.paid", &json!({ "id": number.to_string() })).unwrap();
            tidings.publish(&tidings.event(change).unwrap()).await.unwrap();
        }
        // The first attempts of all: three events for each webhook.
        let mut attempts = 0;
        while attempts < 3 * ids.len() {
            let notice = tokio::time::timeout(LIMIT, notices.recv()).await.unwrap().unwrap();
            attempts += usize::from(matches!(&notice, Notice::Settled { .. }));
            journey.debugs(&notice);
        }
        journey.sent = attempts;
        journey.listings(&tidings).await;
        journey.edits(&tidings, &storage, &ids).await;
        stop.send(()).unwrap();
        tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
        journey.debugs(&tidings);
        // A panic of the host's with values of ours in its words.
        let webhook = tidings.webhook(ids[1]).await.unwrap();
        let panicked = std::panic::catch_unwind(|| panic!("planted: {webhook:?}"));
        assert!(panicked.is_err());
        journey
    }

    fn debugs(&mut self, value: &dyn Debug) {
        self.shown.push(format!("{value:?}"));
        self.shown.push(format!("{value:#?}"));
    }

    fn error(&mut self, error: impl std::error::Error) {
        self.shown.push(error.to_string());
        self.shown.push(format!("{error:?}"));
        let mut source = error.source();
        while let Some(cause) = source {
            self.shown.push(format!("{cause} {cause:?}"));
            source = cause.source();
        }
    }

    /// Input with canaries that breaks a rule each.
    fn refusals(&mut self) {
        let url = |text: &str| EndpointUrl::parse(text);
        let token = url("https://id.example/token").unwrap();
        for error in [
            url(USERINFO).unwrap_err(),
            Registration::new(USERINFO, ["*"]).unwrap_err(),
            Basic::new("u", format!("{PASSWORD}\n")).unwrap_err(),
            Basic::new("u", PASSWORD.repeat(40)).unwrap_err(),
            OAuth::new(token.clone(), "", CLIENT_SECRET, Grant::client_credentials(None))
                .unwrap_err(),
            OAuth::new(token, "c", format!("{CLIENT_SECRET}\0"), Grant::password("u", PASSWORD))
                .unwrap_err(),
            HeaderValue::parse(&format!("{HEADER}\r\nx: y")).unwrap_err(),
            Headers::parse([(format!("X-A: {HEADER}").as_str(), "1")]).unwrap_err(),
            Secret::parse(&String::from_utf8_lossy(SECRET)).unwrap_err(),
            Secret::parse(&format!("whsec_{}!", PASSWORD)).unwrap_err(),
            Secret::parse(&format!("whsk_{}", PASSWORD)).unwrap_err(),
            Token::parse_response(format!(r#"{{"access_token":"{TOKEN}\n"}}"#).as_bytes())
                .unwrap_err(),
            Token::parse_response(format!(r#"{{"access_token":"{TOKEN}""#).as_bytes()).unwrap_err(),
            Webhook::from_stored(&format!(r#"{{"secrets":"{PASSWORD}"}}"#)).unwrap_err(),
            Webhook::from_stored(&format!(r#"{{"enabled":true,"headers":[["{HEADER}"]]}}"#))
                .unwrap_err(),
        ] {
            self.error(error);
        }
        self.debugs(&Token::parse_response(format!(r#"{{"access_token":"{TOKEN}"}}"#).as_bytes()));
    }

    /// A client certificate, and what is said of others that cannot be read.
    fn identity(&mut self, authority: &Authority) -> ClientIdentity {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["sender.example".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority.0).unwrap().pem();
        let pem = key.serialize_pem();
        log::watch(&pem, &key.serialize_der());
        let identity = ClientIdentity::from_pem(&certificate, &pem).unwrap();
        self.debugs(&identity);
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for (certificates, key) in [
            (pem.as_str(), pem.as_str()),
            (&certificate, &certificate),
            (&certificate, &pem[..pem.len() / 2]),
            (&certificate, &pem.replace('A', "!")),
            ("", &pem),
            (&certificate, &format!("{pem}{pem}")),
            (&certificate, &other),
        ] {
            if let Err(error) = ClientIdentity::from_pem(certificates, key) {
                self.error(error);
            }
        }
        identity
    }

    /// Webhooks with a canary in each place: one that answers well, one behind a token, one whose token
    /// is refused, one whose token endpoint is broken, one that does not speak TLS as it should.
    async fn register(
        &mut self,
        tidings: &Tidings,
        port: u16,
        identity: ClientIdentity,
    ) -> Vec<WebhookId> {
        let mut ids = Vec::new();
        let oauth = |path: &str, grant| {
            let endpoint = format!("https://hooks.example:{port}/{path}");
            let endpoint = EndpointUrl::parse(&endpoint).unwrap();
            Authentication::OAuth(OAuth::new(endpoint, "shop", CLIENT_SECRET, grant).unwrap())
        };
        let basic = || Authentication::Basic(Basic::new("shop", PASSWORD).unwrap());
        let password = || Grant::password("ada", GRANT_PASSWORD);
        for (host, path, authentication) in [
            ("hooks.example", "good", basic()),
            ("hooks.example", "good", oauth("token", Grant::client_credentials(None))),
            ("hooks.example", "refused", oauth("token", password())),
            ("hooks.example", "good", oauth("broken", password())),
            ("other.example", "good", basic()),
        ] {
            let headers = Headers::parse([("X-Key", HEADER)]).unwrap();
            let edit = Edit::new()
                .headers(headers)
                .authentication(authentication)
                .client_identity(Some(identity.clone()));
            self.debugs(&edit);
            let registration = Registration::new(&format!("https://{host}:{port}/{path}"), ["*"])
                .unwrap()
                .with(edit)
                .secret(Secret::from_random(SECRET))
                .enabled(true);
            self.debugs(&registration);
            let created = tidings.create(registration).await.unwrap();
            self.debugs(&created);
            ids.push(created.webhook.id());
        }
        ids
    }

    /// Everything that can be listed, as JSON and as `Debug`.
    async fn listings(&mut self, tidings: &Tidings) {
        let page = PageRequest::first(100).unwrap();
        let webhooks = tidings.webhooks(&WebhookQuery::default(), &page).await.unwrap();
        self.debugs(&webhooks);
        for webhook in &webhooks.items {
            let view = WebhookView::from(webhook);
            self.debugs(&view);
            self.shown.push(serde_json::to_string(&view).unwrap());
        }
        let events = tidings.events(&EventQuery::default(), &page).await.unwrap();
        self.debugs(&events);
        let deliveries = tidings.deliveries(&DeliveryQuery::default(), &page).await.unwrap();
        self.debugs(&deliveries);
        for view in &deliveries.items {
            self.shown.push(serde_json::to_string(&tidings::DeliveryJson::from(view)).unwrap());
            for attempt in &view.attempts {
                self.shown.push(String::from_utf8_lossy(&attempt.response).into_owned());
                self.shown.push(attempt.error.clone().unwrap_or_default());
            }
        }
    }

    /// What people do with webhooks, well and badly.
    async fn edits(&mut self, tidings: &Tidings, storage: &Arc<dyn Storage>, ids: &[WebhookId]) {
        let (yes, no) = (Confirmation::new("ada", "ada"), Confirmation::new("ada", "eve"));
        let id = ids[0];
        self.error(tidings.reveal(id, &no).await.unwrap_err());
        self.error(tidings.rotate(id, Overlap::default(), &no).await.unwrap_err());
        self.error(tidings.disable(id, &no).await.unwrap_err());
        let secrets = tidings.reveal(id, &yes).await.unwrap();
        self.debugs(&secrets);
        let secrets = tidings.rotate(id, Overlap::default(), &yes).await.unwrap();
        self.debugs(&secrets);
        let stale = Edit::new().headers(Headers::parse([("X-Other", HEADER)]).unwrap());
        self.error(tidings.edit(id, Some(1), stale.clone()).await.unwrap_err());
        let edited = tidings.edit(id, None, stale).await.unwrap();
        self.debugs(&edited);
        let clash = Edit::new().headers(Headers::parse([("Authorization", HEADER)]).unwrap());
        self.error(tidings.edit(id, None, clash).await.unwrap_err());
        let stale = edited.disable(tidings::DisabledReason::Person);
        storage.put(&stale, edited.updated()).await.unwrap();
        self.error(storage.put(&stale, edited.updated()).await.unwrap_err());
        tidings.send_test(ids[1]).await.unwrap();
        tidings.disable(id, &yes).await.unwrap();
        tidings.delete(id).await.unwrap();
    }

    /// Looks for canaries in all of it.
    pub(crate) fn search(self) {
        let logged = log::logged();
        // It listened to all of them: HTTP/2, TLS and the crate itself. hyper has no words of its own.
        for crate_name in ["tidings", "h2", "rustls"] {
            assert!(logged.contains(&format!(" {crate_name}::")), "no word of {crate_name}");
        }
        assert!(logged.contains("planted: "), "panics are not heard");
        assert!(self.sent > 0 && self.shown.len() > 100);
        let hits = log::found(&logged);
        assert!(hits.is_empty(), "{} in the log, such as: {}", hits.len(), hits[0]);
        for text in self.shown {
            let hits = log::found(&text);
            assert!(hits.is_empty(), "{hits:?}");
        }
    }
}

#[derive(Debug)]
struct Ear(mpsc::UnboundedSender<Notice>);

impl Observer for Ear {
    fn notice(&self, notice: &Notice) {
        let _ = self.0.send(notice.clone());
    }
}

/// Every name is here.
#[derive(Debug)]
struct Loopback;

#[async_trait]
impl Resolver for Loopback {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

/// A receiver over TLS that speaks both versions of HTTP, with token endpoints.
async fn receiver(authority: &Authority) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = authority.acceptor("hooks.example", &["h2", "http/1.1"]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    port
}

async fn answer(
    request: http::Request<Incoming>,
) -> Result<http::Response<String>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    let _ = request.into_body().collect().await;
    let (status, body) = match path.as_str() {
        "/token" => (200, json!({ "access_token": TOKEN, "expires_in": 60 }).to_string()),
        "/broken" => (400, format!("{CLIENT_SECRET} and {GRANT_PASSWORD} are wrong")),
        "/refused" => (401, String::new()),
        _ => (204, String::new()),
    };
    Ok(http::Response::builder().status(status).body(body).unwrap())
}
