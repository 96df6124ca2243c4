//! Reports: what a host hears of its customers' webhooks by events of the crate's own.

use serde_json::Value;
use tidings::{
    Account, Catalogue, CatalogueEntry, Edit, ErrorKind, Event, EventQuery, FailureKind, Filter,
    Filters, Notice, PageRequest, Registration, ReportKind, StateKind,
};

use super::kit::{Answer, FINE, Stage, exact, quiet, registration, seconds};

const HOUR: u64 = 3_600;

fn operators() -> Account {
    Account::new("operators").unwrap()
}

fn reporting(answer: impl Fn(&super::kit::Hit) -> Answer + Send + 'static) -> Stage {
    Stage::built(|builder| builder.reports(operators()), answer)
}

/// The events of the crate's own, oldest first.
async fn reports(stage: &Stage) -> Vec<Event> {
    let types = ReportKind::ALL.map(|kind| Filter::parse(kind.event_type()).unwrap()).into();
    let query = EventQuery { types, ..EventQuery::default() };
    let page = stage.tidings.events(&query, &PageRequest::first(100).unwrap()).await.unwrap();
    page.items.into_iter().rev().collect()
}

fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.event_type().as_str()).collect()
}

fn object(event: &Event) -> Value {
    serde_json::from_str(event.object().unwrap().get()).unwrap()
}

/// An operator's own webhook, which hears of everything in its account.
async fn listener(stage: &Stage, host: &str) {
    let registration = registration(host)
        .with(Edit::new().types(Filters::parse(["webhook.*", "delivery.*"]).unwrap()));
    stage.tidings.create(registration.account(operators())).await.unwrap();
}

/// A receiver that fails for two days and comes back: one warning, one recovery, each delivered once,
/// and told to the observer.
#[tokio::test(start_paused = true)]
async fn a_webhook_that_fails_for_a_day_and_recovers_is_reported() {
    let stage = reporting(|_| FINE);
    let webhook = stage.webhook("a").await;
    listener(&stage, "ops").await;
    stage.receivers.change_to(|hit| match hit.host.as_str() {
        "a" => Answer::Fail(FailureKind::Connect),
        _ => FINE,
    });
    let run = stage.start(quiet());
    for _ in 0..4 {
        stage.publish(1).await;
        tokio::time::sleep(seconds(12 * HOUR)).await;
    }
    stage.receivers.change_to(|_| FINE);
    stage.until_ended(6).await;
    run.stop().await;
    let found = reports(&stage).await;
    assert_eq!(types(&found), ["webhook.failing", "webhook.recovered"]);
    for event in &found {
        assert_eq!((event.account(), event.mode()), (&operators(), webhook.mode()));
        let object = object(event);
        assert_eq!(object["id"], webhook.id().to_string());
        assert_eq!(object["address"], webhook.address().as_str());
        assert_eq!(object["failingSince"], "2026-01-01T00:00:00.000Z");
        let text = object.to_string();
        assert!(!text.contains("whsec_") && !text.contains("secret"), "{text}");
    }
    assert_eq!(object(&found[0])["lastAttempt"]["failure"], "connect");
    assert_eq!(object(&found[1])["lastAttempt"]["success"], true);
    let heard: Vec<_> = stage.receivers.hits_of("ops");
    let heard: Vec<_> = heard.iter().map(|hit| hit.event.clone()).collect();
    assert_eq!(heard, [found[0].id().to_string(), found[1].id().to_string()]);
    let notices = stage.notices.all();
    let told = |wanted: fn(&Notice) -> bool| notices.iter().filter(|n| wanted(n)).count();
    assert_eq!(told(|notice| matches!(notice, Notice::Failing { .. })), 1);
    assert_eq!(told(|notice| matches!(notice, Notice::Recovered { .. })), 1);
}

/// Answers 410, and fails a delivery to its end.
#[tokio::test(start_paused = true)]
async fn what_is_disabled_or_exhausted_is_reported() {
    let stage = reporting(|hit| match hit.host.as_str() {
        "gone" => Answer::Status(410),
        "broken" => Answer::Status(500),
        _ => FINE,
    });
    let gone = stage.webhook("gone").await;
    let broken = stage.webhook("broken").await;
    listener(&stage, "ops").await;
    let run = stage.start(quiet());
    let event = stage.publish(1).await.remove(0);
    stage.until(|stage| stage.receivers.hits_of("ops").len() == 3).await;
    run.stop().await;
    let found = reports(&stage).await;
    assert_eq!(types(&found), ["webhook.disabled", "webhook.failing", "delivery.exhausted"]);
    let disabled = object(&found[0]);
    assert_eq!(disabled["id"], gone.id().to_string());
    assert_eq!(
        (&disabled["enabled"], &disabled["disabledReason"]),
        (&false.into(), &"gone".into())
    );
    assert_eq!(disabled["version"], gone.version() + 1, "the webhook as it is stored");
    let exhausted = object(&found[2]);
    assert_eq!(exhausted["webhookId"], broken.id().to_string());
    assert_eq!(exhausted["eventId"], event.id().to_string());
    assert_eq!((&exhausted["type"], &exhausted["failures"]), (&"order.paid".into(), &10.into()));
    assert_eq!(exhausted["lastAttempt"]["status"], 500);
    assert_eq!(exhausted["account"], "default");
}

/// Every receiver fails, that of the reports as well, in one account for all, until everything has
/// ended: reports come to an end, too.
#[tokio::test(start_paused = true)]
async fn reports_of_reports_come_to_an_end() {
    let stage =
        Stage::built(|builder| builder.reports(Account::default()), |_| Answer::Status(500));
    for host in ["a", "b"] {
        let every = registration(host).with(Edit::new().types(Filters::parse(["*"]).unwrap()));
        stage.tidings.create(every).await.unwrap();
    }
    let run = stage.start(quiet());
    stage.publish(1).await;
    tokio::time::sleep(seconds(60 * 24 * HOUR)).await;
    run.stop().await;
    let found = reports(&stage).await;
    let count = |name: &str| types(&found).iter().filter(|found| **found == name).count();
    assert_eq!(count("delivery.exhausted"), 2, "of the one event of the host's");
    assert_eq!((count("webhook.failing"), count("webhook.disabled")), (2, 2));
    assert_eq!(found.len(), 6);
    let open = stage.deliveries(&[StateKind::Leased]).await;
    assert!(open.is_empty(), "{open:?}");
}

/// Fails and recovers with no account for reports.
#[tokio::test(start_paused = true)]
async fn without_an_account_there_are_none() {
    let stage = Stage::with(exact(), |_| Answer::Status(410));
    stage.webhook("a").await;
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until(|stage| stage.notices.settled() == 1).await;
    run.stop().await;
    assert!(reports(&stage).await.is_empty());
}

/// Listens for reports where a strict catalogue does not know them: in their account, and in another.
#[tokio::test(start_paused = true)]
async fn a_strict_catalogue_lets_operators_listen() {
    let catalogue = Catalogue::builder()
        .entry(CatalogueEntry::new("order.paid").unwrap())
        .strict()
        .build()
        .unwrap();
    let build = |builder: tidings::Builder| builder.catalogue(catalogue).reports(operators());
    let stage = Stage::built(build, |hit| match hit.host.as_str() {
        "a" => Answer::Status(410),
        _ => FINE,
    });
    stage.webhook("a").await;
    listener(&stage, "ops").await;
    let elsewhere = Registration::new("https://b.example/hook", ["webhook.disabled"]).unwrap();
    let refused = stage.tidings.create(elsewhere).await.unwrap_err();
    assert_eq!((refused.kind(), refused.field()), (ErrorKind::Invalid, Some("types")));
    let run = stage.start(quiet());
    stage.publish(1).await;
    stage.until(|stage| stage.receivers.hits_of("ops").len() == 1).await;
    run.stop().await;
    assert_eq!(types(&reports(&stage).await), ["webhook.disabled"]);
}
