//! What people do with webhooks: find, register, try, edit, disable, delete, and handle secrets.

use std::time::{Duration, Instant};

use serde_json::json;
use tidings::{Edit, Registration};

use super::page::{ENTER, ESCAPE, Page};
use super::stage::Stage;

/// Types into the page as a newcomer would, against a live receiver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_receiver_is_registered_and_its_answer_read_in_under_a_minute() {
    let stage = Stage::new().await;
    stage.receivers.answer("inbox", 202, "it is in the books");
    let page = Page::open(&stage, "Olga", "").await;
    let began = Instant::now();
    page.see("No webhooks yet").await;
    page.click("Create webhook").await;
    page.titled("Create webhook").await;
    // What is forgotten is said where it is missing, and nothing is lost.
    page.click("Create webhook").await;
    page.see("Must be filled in.").await;
    page.fill("URL", &stage.receivers.url("inbox")).await;
    page.fill("Search the event types", "order.c").await;
    page.see("0 of ").await;
    page.tick("Select all shown").await;
    let count = "return parseInt(document.querySelector('.count').textContent)";
    let chosen = page.until("some chosen", count).await.as_u64().expect("a number");
    page.click("Create webhook").await;
    page.see("Enable it now?").await;
    let secret =
        page.run("return document.querySelector('dialog code').textContent", json!([])).await;
    let secret = secret.as_str().expect("a text").to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    page.click("Enable now").await;
    page.titled(&stage.receivers.url("inbox")).await;
    page.see("Enabled").await;
    page.click("Send test event").await;
    page.see("HTTP 202").await;
    page.see("it is in the books").await;
    assert!(began.elapsed() < Duration::from_secs(60), "it took {:?}", began.elapsed());

    // The secret has left the page with its dialog.
    let html = page.run("return document.documentElement.outerHTML", json!([])).await;
    assert!(!html.to_string().contains(&secret));
    let received = stage.receivers.received("inbox");
    assert!(received[0].headers.contains_key("webhook-signature"), "{received:?}");
    assert!(String::from_utf8_lossy(&received[0].body).contains("webhook.test"), "{received:?}");
    let kept =
        stage.tidings.webhooks(&Default::default(), &Default::default()).await.expect("a list");
    assert!(chosen > 10 && chosen < 60, "{chosen}");
    assert_eq!(kept.items[0].types().len() as u64, chosen);
    // The list of deliveries tells of it without a reload.
    page.see("Delivered").await;
    page.end().await;
}

/// Reads the list of several webhooks, and searches it by address, by id and by status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn webhooks_are_found_by_id_and_address_with_how_they_fare() {
    let stage = Stage::new().await;
    stage.receivers.answer("failing", 500, "we are being rebuilt");
    let well = stage.webhook("well", &["order.*"]).await;
    let failing = stage.webhook("failing", &["order.*"]).await;
    let later = Registration::new(&stage.receivers.url("later"), ["invoice.*"]).expect("a webhook");
    stage.register(later.with(Edit::new().description("From next month on"))).await;
    for number in 0..25 {
        stage.webhook(&format!("shop-{number}"), &["refund.*"]).await;
    }
    stage.order("1").await;
    let page = Page::open(&stage, "Olga", "webhooks").await;
    let rows = "return document.querySelectorAll('tbody tr').length";
    page.until("a full page", &format!("{rows} === 20")).await;
    page.click("Older").await;
    page.until("the rest", &format!("{rows} === 8")).await;
    page.see("From next month on").await;
    page.see("never enabled").await;
    // The row of each says its last delivery and its rate.
    let row = |name: &str| {
        let find = "const row = [...document.querySelectorAll('tbody tr')].find((row) => row.innerText.includes(";
        format!("{find}'/{name}'))?.innerText.replace(/\\s+/g, ' ') ?? '';")
    };
    let good = row("well") + "return row.includes('Delivered') && row.includes('100 %')";
    page.until("how the good one fares", &good).await;
    let bad = row("failing") + "return row.includes('Waiting') && row.includes('0 %')";
    page.until("how the failing one fares", &bad).await;

    page.click("Newest").await;
    page.until("a full page", &format!("{rows} === 20")).await;
    page.fill("Search", "/failing").await;
    page.until("one row", &format!("{rows} === 1")).await;
    assert!(
        page.run("return location.hash", json!([])).await.to_string().contains("search=%2Ffailing")
    );
    page.reload().await;
    page.until("one row still", &format!("{rows} === 1")).await;
    page.see(&failing.address().to_string()).await;
    page.fill("Search", &well.id().to_string()[4..30]).await;
    page.see(&well.address().to_string()).await;
    page.until("one row by id", &format!("{rows} === 1")).await;
    page.fill("Search", "nothing-like-it").await;
    page.see("No webhook matches").await;
    page.click("Show all webhooks").await;
    page.until("a full page", &format!("{rows} === 20")).await;
    page.choose("Status", "Disabled").await;
    page.until("the disabled one", &format!("{rows} === 1")).await;
    page.see("From next month on").await;
    page.end().await;
}

/// Disables with a wrong name and with the right one, enables again, and deletes after a second thought.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_webhook_is_disabled_enabled_and_deleted_after_a_confirmation() {
    let stage = Stage::new().await;
    let webhook = stage.webhook("inbox", &["order.*"]).await;
    let page = Page::open(&stage, "Olga", &format!("webhooks/{}", webhook.id())).await;
    page.click("Disable").await;
    page.fill("Your user name", "olga").await;
    page.plan("status of 403");
    page.click("Disable").await;
    page.see("This is not your user name exactly. Capitals count.").await;
    assert!(stage.tidings.webhook(webhook.id()).await.expect("it is there").is_enabled());
    page.fill("Your user name", "Olga").await;
    page.press(ENTER).await;
    page.see("This webhook is disabled: nothing is sent to it.").await;
    page.see("Somebody disabled it.").await;
    let disabled = stage.tidings.webhook(webhook.id()).await.expect("it is there");
    assert!(!disabled.is_enabled());
    // Enabling asks nothing.
    page.click("Enable").await;
    page.see_no_more("This webhook is disabled").await;
    assert!(stage.tidings.webhook(webhook.id()).await.expect("it is there").is_enabled());

    page.click("Delete").await;
    page.see("It cannot be brought back").await;
    page.press(ESCAPE).await;
    page.see_no_more("It cannot be brought back").await;
    assert_eq!(page.focused().await, ("button".into(), "Delete".into()));
    page.click("Delete").await;
    page.click("Delete for ever").await;
    page.titled("Webhooks").await;
    page.see("No webhooks yet").await;
    assert!(stage.tidings.webhook(webhook.id()).await.is_err());
    page.end().await;
}

/// Reveals, rotates with a choice of the overlap, reads both secrets, and rotates until there is no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn secrets_are_revealed_and_rotated_and_leave_the_page() {
    let stage = Stage::new().await;
    let webhook = stage.webhook("inbox", &["order.*"]).await;
    let page = Page::open(&stage, "Olga", &format!("webhooks/{}", webhook.id())).await;
    let shown =
        "return [...document.querySelectorAll('dialog code')].map((code) => code.textContent)";
    let secrets = async |count: usize| {
        let script = format!(
            "{shown}.length === {count} && document.querySelector('dialog h2').textContent"
        );
        page.until("the secrets", &script).await;
        let texts = page.run(shown, json!([])).await;
        let texts = texts.as_array().expect("a list").iter();
        texts.map(|text| text.as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    page.click("Reveal secret").await;
    page.fill("Your user name", "Olga").await;
    page.click("Reveal").await;
    let first = secrets(1).await;
    assert!(first[0].starts_with("whsec_"), "{first:?}");
    page.click("Copy").await;
    page.see("opi").await;
    page.click("Done").await;
    page.until("no dialog", "return !document.querySelector('dialog')").await;
    let html = page.run("return document.documentElement.outerHTML", json!([])).await;
    assert!(!html.to_string().contains(&first[0]));

    page.click("Rotate secret").await;
    for choice in
        ["Immediately", "After 1 hour", "After 3 hours", "After 6 hours", "After 24 hours"]
    {
        assert!(page.has("input[type=radio]", choice).await, "{choice}");
    }
    page.tick("After 1 hour").await;
    page.fill("Your user name", "Olga").await;
    page.press(ENTER).await;
    let both = secrets(2).await;
    assert!(both[1] == first[0] && both[0] != first[0], "{both:?}");
    page.see("Earlier, still valid").await;
    page.click("Done").await;
    for count in 3..=5 {
        page.click("Rotate secret").await;
        page.fill("Your user name", "Olga").await;
        page.press(ENTER).await;
        secrets(count).await;
        page.click("Done").await;
    }
    page.plan("status of 409");
    page.click("Rotate secret").await;
    page.fill("Your user name", "Olga").await;
    page.press(ENTER).await;
    page.until("a refusal", "return document.querySelector('dialog .notice.bad')?.innerText").await;
    page.press(ESCAPE).await;
    page.end().await;
}

/// Edits what is plain and what is folded away, is refused in a fold, and meets another's change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_webhook_is_edited_and_nobody_is_overwritten() {
    let stage = Stage::new().await;
    let webhook = stage.webhook("inbox", &["order.*"]).await;
    let page = Page::open(&stage, "Olga", &format!("webhooks/{}", webhook.id())).await;
    page.click("Edit").await;
    page.titled("Edit webhook").await;
    page.fill("Description", "Orders, to the bookkeeping").await;
    page.tick("invoice.paid").await;
    page.click("Advanced settings").await;
    page.fill("Timeout in milliseconds", "99999").await;
    page.fill("Condition", r#"{"data.object.total": {"$gte": 29.90}}"#).await;
    page.click("Add a header").await;
    page.fill("Header name", "x-shop").await;
    page.fill("Value of the header", "north").await;
    page.click("Advanced settings").await;
    page.plan("status of 400");
    page.click("Save").await;
    // What is wrong opens the fold that it is in.
    page.until("the field", "return document.activeElement.name === 'timeoutMillis'").await;
    page.fill("Timeout in milliseconds", "5000").await;
    page.click("Save").await;
    page.titled(&stage.receivers.url("inbox")).await;
    page.see("Orders, to the bookkeeping").await;
    page.see("x-shop (hidden)").await;
    page.see("29.90").await;
    let kept = stage.tidings.webhook(webhook.id()).await.expect("it is there");
    let filters: Vec<_> = kept.types().iter().map(ToString::to_string).collect();
    assert_eq!(filters, ["invoice.paid", "order.*"]);

    page.click("Edit").await;
    page.titled("Edit webhook").await;
    page.fill("Description", "Mine").await;
    stage.describe(webhook.id(), "Somebody else's").await;
    page.plan("status of 412");
    page.click("Save").await;
    page.see("Somebody else changed this webhook meanwhile.").await;
    page.click("Load what it is now").await;
    let loaded =
        "return document.querySelector('[name=description]')?.value === \"Somebody else's\"";
    page.until("what it is now", loaded).await;
    page.end().await;
}
