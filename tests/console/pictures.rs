//! Every page as it looks, wide and narrow, light and dark: kept as pictures, and held against axe.

use std::fs;
use std::path::Path;

use serde_json::json;
use tidings::Registration;

use super::page::Page;
use super::past::{Past, lived};
use super::stage::{Stage, account};

/// Where nothing may reach out of the page sideways.
const WIDTH: &str = "return document.documentElement.scrollWidth <= innerWidth";

impl Page {
    /// Looks at what is shown now in both widths and both schemes.
    async fn is_looked_at(&self, name: &str) {
        for (width, dark) in [(1440, false), (1440, true), (390, true), (390, false)] {
            self.view(width, dark).await;
            self.until("the width", &format!("return innerWidth === {width}")).await;
            let name = format!("{name}-{width}-{}", if dark { "dark" } else { "light" });
            // The chart is drawn anew for its width.
            let drawn = "return [...document.querySelectorAll('.drawing')]
                .every((one) => one.clientWidth <= one.parentElement.clientWidth)";
            self.until("the chart", drawn).await;
            // A dialog is as high as the screen at most.
            let asks = "return !!document.querySelector('dialog[open]')";
            match self.run(asks, json!([])).await == true {
                true => self.screen(&name).await,
                false => self.shot(&name).await,
            };
            assert_eq!(self.run(WIDTH, json!([])).await, true, "{name} is wider than the screen");
            self.is_accessible(&name).await;
        }
        self.view(1440, false).await;
        self.is_well().await;
    }
}

/// Opens every page of a shop that has lived for a day, with one receiver that fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn every_page_is_accessible_and_fits() {
    let Past { stage, well, failing } = lived().await;
    let page = Page::open(&stage, "Olga", "webhooks").await;
    page.until("how they fare", "return !document.querySelector('tbody').innerText.includes('…')")
        .await;
    page.see("100 %").await;
    page.is_looked_at("webhooks").await;

    page.route(&format!("webhooks/{}", well.id())).await;
    page.titled(well.address().as_str()).await;
    page.see("Delivered").await;
    page.see("Point at a bar to read it.").await;
    page.is_looked_at("webhook").await;
    page.click("Send test event").await;
    page.see("HTTP 200").await;
    page.see("thank you").await;
    page.is_looked_at("webhook-test").await;
    page.click("Start a replay").await;
    page.click("Show the numbers as a table").await;
    page.tick("7 d").await;
    page.see("slowest hour").await;
    page.is_looked_at("webhook-folds").await;

    page.route(&format!("webhooks/{}", failing.id())).await;
    page.titled(failing.address().as_str()).await;
    page.see("Success rate 0 %").await;
    page.see("HTTP 500").await;
    page.is_looked_at("webhook-failing").await;
    page.click("order.accepted").await;
    page.titled("Delivery").await;
    page.see("Attempts").await;
    page.see("Request").await;
    page.is_looked_at("delivery").await;

    page.route("events").await;
    page.see("refund.complete").await;
    page.is_looked_at("events").await;
    page.click("order.accepted").await;
    page.see("What changed").await;
    page.see("Delivered").await;
    page.is_looked_at("event").await;

    page.route("catalogue").await;
    page.see("order.accepted").await;
    page.fill("Search", "fulfillment").await;
    page.click("fulfillment.created").await;
    page.see("Schema").await;
    page.is_looked_at("catalogue").await;
    page.route("overview").await;
    page.see("Failing since").await;
    page.see("Point at a bar to read it.").await;
    page.is_looked_at("overview").await;
    page.route("nowhere").await;
    page.titled("There is no such page").await;
    page.is_looked_at("no-such-page").await;
    page.end().await;
}

/// Opens what is asked and complained of: forms with their errors, and each dialog.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn every_form_and_dialog_is_accessible_and_fits() {
    let stage = Stage::new().await;
    let webhook = stage.webhook("inbox", &["order.*"]).await;
    let event = stage.order("1001").await;
    let page = Page::open(&stage, "Olga", "webhooks/new").await;
    page.see("0 of ").await;
    page.is_looked_at("form").await;
    page.click("Advanced settings").await;
    page.fill("Condition", "no JSON").await;
    page.fill("Timeout", "soon").await;
    page.tick("OAuth: a token").await;
    page.click("Add a header").await;
    page.fill("Header name", "x-shop").await;
    page.click("Create webhook").await;
    page.see("Must be filled in.").await;
    page.see("Must be a JSON object.").await;
    page.is_looked_at("form-errors").await;

    page.route(&format!("webhooks/{}/edit", webhook.id())).await;
    page.titled("Edit webhook").await;
    page.see("Save").await;
    page.is_looked_at("form-edit").await;
    let own = format!("webhooks/{}", webhook.id());
    for (action, name) in
        [("Disable", "disable"), ("Delete", "delete"), ("Rotate secret", "rotate")]
    {
        page.route(&own).await;
        page.titled(webhook.address().as_str()).await;
        page.click(action).await;
        page.until("a dialog", "return !!document.querySelector('dialog[open]')").await;
        page.is_looked_at(&format!("dialog-{name}")).await;
        page.route("webhooks").await;
        page.until("no dialog", "return !document.querySelector('dialog')").await;
    }
    page.route(&own).await;
    page.click("Reveal secret").await;
    page.fill("Your user name", "nobody").await;
    page.plan("status of 403");
    page.click("Reveal").await;
    page.see("This is not your user name exactly.").await;
    page.is_looked_at("dialog-reveal-wrong").await;
    page.fill("Your user name", "Olga").await;
    page.click("Reveal").await;
    page.see("The secrets of the webhook").await;
    page.is_looked_at("dialog-secrets").await;
    page.route(&format!("events/{event}")).await;
    page.click("Deliver again").await;
    page.tick("One webhook").await;
    page.until("webhooks", "return document.querySelector('dialog select').options.length === 1")
        .await;
    page.is_looked_at("dialog-deliver-again").await;
    page.click("Close").await;
    page.route("webhooks/new").await;
    page.fill("URL", &stage.receivers.url("second")).await;
    page.fill("Patterns", "*").await;
    page.click("Create webhook").await;
    page.see("Enable it now?").await;
    page.is_looked_at("dialog-created").await;
    page.end().await;
}

/// Opens what is empty, found nothing, is disabled, replays, has failed to load, and is a customer's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn every_other_state_is_accessible_and_fits() {
    let empty = Stage::with_catalogue(None).await;
    let page = Page::open(&empty, "Olga", "").await;
    for (route, text) in [
        ("webhooks", "No webhooks yet"),
        ("webhooks?search=x", "No webhook matches"),
        ("events", "No events yet"),
        ("replays", "No replays yet"),
        ("catalogue", "There is no catalogue"),
        ("overview", "No webhook is failing."),
        ("webhooks/new", "One per line"),
    ] {
        page.route(route).await;
        page.see(text).await;
        let name = route.replace(['/', '?', '='], "-");
        page.is_looked_at(&format!("empty-{name}")).await;
    }
    page.plan("status of 404");
    page.route("webhooks/01a20000-0000-7000-8000-000000000000").await;
    page.see("Could not read the webhook.").await;
    page.is_looked_at("not-found").await;
    page.tick("Test").await;
    page.route("webhooks").await;
    page.see("No webhooks yet").await;
    page.is_looked_at("mode-test").await;
    page.tick("Live").await;
    page.plan("status of 401");
    page.sign_out().await;
    page.see("Your session has ended.").await;
    page.is_looked_at("session-ended").await;
    page.end().await;

    let stage = Stage::new().await;
    let registration =
        Registration::new(&stage.receivers.url("inbox"), ["order.*"]).expect("a webhook");
    let webhook = stage.register(registration.account(account("acme"))).await;
    let page = Page::open(&stage, "Viewer", &format!("webhooks/{}", webhook.id())).await;
    page.see("It has not been enabled yet.").await;
    page.is_looked_at("webhook-of-a-customer").await;
    page.sign_in("Olga").await;
    for number in 0..40 {
        let change = super::stage::accepted(&number.to_string()).account(account("acme"));
        stage.publish(change).await;
    }
    let all = tidings::ReplayRequest::all(webhook.id());
    stage.tidings.enable(webhook.id()).await.expect("it is enabled");
    stage.tidings.replay(all).await.expect("a replay");
    page.go_to(&page.url("?again#/replays")).await;
    page.see("All events").await;
    page.is_looked_at("replays").await;
    page.end().await;
}

/// Takes the picture of the README, and looks whether there is one. `TIDINGS_WRITE=1` writes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn the_readme_has_a_picture_of_the_console() {
    let Past { stage, well, .. } = lived().await;
    let page = Page::open(&stage, "Olga", &format!("webhooks/{}", well.id())).await;
    page.sized(1280, 800, false).await;
    page.titled(well.address().as_str()).await;
    page.see("Delivered").await;
    page.see("Point at a bar to read it.").await;
    let taken = page.screen("readme").await;
    page.end().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = root.join("src/docs/console.png");
    if std::env::var_os("TIDINGS_WRITE").is_some() {
        fs::copy(&taken, &kept).expect("the picture is written");
    }
    let size = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(bytes.len() < 150 * 1024, "{} bytes", bytes.len());
        // The width and the height stand behind the first mark of the file.
        assert_eq!(&bytes[12..16], b"IHDR");
        bytes[16..24].to_vec()
    };
    // Its times and figures are others each time; its form is not.
    assert_eq!(size(&kept), size(&taken), "TIDINGS_WRITE=1 takes it anew");
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    assert!(readme.contains("](src/docs/console.png)"), "the README shows it");
}
