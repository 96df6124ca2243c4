//! What the difference of two resources costs, beside reading one of them.
//!
//! `cargo bench --bench change`. Each resource has 10 KiB of JSON; one attribute differs. Conversions are
//! counted: the difference begins with two values of the host's, and parsing with a text. The figures of
//! one row come from one run, in turns, so that their ratio holds on a busy machine, too.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidings::{ResourceModel, diff};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    id: String,
    state: String,
    total: f64,
    lines: Vec<Line>,
    address: Address,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    sku_id: String,
    description: String,
    quantity: u32,
    amount: f64,
    taxes: Vec<f64>,
    shipped: bool,
    note: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    name: String,
    city: String,
    postal_code: String,
}

fn order() -> Order {
    let line = |number: u32| Line {
        sku_id: format!("sku_{number:06}"),
        description: format!("Article {number}: blue, \"large\", of linen and of wool"),
        quantity: number % 7,
        amount: f64::from(number) * 1.25,
        taxes: vec![0.19, 0.07],
        shipped: number.is_multiple_of(2),
        note: None,
    };
    Order {
        id: "247468780336".to_owned(),
        state: "in_review".to_owned(),
        total: 5_005.5,
        lines: (0..62).map(line).collect(),
        address: Address {
            name: "Zoë Müller".to_owned(),
            city: "Zürich".to_owned(),
            postal_code: "8001".to_owned(),
        },
    }
}

/// What is measured, and its name.
type Run<'r> = (&'static str, Box<dyn FnMut() + 'r>);

/// How long each of these takes, once: the best of many turns.
fn race(runs: &mut [Run<'_>]) -> Vec<Duration> {
    const TURNS: usize = 40;
    const CALLS: u32 = 200;
    let mut best = vec![Duration::MAX; runs.len()];
    for _ in 0..TURNS {
        for (best, (_, run)) in best.iter_mut().zip(runs.iter_mut()) {
            let start = Instant::now();
            (0..CALLS).for_each(|_| run());
            *best = (*best).min(start.elapsed() / CALLS);
        }
    }
    best
}

fn main() {
    let before = order();
    let after = Order { state: "accepted".to_owned(), ..before.clone() };
    let (value_before, value_after) =
        (serde_json::to_value(&before).unwrap(), serde_json::to_value(&after).unwrap());
    let mut value_more = value_before.clone();
    value_more["paidTime"] = "2026-01-31T08:15:30Z".into();
    let text = serde_json::to_string(&before).unwrap();
    let model = ResourceModel::builder("order")
        .state("state")
        .part("lines[]", ResourceModel::builder("line").id("skuId"))
        .build()
        .unwrap();

    let mut inside = after.clone();
    inside.lines[31].quantity += 1;
    let mut runs: Vec<Run<'_>> = vec![
        (
            "parse to a struct",
            Box::new(|| drop(black_box(serde_json::from_str::<Order>(black_box(&text))))),
        ),
        (
            "parse to a Value",
            Box::new(|| drop(black_box(serde_json::from_str::<Value>(black_box(&text))))),
        ),
        (
            "diff of structs",
            Box::new(|| drop(black_box(diff::of(black_box(&before), black_box(&after))))),
        ),
        (
            "diff of structs, inside an array",
            Box::new(|| drop(black_box(diff::of(black_box(&after), black_box(&inside))))),
        ),
        (
            "diff of Values",
            Box::new(|| {
                drop(black_box(diff::of(black_box(&value_before), black_box(&value_after))))
            }),
        ),
        (
            "diff of Values, one newly set",
            Box::new(|| {
                drop(black_box(diff::of(black_box(&value_before), black_box(&value_more))))
            }),
        ),
        (
            "writing two structs, no difference",
            Box::new(|| {
                drop(black_box(serde_json::to_string(black_box(&before))));
                drop(black_box(serde_json::to_string(black_box(&after))));
            }),
        ),
        (
            "events of a model with 62 parts",
            Box::new(|| drop(black_box(model.events(black_box(&before), black_box(&after))))),
        ),
    ];
    let times = race(&mut runs);
    println!("{} bytes, one attribute changed\n", text.len());
    println!("{:34} {:>9} {:>12} {:>12}", "", "µs", "of a struct", "of a Value");
    for ((name, _), time) in runs.iter().zip(&times) {
        let of = |other: Duration| time.as_secs_f64() / other.as_secs_f64();
        println!(
            "{name:34} {:>9.1} {:>12.2} {:>12.2}",
            time.as_secs_f64() * 1e6,
            of(times[0]),
            of(times[1])
        );
    }
}
