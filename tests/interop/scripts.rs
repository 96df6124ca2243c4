//! The libraries of Python and JavaScript as receivers and as senders, over sockets. They are installed
//! by tests/run, which says where they are: `TIDINGS_PYTHON` is an interpreter that has them,
//! `TIDINGS_NODE` a folder with `node_modules`.

use std::process::Stdio;

use chrono::Utc;
use kit::{PATIENCE, Post, captured, deliver, spoilt, timestamped_hex};
use tidings::{Secret, SignatureScheme, Verifier};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const SCHEME: SignatureScheme = SignatureScheme::StandardWebhooks;

fn secret() -> Secret {
    Secret::from_random(&[9; 32])
}

/// A script of the folder, with a library, a role and what the role needs.
fn script(language: &str, arguments: &[&str]) -> Command {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}: tests/run"));
    let (program, file) = match language {
        "python" => (variable("TIDINGS_PYTHON"), "python/peer.py"),
        _ => {
            variable("TIDINGS_NODE");
            ("node".to_owned(), "javascript/peer.mjs")
        }
    };
    let mut command = Command::new(program);
    command.arg(format!("{folder}{file}")).args(arguments).kill_on_drop(true);
    command
}

/// Starts a receiver and waits until it says where it listens.
async fn receiver(language: &str, library: &str, secret: &Secret) -> (Child, String) {
    let mut command = script(language, &[library, "receive", secret.reveal()]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the interpreter");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.expect("a port in time");
    let port: u16 = line.unwrap().expect("a port").parse().unwrap();
    (child, format!("127.0.0.1:{port}"))
}

/// Delivers to a receiver that asks a library, and sends it what was spoilt.
async fn judged(language: &str, library: &str, scheme: SignatureScheme, verifier: Verifier) {
    let (_child, address) = receiver(language, library, &secret()).await;
    assert!(deliver(&address, &scheme, &secret()).await, "{library} refuses a delivery");
    let post = captured(&scheme, &secret()).await;
    assert_eq!(post.send(&address).await, 204);
    for (what, post) in spoilt(&post, &scheme, &secret()) {
        assert!(post.verify(&verifier, Utc::now()).is_err(), "we take {what}");
        assert_eq!(post.send(&address).await, 401, "{library} takes {what}");
    }
    assert_eq!(post.send(&address).await, 204, "the receiver still works");
}

/// Lets a library sign and send, and verifies what came.
async fn verified(language: &str, library: &str, verifier: Verifier) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let url = format!("http://{address}/hook");
    let mut sender = script(language, &[library, "send", secret().reveal(), &url]).spawn().unwrap();
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.expect("a request").unwrap();
    let post = Post::read(&mut stream, 204).await;
    assert_eq!(post.verify(&verifier, Utc::now()), Ok(()), "{post:?}");
    assert!(String::from_utf8(post.body.clone()).unwrap().contains("Zoë"));
    let mut changed = post.clone();
    changed.body.push(b' ');
    assert!(changed.verify(&verifier, Utc::now()).is_err());
    drop(stream);
    assert!(timeout(PATIENCE, sender.wait()).await.expect("an end").unwrap().success());
}

fn standard() -> Verifier {
    Verifier::standard_webhooks([secret()]).unwrap()
}

fn hex() -> Verifier {
    Verifier::new(timestamped_hex(), [secret()]).unwrap()
}

/// Delivers to a receiver with `standardwebhooks` of Python.
#[tokio::test]
#[ignore = "needs Python and npm packages: tests/run"]
async fn standardwebhooks_of_python_judges_deliveries_as_we_do() {
    judged("python", "standardwebhooks", SCHEME, standard()).await;
}

/// Delivers to a receiver with `standardwebhooks` of JavaScript.
#[tokio::test]
#[ignore = "needs Python and npm packages: tests/run"]
async fn standardwebhooks_of_javascript_judges_deliveries_as_we_do() {
    judged("javascript", "standardwebhooks", SCHEME, standard()).await;
}

/// Delivers in the `t=…,v1=…` form to a receiver with `stripe` of Python.
#[tokio::test]
#[ignore = "needs Python and npm packages: tests/run"]
async fn stripe_of_python_judges_deliveries_as_we_do() {
    judged("python", "stripe", timestamped_hex(), hex()).await;
}

/// Receives from `standardwebhooks` of Python.
#[tokio::test]
#[ignore = "needs Python and npm packages: tests/run"]
async fn what_standardwebhooks_of_python_signs_verifies() {
    verified("python", "standardwebhooks", standard()).await;
}

/// Receives from `standardwebhooks` of JavaScript.
#[tokio::test]
#[ignore = "needs Python and npm packages: tests/run"]
async fn what_standardwebhooks_of_javascript_signs_verifies() {
    verified("javascript", "standardwebhooks", standard()).await;
}

/// Receives from `stripe` of Python.
#[tokio::test]
#[ignore = "needs Python and npm packages: tests/run"]
async fn what_stripe_of_python_signs_verifies() {
    verified("python", "stripe", hex()).await;
}
