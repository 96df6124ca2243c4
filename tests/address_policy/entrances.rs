//! The same URLs at every entrance: registration, edit, token endpoint, and the moment of sending,
//! where a webhook may be older than the policy.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidings::storage::MemoryStorage;
use tidings::transport::{Request, Response, Transport, transport_fn};
use tidings::{
    AddressRule, Authentication, Change, DeliveryQuery, Edit, EndpointUrl, Error, FailureKind,
    Grant, NetworkPolicy, Notice, OAuth, Observer, Outcome, PageRequest, Registration, Tidings,
    WebhookId, policy,
};
use tokio::sync::mpsc;

use super::lists;

const GOOD: &str = "https://example.com/hook";

fn registration(address: &str) -> Result<Registration, Error> {
    Registration::new(address, ["*"]).map(|registration| registration.enabled(true))
}

fn tokens_from(endpoint: &str) -> Result<Authentication, Error> {
    let endpoint = EndpointUrl::parse(endpoint)?;
    let oauth = OAuth::new(endpoint, "shop", "s3cret", Grant::client_credentials(None))?;
    Ok(Authentication::OAuth(oauth))
}

/// The URL with `https`, for entrances that ask for it: what is wrong about it stays wrong.
fn secured(text: &str) -> String {
    match text.split_at_checked("http://".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => format!("https://{rest}"),
        _ => text.to_owned(),
    }
}

/// Hands every refused and every accepted URL to registration and edit, as address and as token
/// endpoint, and counts webhooks afterwards.
#[tokio::test]
async fn every_way_in_has_the_same_verdict() {
    let tidings = Tidings::builder(MemoryStorage::new()).build();
    let webhook = tidings.create(registration(GOOD).unwrap()).await.unwrap().webhook;
    let id = webhook.id();
    for (rule, text) in lists::refused() {
        let created = async { tidings.create(registration(&text)?).await.map(drop) }.await;
        let edited = async {
            let edit = Edit::new().address(EndpointUrl::parse(&text)?);
            tidings.edit(id, None, edit).await.map(drop)
        };
        for (field, verdict) in [("address", created), ("address", edited.await)] {
            let error = verdict.expect_err(&text);
            assert_eq!(
                (error.rule(), error.field()),
                (Some(rule), Some(field)),
                "{text:?}: {error}"
            );
        }
        // A byte longer with `https`, so that the longest would break another rule.
        let text = secured(&text);
        let created = async {
            let registration =
                registration(GOOD)?.with(Edit::new().authentication(tokens_from(&text)?));
            tidings.create(registration).await.map(drop)
        };
        let edited = async {
            let edit = Edit::new().authentication(tokens_from(&text)?);
            tidings.edit(id, None, edit).await.map(drop)
        };
        for verdict in [created.await, edited.await] {
            let error = verdict.expect_err(&text);
            assert_eq!(error.rule(), Some(rule), "{text:?}: {error}");
        }
    }
    let page = tidings.webhooks(&Default::default(), &PageRequest::default()).await.unwrap();
    assert_eq!(page.items, [webhook], "nothing was created or changed");

    for text in lists::accepted() {
        let uri = EndpointUrl::parse(&text).unwrap().url().as_str().parse::<http::Uri>();
        assert!(uri.is_ok(), "{text:?} cannot be sent to");
        let other = tidings.create(registration(&text).unwrap()).await.expect(&text).webhook;
        let edit = Edit::new().address(EndpointUrl::parse(&text).unwrap());
        tidings.edit(other.id(), None, edit).await.expect(&text);
        let text = secured(&text);
        // The longest one has a byte too many by the longer scheme.
        if text.len() > policy::URL_BYTES_MAX {
            assert_eq!(tokens_from(&text).unwrap_err().rule(), Some(AddressRule::Text));
            continue;
        }
        let authentication = tokens_from(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let edit = Edit::new().authentication(authentication);
        tidings.edit(id, None, edit).await.expect(&text);
    }
}

/// Refuses a token endpoint of another field and looks at the error.
#[tokio::test]
async fn a_refused_token_endpoint_is_named() {
    let tidings = Tidings::builder(MemoryStorage::new()).build();
    let registration = registration(GOOD).unwrap();
    let registration = registration
        .with(Edit::new().authentication(tokens_from("https://10.0.0.1/token").unwrap()));
    let error = tidings.create(registration).await.unwrap_err();
    assert_eq!(error.field(), Some("oauth.tokenEndPoint"));
    assert_eq!(
        error.to_string(),
        "oauth.tokenEndPoint: 10.0.0.1 may not be dialled: a private network (rule R5: address)"
    );
}

/// Tells when a delivery was settled.
#[derive(Debug)]
struct Settlements(mpsc::UnboundedSender<()>);

impl Observer for Settlements {
    fn notice(&self, notice: &Notice) {
        if let Notice::Settled { .. } = notice {
            let _ = self.0.send(());
        }
    }
}

/// A transport that answers everything and vets nothing.
fn careless(sent: &Arc<AtomicUsize>) -> impl Transport {
    let sent = Arc::clone(sent);
    transport_fn(move |_: Request| {
        sent.fetch_add(1, Ordering::Relaxed);
        async { Ok(Response::new(204)) }
    })
}

/// Registers under a policy that allows everything, publishes, and dispatches under `network`; says
/// what was sent, and the first outcome of each webhook.
async fn sent_under(
    network: NetworkPolicy,
    registrations: Vec<Registration>,
) -> (usize, Vec<(WebhookId, Outcome, String)>) {
    let storage = MemoryStorage::new();
    let all = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap());
    let everything = all.into_iter().fold(NetworkPolicy::public_only(), NetworkPolicy::allow);
    let before = Tidings::builder(storage.clone()).network(everything).build();
    let count = registrations.len();
    for registration in registrations {
        before.create(registration).await.unwrap();
    }
    let (settled, mut settlements) = mpsc::unbounded_channel();
    let after = Tidings::builder(storage).network(network).observer(Settlements(settled)).build();
    let object = serde_json::json!({"id": "1"});
    let event = after.event(Change::of("order.paid", &object).unwrap()).unwrap();
    after.publish(&event).await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let dispatcher = after.dispatcher(careless(&sent)).unwrap();
    let all = async {
        for _ in 0..count {
            settlements.recv().await;
        }
    };
    let run = dispatcher.run(all);
    tokio::time::timeout(std::time::Duration::from_secs(60), run).await.expect("it settles");
    let mut outcomes = Vec::new();
    let mut request = PageRequest::first(100).unwrap();
    loop {
        let page = after.deliveries(&DeliveryQuery::default(), &request).await.unwrap();
        for view in page.items {
            let attempt = &view.attempts[0];
            let error = attempt.error.clone().unwrap_or_default();
            outcomes.push((view.delivery.webhook, attempt.outcome, error));
        }
        match page.next {
            Some(next) => request = request.after(next),
            None => break,
        }
    }
    assert_eq!(outcomes.len(), count);
    (sent.load(Ordering::Relaxed), outcomes)
}

/// Sends to webhooks and for tokens that are older than the policy, through a transport that vets
/// nothing, and counts what reached it.
#[tokio::test]
async fn a_webhook_that_is_older_than_the_policy_is_not_sent_to() {
    let refused = lists::refused();
    let parsed = refused.iter().filter(|(_, text)| EndpointUrl::parse(text).is_ok());
    let mut registrations = Vec::new();
    for (_, text) in parsed {
        registrations.push(registration(text).unwrap());
        let authentication = tokens_from(&secured(text)).unwrap();
        registrations
            .push(registration(GOOD).unwrap().with(Edit::new().authentication(authentication)));
    }
    assert!(registrations.len() > 200, "{}", registrations.len());
    let (sent, outcomes) = sent_under(NetworkPolicy::public_only(), registrations).await;
    assert_eq!(sent, 0);
    for (_, outcome, error) in outcomes {
        assert_eq!(outcome, Outcome::Unanswered(FailureKind::Blocked), "{error}");
        assert!(error.contains("(rule R"), "{error}");
    }
}

/// Sends under settings that were made stricter since the webhooks were registered.
#[tokio::test]
async fn stricter_settings_hold_for_older_webhooks() {
    let loopback: IpAddr = "8.8.8.8".parse().unwrap();
    let policies = [
        NetworkPolicy::public_only().require_https(true),
        NetworkPolicy::public_only().only_ports([443]),
        NetworkPolicy::public_only().deny(loopback.into()),
    ];
    for policy in policies {
        let registrations = vec![registration("http://8.8.8.8/").unwrap()];
        let (sent, outcomes) = sent_under(policy, registrations).await;
        assert_eq!(sent, 0);
        assert_eq!(outcomes[0].1, Outcome::Unanswered(FailureKind::Blocked));
    }
    let (sent, outcomes) =
        sent_under(NetworkPolicy::public_only(), vec![registration("http://8.8.8.8/").unwrap()])
            .await;
    assert_eq!(sent, 1);
    assert!(outcomes[0].1.is_success());
}
