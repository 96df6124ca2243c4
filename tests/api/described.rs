//! That the description is as narrow as the API: what it asks for is needed, and what it lists is all.

use serde_json::{Value, json};

use crate::contract::Contract;
use crate::stage::Stage;

/// Sends every change without a body, to what is there: those that ask for one refuse, the others are done.
#[tokio::test]
async fn a_body_is_asked_for_where_it_is_needed() {
    let (stage, contract) = (Stage::new(), Contract::new());
    let (webhook, path) = stage.webhook("a").await;
    let event = stage.event(1).await;
    let test = stage.post("Alice", &format!("{path}/test"), json!({})).await;
    let replay = stage.post("Alice", &format!("{path}/replays"), json!({ "kind": "all" })).await;
    let mut asked = Vec::new();
    for operation in contract.operations() {
        let Some(asks) = contract.asks_for_a_body(&operation) else { continue };
        let id = match operation.path.split('/').nth(1) {
            Some("events") => event.id(),
            Some("deliveries") => test.json["deliveryId"].as_str().expect("an id").to_owned(),
            Some("replays") => replay.id(),
            _ => webhook.id(),
        };
        let answer = stage.call("Alice", &operation.method, &operation.at(&id), None).await;
        let refused =
            matches!(answer.error(), (400, "missing_parameter", _) | (403, "confirmation", _));
        assert_eq!(refused, asks, "{operation:?} {answer:?}");
        assert_eq!(answer.status.is_success(), !asks, "{operation:?} {answer:?}");
        asked.push(asks);
    }
    assert!(asked.contains(&true) && asked.contains(&false), "{asked:?}");
}

/// Rotates a secret with every number of hours: those that the description lists are taken, no others.
#[tokio::test]
async fn the_hours_of_a_rotation_are_those_that_are_listed() {
    let stage = Stage::new();
    let contract = Contract::new();
    let hours = &contract.schema("Rotation")["properties"]["overlapHours"];
    let listed: Vec<u64> =
        hours["enum"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    assert_eq!(hours["default"], json!(12));
    for hours in 0..=25 {
        let (_, path) = stage.webhook("a").await;
        let rotation = json!({ "confirmation": "Alice", "overlapHours": hours });
        let answer = stage.post("Alice", &format!("{path}/secrets/rotate"), rotation).await;
        assert_eq!(answer.status == 200, listed.contains(&hours), "{hours} {answer:?}");
    }
}

/// Looks for fields that are times and have no format, in everything that is described.
#[test]
fn times_are_said_to_be_times() {
    fn look(name: &str, value: &Value, found: &mut Vec<String>) {
        let named = ["from", "until", "to", "reached", "failingSince"].contains(&name);
        if (named || name.ends_with("Time")) && value["format"] != "date-time" {
            found.push(name.to_owned());
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            look(name, value, found);
        }
        for value in value.as_array().into_iter().flatten() {
            let parameter = value["name"].as_str().filter(|_| value["in"] == "query");
            if let Some(name) = parameter {
                look(name.split('[').next().unwrap_or(name), &value["schema"], found);
            }
            look("", value, found);
        }
    }
    let description: Value = serde_json::from_str(&tidings::api::openapi()).expect("JSON");
    let mut found = Vec::new();
    look("", &description, &mut found);
    // Of an event, it is as whoever made the event wrote it.
    assert_eq!(found, ["createdTime"]);
}
