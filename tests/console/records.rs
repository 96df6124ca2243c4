//! What people read of events, deliveries, replays, the catalogue and the overview, and do with them.

use std::time::{Duration, Instant};

use serde_json::json;
use tidings::policy::LISTING_ROWS;
use tidings::{Change, Event, Registration};

use super::page::Page;
use super::stage::Stage;

/// Reads an event's payload and what changed in it, then delivers it again to one webhook and to all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn an_event_says_what_changed_and_is_delivered_again() {
    let stage = Stage::new().await;
    stage.webhook("inbox", &["order.*"]).await;
    stage.webhook("other", &["invoice.*"]).await;
    stage.order("1001").await;
    let page = Page::open(&stage, "Olga", "events").await;
    page.see("1001").await;
    page.fill("Type", "invoice.*").await;
    page.see("No event matches").await;
    page.fill("Type", "order.*").await;
    page.click("order.accepted").await;
    page.titled("order.accepted").await;
    let rows = "return [...document.querySelectorAll('table')].find((table) => table.caption.textContent === 'Changed attributes')
        ?.querySelector('tbody').innerText.replace(/\\s+/g, ' ')";
    let changed = page.until("what changed", rows).await;
    for part in ["total 29.9 34.5", r#"state "in_review" "accepted""#] {
        assert!(changed.to_string().replace('\\', "").contains(part), "{changed}");
    }
    page.see("\"previousAttributes\": {").await;
    page.see("/inbox").await;
    page.see("Delivered").await;

    page.click("Deliver again").await;
    page.tick("One webhook").await;
    page.fill("Webhook", "other").await;
    page.until("the one", "return document.querySelector('dialog select').options.length === 1")
        .await;
    page.click("Deliver again").await;
    page.see("The event is being delivered again.").await;
    page.see("/other").await;
    page.until("both", "return document.body.innerText.split('Delivered').length > 2").await;
    assert_eq!(stage.receivers.received("other").len(), 1);
    page.end().await;
}

/// Watches a delivery that fails, with request, answer and timing, mends the receiver and redelivers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_failed_delivery_is_read_and_sent_again() {
    let stage = Stage::new().await;
    stage.receivers.answer("inbox", 500, "we are being rebuilt");
    let webhook = stage.webhook("inbox", &["order.*"]).await;
    stage.order("1001").await;
    let page = Page::open(&stage, "Olga", &format!("webhooks/{}", webhook.id())).await;
    page.see("HTTP 500").await;
    page.see("answered with an error").await;
    page.click("order.accepted").await;
    page.titled("Delivery").await;
    page.see("Attempt 1: HTTP 500 (failed)").await;
    page.see("we are being rebuilt").await;
    page.see("Next attempt").await;
    // The request as it is sent, with its headers and its body.
    page.see("POST").await;
    page.see("content-type application/json").await;
    page.see("\"object\": {").await;
    let timing = "return /\\d+\\sms/.test(document.querySelector('.timeline').innerText)";
    page.until("how long it took", timing).await;

    stage.receivers.answer("inbox", 200, "thank you");
    let first = page.run("return location.hash", json!([])).await;
    page.click("Redeliver").await;
    page.see("Another delivery of the event was made. This is it.").await;
    page.until_with("another page", "return location.hash !== arguments[0]", json!([first])).await;
    // It comes by itself, without a reload.
    page.see("Attempt 1: HTTP 200 (succeeded)").await;
    page.see("thank you").await;
    page.end().await;
}

/// Starts a replay after one that is refused, watches how far it is, cancels it, and lets another one end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_replay_is_started_watched_and_cancelled() {
    let stage = Stage::new().await;
    for number in 0..300 {
        stage.order(&number.to_string()).await;
    }
    // It was not there when they were published: it missed them all.
    let webhook = stage.webhook("inbox", &["order.*"]).await;
    let page = Page::open(&stage, "Olga", &format!("webhooks/{}", webhook.id())).await;
    page.see("No replays yet.").await;
    page.click("Start a replay").await;
    page.tick("All").await;
    page.fill_time("From", "2026-03-02T10:00").await;
    page.fill_time("Until", "2026-03-01T10:00").await;
    page.plan("status of 400");
    page.click("Start the replay").await;
    page.until("a refusal", "return document.querySelector('.starter .error:has(*)')?.innerText")
        .await;
    page.fill_time("Until", "2100-01-01T00:00").await;
    page.fill("Rate", "1").await;
    page.click("Start the replay").await;
    page.see("The replay was started.").await;
    page.until("its progress", "return !!document.querySelector('.replay progress')").await;
    page.route("replays?running=true").await;
    page.see("All events").await;
    page.click("Cancel").await;
    page.see("The replay was cancelled.").await;
    page.see("No replay is running").await;

    page.route(&format!("webhooks/{}", webhook.id())).await;
    page.click("Start a replay").await;
    page.tick("Missed").await;
    page.fill("Rate", "1000").await;
    page.click("Start the replay").await;
    page.see("Looked at 300 events").await;
    page.see("Done").await;
    let all = async || (stage.receivers.received("inbox").len() >= 300).then_some(());
    page.wait("all events", all).await;
    page.end().await;
}

/// Publishes while the page is open, with a field half filled, a fold open and the focus on a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn news_come_by_themselves_and_disturb_nobody() {
    let stage = Stage::new().await;
    let webhook = stage.webhook("inbox", &["order.*"]).await;
    stage.order("first").await;
    let page = Page::open(&stage, "Olga", "events").await;
    page.see("first").await;
    let focus = "document.querySelector('tbody a').focus(); return document.activeElement.href";
    let focused = page.run(focus, json!([])).await;
    stage.order("second").await;
    page.see("second").await;
    assert_eq!(page.run("return document.activeElement.href", json!([])).await, focused);
    page.until(
        "a word",
        "return document.getElementById('whisper').textContent === 'There are new events.'",
    )
    .await;

    page.route(&format!("webhooks/{}", webhook.id())).await;
    page.click("Start a replay").await;
    page.fill("Rate", "7").await;
    page.click("Show the numbers as a table").await;
    page.run("document.querySelector('[name=rate]').focus(); scrollTo(0, 200)", json!([])).await;
    stage.order("third").await;
    page.until(
        "the third",
        "return document.querySelectorAll('table.rows tbody tr time').length >= 3",
    )
    .await;
    let same = "return document.querySelector('[name=rate]').value === '7' && scrollY === 200
        && document.activeElement.name === 'rate' && document.querySelectorAll('details[open]').length === 2";
    assert_eq!(page.run(same, json!([])).await, true);
    page.end().await;
}

/// Holds an answer back while a test is under way, then lets it come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_slow_answer_is_awaited_and_timed() {
    let stage = Stage::new().await;
    stage.receivers.answer("held/inbox", 201, "at last");
    let webhook = stage.webhook("held/inbox", &["order.*"]).await;
    let page = Page::open(&stage, "Olga", &format!("webhooks/{}", webhook.id())).await;
    page.click("Send test event").await;
    page.see("Sending…").await;
    let came = async || (!stage.receivers.received("held/inbox").is_empty()).then_some(());
    page.wait("the request", came).await;
    page.see("Sending…").await;
    // All the while the page says that it is under way.
    let asked = Instant::now();
    let second = async || {
        assert!(page.sees("Sending…").await && !page.sees("at last").await);
        (asked.elapsed() > Duration::from_millis(1_100)).then_some(())
    };
    page.wait("a second to pass", second).await;
    stage.receivers.release();
    page.see("at last").await;
    page.see("HTTP 201").await;
    page.until(
        "its time",
        "return /in \\d+\\.\\d\\ss/.test(document.querySelector('.test').innerText)",
    )
    .await;
    page.end().await;
}

/// Searches the catalogue, narrows it to the key types, and opens one with its example and schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn the_catalogue_says_what_there_is() {
    let stage = Stage::new().await;
    let page = Page::open(&stage, "Olga", "catalogue").await;
    page.see("Key events are those that every integration should listen for.").await;
    let shown = "return [...document.querySelectorAll('.type-item')].filter((one) => one.checkVisibility()).length";
    let all = page.until("all types", shown).await.as_u64().expect("a number");
    page.tick("Key events only").await;
    let key = page.until("fewer", &format!("const count = ({{ get: () => {{ {shown} }} }}).get(); return count < {all} && count")).await;
    let marked = "return [...document.querySelectorAll('.type-item .tag.key')].filter((one) => one.checkVisibility()).length";
    assert_eq!(page.run(marked, json!([])).await, key);
    page.fill("Search", "fulfillment.created").await;
    page.until("one", &format!("return (() => {{ {shown} }})() === 1")).await;
    page.click("fulfillment.created").await;
    for text in [
        "Example",
        "247468780336",
        "Schema",
        "\"required\": [",
        "Since version 2021-12-13",
        "fulfillment.create",
    ] {
        page.see(text).await;
    }
    page.fill("Search", "no such type").await;
    page.see("No type matches").await;
    page.end().await;
}

/// Looks at the overview while one webhook fails and deliveries wait, and follows it to the webhook.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn the_overview_says_what_needs_attention() {
    let stage = Stage::new().await;
    stage.receivers.answer("failing", 503, "not now");
    let page = Page::open(&stage, "Olga", "overview").await;
    page.see("No webhook is failing.").await;
    page.see("Ready").await;
    page.see("1 of 1 alive").await;
    stage.webhook("well", &["order.*"]).await;
    let failing = stage.webhook("failing", &["order.*"]).await;
    let later = Registration::new(&stage.receivers.url("later"), ["*"]).expect("a webhook");
    stage.register(later).await;
    for number in 0..4 {
        stage
            .publish(Change::of("order.accepted", &json!({ "id": number })).expect("a change"))
            .await;
    }
    let figure = |term: &str, value: &str| {
        format!(
            "return [...document.querySelectorAll('.figures > div')].some((one) => one.innerText.replace(/\\s+/g, ' ') === '{term} {value}')"
        )
    };
    for (term, value) in [("Deliveries waiting", "4"), ("Enabled", "2"), ("Disabled", "1")] {
        page.until(term, &figure(term, value)).await;
    }
    // How often the failing one is tried is the dispatcher's affair.
    let rate = "return /Success rate [1-9]\\d\\.\\d %/.test(document.body.innerText.replace(/\\s+/g, ' '))";
    page.until("a rate between none and all", rate).await;
    page.until(
        "the chart",
        "return document.querySelectorAll('.drawing rect.failed').length >= 24",
    )
    .await;
    page.click("Show the numbers as a table").await;
    page.see("Succeeded").await;
    page.click(failing.address().as_str()).await;
    page.titled(failing.address().as_str()).await;
    page.see("Success rate 0 %").await;
    page.tick("7 d").await;
    page.see("Attempts").await;
    page.end().await;
}

/// Looks for one event behind more than the API looks through for a page, and for one that there is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_rare_event_is_found_behind_many() {
    let stage = Stage::with_catalogue(None).await;
    stage.order("1001").await;
    let many = (0..LISTING_ROWS + 500).map(|number| {
        let change = Change::of("order.noted", &json!({ "id": number })).expect("a change");
        stage.tidings.event(change).expect("an event")
    });
    let many: Vec<Event> = many.collect();
    for some in many.chunks(500) {
        stage.tidings.publish_all(some).await.expect("a publish");
    }
    let page = Page::open(&stage, "Olga", "events").await;
    page.see("order.noted").await;
    page.fill("Type", "order.accepted").await;
    page.see("1001").await;
    page.fill("Type", "no.such").await;
    page.see("No event matches").await;
    page.end().await;
}
