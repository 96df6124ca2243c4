//! The watchers: what a browser did that it must not, read from its logs.

use serde_json::{Value, json};

use super::driver::Driver;
use super::page::Page;
use super::stage::Stage;

/// Everything wrong since the last look, but for what is `planned`: parts of messages that a test expects.
pub(crate) async fn wrong(driver: &Driver, origin: &str, planned: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in log(driver, "browser").await {
        let text = entry["message"].as_str().unwrap_or_default().to_owned();
        let bad = entry["level"] == "SEVERE" || text.contains("WATCHED");
        if bad && !planned.iter().any(|part| text.contains(part)) {
            found.push(text);
        }
    }
    for entry in log(driver, "performance").await {
        let text = entry["message"].as_str().unwrap_or_default();
        let message: Value = serde_json::from_str(text).expect("an event in JSON");
        let (method, parameters) = (&message["message"]["method"], &message["message"]["params"]);
        match method.as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                if is_foreign(url, origin) {
                    found.push(format!("a request to {url}"));
                }
            }
            "Network.webSocketCreated" => found.push(format!("a socket to {}", parameters["url"])),
            "Page.javascriptDialogOpening" => found.push(format!("a dialog: {parameters}")),
            _ => {}
        }
    }
    found
}

fn is_foreign(url: &str, origin: &str) -> bool {
    let own = url.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/'));
    !own && !url.starts_with("data:")
}

async fn log(driver: &Driver, kind: &str) -> Vec<Value> {
    let entries = driver.post("se/log", json!({ "type": kind })).await.expect("a log");
    entries.as_array().expect("a list").clone()
}

/// Opens a page that does all that must not be done, and looks for each in what the watchers say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn whatever_a_page_must_not_do_is_caught() {
    let stage = Stage::new().await;
    let page = Page::open(&stage, "Olga", "").await;
    let driver = page.driver();
    // The page itself is in order.
    page.see("No webhooks yet").await;
    assert_eq!(wrong(driver, &stage.origin, &[]).await, [""; 0]);

    // Axe sees what is wrong, too: a picture without words, a word that is hard to read.
    page.is_accessible("no webhooks").await;
    let plant = "const word = document.createElement('p');
        word.textContent = 'faint';
        word.style.color = '#ccc';
        document.getElementById('main').append(word, document.createElement('img'))";
    page.run(plant, json!([])).await;
    let found = page.axe().await.to_string();
    assert!(found.contains("image-alt") && found.contains("color-contrast"), "{found}");

    page.go_to(&format!("{}/planted", stage.origin)).await;
    page.until("the script to end", "return document.title === 'done'").await;
    let mut found = Vec::new();
    for part in [
        "WATCHED dialog alert planted",
        "WATCHED dialog confirm planted",
        "WATCHED violation style-src-elem inline",
        &format!("a request to {}/well", stage.receivers.origin),
        "planted error",
        "planted rejection",
        "planted word",
        "404",
    ] {
        // Logs come a little after what they tell.
        page.wait(part, async || {
            found.extend(wrong(driver, &stage.origin, &[]).await);
            found.iter().any(|text: &String| text.contains(part)).then_some(())
        })
        .await;
    }
    // What is planned is no finding; the rest still is.
    page.go_to(&format!("{}/planted", stage.origin)).await;
    page.until("the script to end", "return document.title === 'done'").await;
    let planned = ["planted error".to_owned()];
    let rest = wrong(driver, &stage.origin, &planned).await;
    assert!(!rest.is_empty() && !rest.concat().contains("planted error"), "{rest:?}");
    page.end_unseen();
}
