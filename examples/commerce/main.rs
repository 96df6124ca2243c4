//! A shop's day: resources change, and the right events come out.
//!
//! Run it with `cargo run --example commerce`; with `-- openapi` behind it, it prints the catalogue as
//! OpenAPI has it. The rules are in `models.rs`, the changes in `day.rs`,
//! and what the events are called and mean in `catalogue.json`, to which all of them are held.

mod day;
mod models;

use tidings::storage::MemoryStorage;
use tidings::{Catalogue, Tidings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catalogue =
        models::all()?.iter().fold(Catalogue::builder(), |builder, model| builder.model(model));
    let catalogue = catalogue.json(include_str!("catalogue.json"))?.strict().build()?;
    if std::env::args().nth(1).as_deref() == Some("openapi") {
        println!("{:#}", catalogue.openapi("Shop", "2026-01-31"));
        return Ok(());
    }
    let tidings = Tidings::builder(MemoryStorage::new()).catalogue(catalogue).build();

    for step in day::play()? {
        println!("\n{}", step.title);
        // What one change says is published together: all of it, or nothing.
        let events = tidings.events_of(step.changes)?;
        tidings.publish_all(&events).await?;
        for event in &events {
            let known =
                tidings.catalogue().and_then(|known| known.get(event.event_type().as_str()));
            let star = if known.is_some_and(|entry| entry.key) { "*" } else { " " };
            let previous = event.previous_attributes()?.map_or("-", |previous| previous.get());
            println!("  {star} {:32} {previous}", event.event_type());
        }
    }
    println!("\n* every integration should watch these");
    Ok(())
}
