//! The driver: a `chromedriver` of its own on a free port, one session in it, and the few commands of
//! WebDriver that the tests use.

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How elements are named in answers of WebDriver.
pub(crate) const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

const MISSING: &str = "Chromium and its driver are needed (Debian's chromium and chromium-driver, which tests/run \
                       installs); TIDINGS_CHROMEDRIVER names a driver that is elsewhere";

pub(crate) struct Driver {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Where the driver listens.
    address: String,
    session: String,
    /// Killed when this is dropped.
    _process: Child,
    /// Where the browser has its profile, which it leaves behind.
    _folder: TempDir,
}

impl Driver {
    pub(crate) async fn start() -> Self {
        let program = env::var("TIDINGS_CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".into());
        let folder = TempDir::new().expect("a folder");
        let mut command = Command::new(program);
        command.env("TMPDIR", folder.path());
        command.arg("--port=0").env("TZ", "UTC").env("LANG", "C.UTF-8").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{MISSING}: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let port = loop {
            let line = lines.next_line().await.expect("a line").expect("the driver ended");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // Whatever else it says must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let client = Client::builder(TokioExecutor::new()).build_http();
        let address = format!("127.0.0.1:{port}");
        let mut driver =
            Self { client, address, session: String::new(), _process: process, _folder: folder };
        let made = driver.call(Method::POST, "/session", Some(capabilities())).await;
        let made = made.unwrap_or_else(|error| panic!("{MISSING}: {error}"));
        driver.session = made["sessionId"].as_str().expect("a session").to_owned();
        driver
    }

    /// A command of the session.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        self.call(Method::POST, &format!("/session/{}/{path}", self.session), Some(body)).await
    }

    /// A question to the session.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, String> {
        self.call(Method::GET, &format!("/session/{}/{path}", self.session), None).await
    }

    /// A command of the browser's own protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        let answer = self.post("goog/cdp/execute", body).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let uri = format!("http://{}{path}", self.address);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("content-type", "application/json");
        let request = request.body(Full::from(body)).expect("a request");
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let good = response.status().is_success();
        let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&bytes.to_bytes()).expect("an answer in JSON");
        match good {
            true => Ok(answer["value"].clone()),
            false => Err(answer["value"]["message"].as_str().unwrap_or_default().to_owned()),
        }
    }
}

impl Drop for Driver {
    /// Ends the browser, which would outlive a driver that is merely killed.
    fn drop(&mut self) {
        if self.session.is_empty() {
            return;
        }
        let end = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "DELETE /session/{} HTTP/1.1\r\n", self.session)?;
            write!(stream, "Host: {}\r\nConnection: close\r\n\r\n", self.address)?;
            stream.read(&mut [0; 64]).map(|_| ())
        };
        // A browser that is gone already cannot be ended.
        let _ = end();
    }
}

fn capabilities() -> Value {
    let mut arguments = vec![
        "--headless=new",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--force-color-profile=srgb",
        "--hide-scrollbars",
        "--lang=en-GB",
        "--no-first-run",
        "--window-size=1440,900",
    ];
    // Chromium refuses to be sandboxed as root.
    if is_root() {
        arguments.push("--no-sandbox");
    }
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "unhandledPromptBehavior": "ignore",
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
    } } })
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|line| line.split_whitespace().nth(1)) == Some("0")
}
