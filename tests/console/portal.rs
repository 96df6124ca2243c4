//! The same pages for others: customers with less within reach, keyboards, screen readers, other places,
//! and those whose session ends.

use axum::Router;
use serde_json::json;
use tidings::api::Console;
use tidings::{Mode, Registration};

use super::page::{DOWN, ENTER, Page, SPACE, TAB};
use super::stage::{Stage, accepted, account};

/// Looks at every page as a customer who may only look: what others have and what they may not do is absent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_customer_sees_their_own_and_does_what_they_may() {
    let stage = Stage::new().await;
    let registration = |name: &str| {
        Registration::new(&stage.receivers.url(name), ["order.*"]).expect("a webhook").enabled(true)
    };
    let own = stage.register(registration("acme").account(account("acme"))).await;
    let other = stage.register(registration("other").account(account("other"))).await;
    let change = |name: &str, id: &str| accepted(id).account(account(name));
    let event = stage.publish(change("acme", "ours")).await;
    let foreign = stage.publish(change("other", "theirs")).await;

    let page = Page::open(&stage, "Viewer", "webhooks").await;
    page.see("/acme").await;
    assert!(!page.sees("/other").await && !page.has("a", "Create webhook").await);
    assert!(!page.sees("Account").await && !page.sees("Mode").await);
    page.see("Signed in as Viewer").await;
    page.route(&format!("webhooks/{}", own.id())).await;
    page.titled(own.address().as_str()).await;
    page.see("Delivered").await;
    for action in [
        "Send test event",
        "Edit",
        "Disable",
        "Enable",
        "Reveal secret",
        "Rotate secret",
        "Delete",
        "Start a replay",
    ] {
        assert!(!page.has("button, a, summary", action).await, "{action}");
    }
    page.route(&format!("events/{event}")).await;
    page.see("\"ours\"").await;
    assert!(!page.has("button", "Deliver again").await);
    page.route("events").await;
    page.see("ours").await;
    assert!(!page.sees("theirs").await);
    page.route("overview").await;
    page.see("Success rate 100 %").await;
    page.see("No webhook is failing.").await;
    // How the server is, and what waits in both modes, is not for who sees one of them.
    assert!(!page.sees("Dispatchers").await && !page.sees("Deliveries waiting").await);
    // What is out of reach is not there.
    page.plan("status of 404");
    for route in [format!("webhooks/{}", other.id()), format!("events/{foreign}")] {
        page.route(&route).await;
        page.see("Could not read").await;
        assert!(!page.sees("/other").await && !page.sees("theirs").await);
    }

    // One who may do everything with their own finds the buttons.
    page.sign_in("Alice").await;
    page.go_to(&page.url(&format!("?again#/webhooks/{}", own.id()))).await;
    for action in [
        "Send test event",
        "Edit",
        "Disable",
        "Reveal secret",
        "Rotate secret",
        "Delete",
        "Start a replay",
    ] {
        page.wait(action, async || page.has("button, a, summary", action).await.then_some(()))
            .await;
    }
    page.end().await;
}

/// Switches between live and test, and between accounts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn mode_and_account_narrow_what_is_seen() {
    let stage = Stage::new().await;
    let registration =
        |name: &str| Registration::new(&stage.receivers.url(name), ["*"]).expect("a webhook");
    let live = stage.register(registration("live").account(account("acme"))).await;
    stage.register(registration("trial").account(account("acme")).mode(Mode::Test)).await;
    let elsewhere = registration("elsewhere").account(account("other")).enabled(true);
    let elsewhere = stage.register(elsewhere).await;
    stage.publish(accepted("1").account(account("other"))).await;
    let page = Page::open(&stage, "Olga", "webhooks").await;
    page.see("/elsewhere").await;
    assert!(!page.sees("/trial").await);
    page.tick("Test").await;
    page.see("/trial").await;
    page.see_no_more("/live").await;
    page.reload().await;
    page.see("/trial").await;
    page.tick("Live").await;
    page.fill("Account", "acme").await;
    page.press(ENTER).await;
    page.see_no_more("/elsewhere").await;
    page.see("/live").await;
    // Who has several accounts, but not all, looks at one of them, and sees all of what is in it.
    page.sign_in("Both").await;
    page.reload().await;
    page.see("/live").await;
    page.choose("Account", "other").await;
    page.see_no_more("/live").await;
    page.click(elsewhere.address().as_str()).await;
    page.see("Delivered").await;
    // A link leads to another account, and the page follows.
    page.route(&format!("webhooks/{}", live.id())).await;
    page.titled(live.address().as_str()).await;
    page.see("Nothing has been sent to this webhook yet.").await;
    page.until("the account", "return document.querySelector('.scope select').value === 'acme'")
        .await;
    // Who then chooses another has it, also after the page has read the webhook again.
    page.choose("Account", "other").await;
    let read = "return performance.getEntriesByType('resource')
        .filter((one) => one.name.endsWith(arguments[0])).length";
    let path = json!([format!("webhooks/{}", live.id())]);
    let before = page.run(read, path.clone()).await.as_u64().expect("a number");
    let again =
        async || page.run(read, path.clone()).await.as_u64().filter(|now| *now > before + 1);
    page.wait("another reading", again).await;
    page.until("the account", "return document.querySelector('.scope select').value === 'other'")
        .await;
    page.route("overview").await;
    page.see("Deliveries waiting 0").await;
    page.end().await;
}

/// Opens the page of a webhook that there is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn of_a_webhook_that_is_gone_one_thing_is_said() {
    let stage = Stage::new().await;
    let unknown = "webhooks/0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10";
    let page = Page::open(&stage, "Olga", unknown).await;
    page.plan("status of 404");
    page.see("Could not read the webhook.").await;
    page.see_no_more("Deliveries").await;
    assert!(!page.sees("Settings").await && !page.sees("Health").await);
    page.end().await;
}

/// Registers, tries and disables a webhook with the keyboard alone, by what a screen reader says has the focus.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn everything_is_done_with_the_keyboard_and_said_aloud() {
    let stage = Stage::new().await;
    let page = Page::open(&stage, "Olga", "webhooks").await;
    page.see("No webhooks yet").await;
    // Steps on until what is said is this.
    let step_to = async |role: &str, name: &str| {
        let mut heard = Vec::new();
        for _ in 0..200 {
            page.press(TAB).await;
            let said = page.focused().await;
            assert!(!said.1.is_empty(), "nothing is said of a {} after {heard:?}", said.0);
            if said.0 == role && said.1.starts_with(name) {
                return;
            }
            heard.push(said);
        }
        panic!("{role} {name:?} is out of reach: {heard:?}");
    };
    page.press(TAB).await;
    assert_eq!(page.focused().await, ("link".into(), "Skip to the content".into()));
    page.press(ENTER).await;
    step_to("link", "Create webhook").await;
    page.press(ENTER).await;
    page.titled("Create webhook").await;
    // The name of the new page is what is read first.
    let (role, name) = page.focused().await;
    assert_eq!((role.as_str(), name.as_str()), ("heading", "Create webhook"));
    step_to("textbox", "URL").await;
    page.type_in(&stage.receivers.url("inbox")).await;
    step_to("radio", "Disabled").await;
    page.press(DOWN).await;
    assert!(page.focused().await.1.starts_with("Enabled"));
    step_to("searchbox", "Search the event types").await;
    page.type_in("accepted").await;
    step_to("checkbox", "Select all shown").await;
    page.press(SPACE).await;
    page.press(ENTER).await;
    page.see("The webhook was created").await;
    assert_eq!(page.focused().await, ("button".into(), "Done".into()));
    page.press(ENTER).await;
    page.titled(&stage.receivers.url("inbox")).await;
    page.until("the page's name", "return document.activeElement === document.querySelector('h1')")
        .await;
    step_to("button", "Send test event").await;
    page.press(ENTER).await;
    page.see("HTTP 200").await;
    let heard = "return document.getElementById('whisper').textContent";
    page.until("the answer", &format!("{heard} === 'The receiver answered: HTTP 200.'")).await;
    step_to("button", "Disable").await;
    page.press(ENTER).await;
    page.see("Your user name, to confirm").await;
    let (role, name) = page.focused().await;
    assert!(role == "textbox" && name.starts_with("Your user name"), "{role} {name}");
    page.type_in("Olga").await;
    page.press(ENTER).await;
    page.see("This webhook is disabled").await;
    // The focus is where it was, or at what took its place; never lost.
    page.until("a focus", "return document.activeElement !== document.body").await;
    page.end().await;
}

/// Ends the session while the page is open, reads what it says, and signs in again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_session_that_ends_is_said_and_asks_for_nothing_more() {
    let stage = Stage::new().await;
    stage.webhook("inbox", &["order.*"]).await;
    let page = Page::open(&stage, "Olga", "webhooks").await;
    page.see("/inbox").await;
    page.plan("status of 401");
    // A text that is no page has no icon of its own, so that the browser looks for the host's.
    page.plan("favicon.ico");
    page.sign_out().await;
    page.see("Your session has ended.").await;
    page.is_accessible("a session that has ended").await;
    page.click("Reload the page").await;
    page.see("You are not logged in.").await;
    page.sign_in("Olga").await;
    page.reload().await;
    page.see("/inbox").await;
    page.end().await;
}

/// Opens the console under several paths, one of them behind a proxy that takes a part away (table).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn the_page_works_under_any_path() {
    type Mount = fn(Console) -> Router;
    let mounts: [(&str, Mount); 4] = [
        ("/", |console| console.at("/")),
        ("/hooks", |console| console.at("/hooks")),
        ("/a/b/hooks/", |console| console.at("/a/b/hooks")),
        ("/outer/hooks", |console| {
            let inner = Router::new().nest("/inner", console.mounted_at("/outer/hooks").router());
            // What a proxy does: browsers see another path than the host.
            let outer = tower::util::MapRequestLayer::new(|mut request: axum::extract::Request| {
                let path = request.uri().to_string().replacen("/outer/hooks", "/inner", 1);
                *request.uri_mut() = path.parse().expect("a path");
                request
            });
            Router::new().fallback_service(tower::Layer::layer(&outer, inner))
        }),
    ];
    for (path, mount) in mounts {
        let stage = Stage::mounted(mount).await;
        stage.webhook("inbox", &["order.*"]).await;
        let page = Page::open(&stage, "Olga", "").await;
        page.plan("status of 404");
        page.go_to(&format!("{}{path}", stage.origin)).await;
        page.see("/inbox").await;
        page.click("Catalogue").await;
        page.see("order.accepted").await;
        page.reload().await;
        page.see("order.accepted").await;
        page.end().await;
    }
}

/// Sets two variables in a style sheet of the host's, and asks the browser what came of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn a_host_themes_the_page_by_a_few_variables() {
    let style = ":root { --tidings-accent: rgb(0, 90, 60); --tidings-radius: 0px; }";
    let stage = Stage::mounted(|console| console.style(style).at("/admin/hooks")).await;
    let page = Page::open(&stage, "Olga", "").await;
    page.see("No webhooks yet").await;
    let looks = "const style = getComputedStyle(document.querySelector('a.primary'));
        return [style.backgroundColor, style.borderRadius]";
    assert_eq!(page.run(looks, json!([])).await, json!(["rgb(0, 90, 60)", "0px"]));
    page.end().await;
}
