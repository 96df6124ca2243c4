//! A receiver in actix, with the ground floor of tidings alone: pass the verifier the headers and the
//! bytes.
//!
//! `WEBHOOK_SECRET=whsec_… cargo run -- 127.0.0.1:8080`, in this folder, listens at `/hook` until it is
//! stopped.

use std::collections::HashSet;
use std::error::Error;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use actix_web::dev::Server;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, PayloadConfig, post};
use actix_web::{App, HttpRequest, HttpServer};
use chrono::Utc;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings::{Secret, Verifier, policy};

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
struct Content<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
}

impl<'a> Message<'a> {
    /// The order as it was written: a `Value` would make 29.9 of `29.90`.
    fn order(&self) -> serde_json::Result<&'a str> {
        let data: Content<'a> = serde_json::from_str(self.data.map_or("null", RawValue::get))?;
        Ok(data.object.get())
    }
}

struct Shop {
    verifier: Verifier,
    /// The ids of what was handled. They belong into the database that the work writes to, in the same
    /// transaction; a set in memory forgets them at a restart.
    seen: Mutex<HashSet<String>>,
    /// The orders that are to be shipped: the work of this shop.
    orders: Mutex<Vec<String>>,
}

// `Bytes` is bounded by the payload's configuration while it is read: 413.
async fn hook(shop: Data<Shop>, request: HttpRequest, body: Bytes) -> (String, StatusCode) {
    (String::new(), shop.receive(&request, &body))
}

impl Shop {
    fn receive(&self, request: &HttpRequest, body: &[u8]) -> StatusCode {
        let pairs = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let Ok(verified) = self.verifier.verify(pairs, body, Utc::now()) else {
            return StatusCode::UNAUTHORIZED;
        };
        let message = serde_json::from_slice::<Message<'_>>(body);
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

fn shop(secret: Secret) -> tidings::Result<Data<Shop>> {
    let verifier = Verifier::standard_webhooks([secret])?;
    Ok(Data::new(Shop { verifier, seen: Mutex::default(), orders: Mutex::default() }))
}

fn serve(listener: TcpListener, shop: Data<Shop>) -> std::io::Result<Server> {
    let app = move || {
        App::new()
            .app_data(shop.clone())
            .app_data(PayloadConfig::new(policy::PAYLOAD_BYTES_MAX))
            .route("/hook", post().to(hook))
    };
    Ok(HttpServer::new(app).workers(1).listen(listener)?.run())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let secret = Secret::parse(&std::env::var("WEBHOOK_SECRET")?)?;
    let listener = TcpListener::bind(address)?;
    println!("listening at http://{}/hook", listener.local_addr()?);
    Ok(serve(listener, shop(secret)?)?.await?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use tidings::{EventId, Secrets, SignatureScheme, Timestamp, signature};

    use super::*;

    /// Sends a signed request over a socket, and reads the status of the answer.
    fn send(address: &str, secret: &Secret, n: u8, body: &[u8], at: Timestamp) -> u16 {
        let secrets = Secrets::new(secret.clone(), at);
        let schemes = [SignatureScheme::StandardWebhooks];
        let id = EventId::new(Timestamp::UNIX_EPOCH, &[n; 10]);
        let mut head = format!(
            "POST /hook HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in signature::sign(&schemes, &secrets, id, body, at) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let _ = stream.write_all(body);
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).unwrap();
        let line = String::from_utf8_lossy(&answer[..read]).into_owned();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn payload(event_type: &str) -> Vec<u8> {
        let id = "0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10";
        let data = r#"{"object":{"id":"247"}}"#;
        format!(r#"{{"id":"{id}","type":"{event_type}","data":{data}}}"#).into_bytes()
    }

    /// Sends good, bad, repeated, unknown and too long requests.
    #[test]
    fn it_acts_once() {
        let secret = Secret::from_random(&[7; 32]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shop = shop(secret.clone()).unwrap();
        let served = shop.clone();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async { serve(listener, served).unwrap().await })
        });
        let shipped = || shop.orders.lock().unwrap().len();
        let (now, forger) = (Utc::now(), Secret::from_random(&[8; 32]));
        let accepted = payload("order.accepted");
        assert_eq!(send(&address, &forger, 1, &accepted, now), 401);
        assert_eq!(send(&address, &secret, 1, &accepted, now - chrono::TimeDelta::hours(1)), 401);
        assert_eq!(shipped(), 0);
        assert_eq!(send(&address, &secret, 1, &accepted, now), 204);
        assert_eq!(send(&address, &secret, 1, &accepted, now), 204);
        assert_eq!(shipped(), 1);
        assert_eq!(send(&address, &secret, 2, &payload("order.line_item.engraved"), now), 204);
        assert_eq!(send(&address, &secret, 5, &payload("ping"), now), 204);
        let bare = br#"{"id":7,"type":"order.line_item.engraved"}"#;
        assert_eq!(send(&address, &secret, 6, bare, now), 204);
        assert_eq!(send(&address, &secret, 3, b"{}", now), 400);
        let long = vec![b' '; policy::PAYLOAD_BYTES_MAX + 1];
        assert_eq!(send(&address, &secret, 4, &long, now), 413);
        assert_eq!(shipped(), 1);
    }
}
