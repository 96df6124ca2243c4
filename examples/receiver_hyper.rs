//! A receiver in plain hyper, with the crate's ground floor alone: pass the verifier the headers and the
//! bytes. Any framework that gives both does as well.
//!
//! `WEBHOOK_SECRET=whsec_… cargo run --example receiver_hyper -- 127.0.0.1:8080` listens at every path
//! until it is stopped. Of the crate it needs no feature (`default-features = false`).

use std::collections::HashSet;
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use tidings::{Result, Secret, Verifier, policy};

/// The orders that are to be shipped: the work of this shop.
pub(crate) type Orders = Arc<Mutex<Vec<String>>>;

/// What any sender of Standard Webhooks writes. The rest of it is the sender's matter.
#[derive(Deserialize)]
struct Message<'a> {
    /// New types come without notice, and may be called whatever the sender likes: they are fine.
    #[serde(rename = "type")]
    event_type: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The data of the types that are acted upon.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

impl<'a> Message<'a> {
    /// The order as it was written: a `Value` would make 29.9 of `29.90`.
    fn order(&self) -> serde_json::Result<&'a str> {
        let data: Data<'a> = serde_json::from_str(self.data.map_or("null", RawValue::get))?;
        Ok(data.object.get())
    }
}

struct Shop {
    verifier: Verifier,
    /// The ids of what was handled. They belong into the database that the work writes to, in the same
    /// transaction; a set in memory forgets them at a restart.
    seen: Mutex<HashSet<String>>,
    orders: Orders,
}

impl Shop {
    async fn receive(&self, request: Request<Incoming>) -> StatusCode {
        let (head, body) = request.into_parts();
        // Bounded before it is read: a stranger chooses its length.
        let body = match Limited::new(body, policy::PAYLOAD_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return StatusCode::PAYLOAD_TOO_LARGE,
            Err(_) => return StatusCode::BAD_REQUEST,
        };
        let pairs = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let Ok(verified) = self.verifier.verify(pairs, &body, Utc::now()) else {
            return StatusCode::UNAUTHORIZED;
        };
        let message = serde_json::from_slice::<Message<'_>>(&body);
        let (Ok(message), Some(id)) = (message, verified.id) else {
            return StatusCode::BAD_REQUEST;
        };
        // Held over the work, so that of two requests with one id only one does it.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(&id) {
            if self.act(&message).is_err() {
                return StatusCode::BAD_REQUEST;
            }
            seen.insert(id);
        }
        StatusCode::NO_CONTENT
    }

    fn act(&self, message: &Message<'_>) -> serde_json::Result<()> {
        if message.event_type == "order.accepted" {
            let order = message.order()?;
            println!("ship {order}");
            self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order.to_owned());
        }
        Ok(())
    }
}

pub(crate) async fn serve(listener: TcpListener, secret: Secret, orders: Orders) -> Result<()> {
    let verifier = Verifier::standard_webhooks([secret])?;
    let shop = Arc::new(Shop { verifier, seen: Mutex::default(), orders });
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shop = shop.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shop = shop.clone();
                async move {
                    let mut answer = Response::new(String::new());
                    *answer.status_mut() = shop.receive(request).await;
                    Ok::<_, Infallible>(answer)
                }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[tokio::main]
#[allow(dead_code)] // A test has this file as a module.
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let secret = Secret::parse(&std::env::var("WEBHOOK_SECRET")?)?;
    let listener = TcpListener::bind(address).await?;
    println!("listening at http://{}", listener.local_addr()?);
    Ok(serve(listener, secret, Orders::default()).await?)
}
