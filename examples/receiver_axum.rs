//! A receiver in axum with the kit: verify and parse in an extractor, act once, dispatch by type.
//!
//! `WEBHOOK_SECRET=whsec_… cargo run --features receiver --example receiver_axum -- 127.0.0.1:8080`
//! listens at `/hook` until it is stopped.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{FromRef, State};
use axum::response::Response;
use axum::routing::post;
use axum::{Router, serve};
use chrono::Utc;
use serde::Deserialize;
use tokio::net::TcpListener;

use tidings::receiver::{Dispatch, MemorySeen, Received, Receiver, Rejection};
use tidings::{Result, Secret, Verifier};

/// The orders that are to be shipped: the work of this shop. In a real one it is a table, and so is
/// what was seen before.
pub(crate) type Orders = Arc<Mutex<Vec<String>>>;

#[derive(Clone)]
struct Shop {
    receiver: Receiver,
    dispatch: Dispatch,
}

impl FromRef<Shop> for Receiver {
    fn from_ref(shop: &Shop) -> Self {
        shop.receiver.clone()
    }
}

#[derive(Deserialize)]
struct Order {
    id: String,
}

async fn hook(State(shop): State<Shop>, event: Received) -> Response {
    shop.dispatch.run(event).await
}

pub(crate) fn router(secret: Secret, orders: Orders) -> Result<Router> {
    let accepted = move |event: Received| {
        let orders = orders.clone();
        async move {
            let order: Order = event.object_as()?;
            println!("ship {}", order.id);
            orders.lock().unwrap_or_else(PoisonError::into_inner).push(order.id);
            Ok::<_, Rejection>(())
        }
    };
    // Types that nobody asked for are acknowledged: new ones come without notice.
    let dispatch = Dispatch::new().on("order.accepted", accepted)?;
    let receiver = Receiver::new(Verifier::standard_webhooks([secret])?, Utc::now)
        .with_seen(MemorySeen::default());
    let shop = Shop { receiver, dispatch };
    Ok(Router::new().route("/hook", post(hook)).with_state(shop))
}

#[tokio::main]
#[allow(dead_code)] // A test has this file as a module.
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let secret = Secret::parse(&std::env::var("WEBHOOK_SECRET")?)?;
    let listener = TcpListener::bind(address).await?;
    println!("listening at http://{}/hook", listener.local_addr()?);
    serve(listener, router(secret, Orders::default())?).await?;
    Ok(())
}
