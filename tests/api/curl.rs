//! The lines of the guide, as a reader would run them.

use std::collections::HashSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::contract::{Contract, Operation};
use crate::stage::Stage;

const GUIDE: &str = include_str!("../../src/docs/api.md");

/// The lines of the guide that call the API.
fn lines() -> impl Iterator<Item = &'static str> {
    GUIDE.lines().filter(|line| line.starts_with("curl "))
}

/// The operation that a line calls.
fn operation(line: &str) -> Operation {
    let after = |mark: &str| line.split(mark).nth(1).map(|rest| rest.split(['"', '?', ' ']).next());
    let path = after("$API").flatten().expect("a path");
    let part = |part: &str| if part.starts_with('$') { "{id}" } else { part }.to_owned();
    let path = path.split('/').map(part).collect::<Vec<_>>().join("/");
    let method = match after("-X ").flatten() {
        Some(method) => method,
        None if line.contains(" -d ") => "POST",
        None => "GET",
    };
    Operation { method: method.to_owned(), path }
}

/// Reads the guide against the description.
#[test]
fn the_guide_has_every_operation() {
    let told: HashSet<Operation> = lines().map(operation).collect();
    let described: HashSet<Operation> = Contract::new().operations().into_iter().collect();
    let differ: Vec<_> = told.symmetric_difference(&described).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// Runs every line of the guide with curl, against a server of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs curl: tests/run"]
async fn the_lines_of_the_guide_do_what_they_say() {
    let stage = Stage::new();
    let running = stage.run();
    let (webhook, path) = stage.webhook("fine").await;
    let event = stage.event(1).await;
    let of_event = format!("/events/{}/deliveries", event.id());
    let sent = stage.until(&of_event, |it| it["data"][0]["state"] == "delivered").await;
    let replay = stage.post("Alice", &format!("{path}/replays"), json!({ "kind": "all" })).await;

    let (place, server) = stage.serve("/hooks/api").await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let variables = [
        ("API", place),
        ("AUTH", "x-user: Alice".to_owned()),
        ("USER", "Alice".to_owned()),
        ("WEBHOOK", webhook.id()),
        ("EVENT", event.id()),
        ("DELIVERY", text(&sent["data"][0]["id"])),
        ("REPLAY", replay.id()),
    ];
    let mut run = 0;
    for line in lines() {
        let command = line.replacen("curl ", "curl -sS --fail-with-body --max-time 20 ", 1);
        let variables = variables.clone();
        let done = tokio::task::spawn_blocking(move || {
            Command::new("sh").arg("-c").arg(&command).envs(variables).output().expect("curl")
        });
        let done = done.await.expect("curl ends");
        let (out, errors) =
            (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{line}\n{out}\n{errors}");
        if !line.contains("-X DELETE") {
            serde_json::from_str::<Value>(&out).unwrap_or_else(|_| panic!("{line}\n{out}"));
        }
        run += 1;
    }
    assert!(run >= 28, "{run}");
    assert_eq!(stage.get("Alice", &path).await.status, 404, "the last line deletes");
    running.abort();
    server.abort();
}
