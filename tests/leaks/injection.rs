//! Words of strangers that try to write a line of their own into the log, to move its reader's cursor, or
//! to turn the direction of what he reads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidings::hooks::Hooks;
use tidings::storage::MemoryStorage;
use tidings::transport::{Response, TransportError, transport_fn};
use tidings::{
    Catalogue, Change, DispatcherOptions, Error, ErrorKind, EventType, FailureKind, HeaderName,
    Notice, Observer, Policy, Registration, Tidings,
};
use tokio::sync::{mpsc, oneshot};

use crate::log;

/// Forty texts that nobody should be able to write into a log.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "a\nINFO forged=1",
        "a\r\nINFO forged=1",
        "a\rINFO forged=1",
        "\n\n\n",
        "a\u{b}b",
        "a\u{c}b",
        "a\u{85}INFO forged=1",
        "a\u{2028}INFO forged=1",
        "a\u{2029}INFO forged=1",
        "\u{1b}[2J\u{1b}[H",
        "\u{1b}[31mred\u{1b}[0m",
        "\u{1b}]0;title\u{7}",
        "\u{1b}]8;;http://a.example\u{7}x\u{1b}]8;;\u{7}",
        "\u{1b}P+q544e\u{1b}\\",
        "\u{9b}31mred",
        "\u{90}q\u{9c}",
        "\u{8}\u{8}\u{8}hidden",
        "bell\u{7}",
        "nul\0nul",
        "del\u{7f}",
        "\u{202e}txt.exe",
        "\u{202d}abc",
        "\u{202a}a\u{202c}",
        "\u{202b}a\u{202c}",
        "\u{2066}a\u{2069}",
        "\u{2067}a\u{2069}",
        "\u{2068}a\u{2069}",
        "\u{200e}a",
        "\u{200f}a",
        "\u{61c}a",
        "zero\u{200b}width",
        "zero\u{200c}width",
        "zero\u{200d}width",
        "word\u{2060}joiner",
        "\u{feff}mark",
        "soft\u{ad}hyphen",
        "tag\u{e0041}\u{e007f}",
        "\u{fff9}a\u{fffb}",
        "tab\tab",
    ]
    .map(str::to_owned)
    .into();
    texts.push(format!("long \n{}", "x".repeat(100_000)));
    texts
}

fn is_plain(text: &str) -> bool {
    let shown = |char: char| {
        !char.is_control()
            && !"\u{ad}\u{61c}\u{180e}\u{feff}".contains(char)
            && !('\u{200b}'..='\u{200f}').contains(&char)
            && !('\u{2028}'..='\u{202e}').contains(&char)
            && !('\u{2060}'..='\u{206f}').contains(&char)
            && !('\u{fff9}'..='\u{fffb}').contains(&char)
            && !('\u{e0000}'..='\u{e007f}').contains(&char)
    };
    text.chars().all(shown)
}

/// Puts forty texts into the words of errors, by every way in which a stranger's words get there: six
/// fields each.
#[test]
fn errors_are_one_plain_line_whatever_they_repeat() {
    let texts = hostile();
    assert_eq!(texts.len(), 40);
    for text in texts {
        let errors = [
            Some(Error::new(ErrorKind::Storage, text.clone())),
            Some(Error::invalid(text.clone(), text.clone())),
            Some(Error::not_found("event", &text)),
            EventType::parse(&text).err(),
            HeaderName::parse(&text).err(),
            Registration::new(&text, ["*"]).err(),
            Registration::new("https://example.com/", [&text]).err(),
            Change::of(&text, &json!({ "id": "1" })).err(),
            Catalogue::builder().json(&text).err(),
        ];
        for error in errors.into_iter().flatten() {
            assert!(is_plain(&error.to_string()), "{error}");
            assert!(error.to_string().len() <= 2 * 1_024 + 2, "{} bytes", error.to_string().len());
        }
        let error = TransportError::new(FailureKind::Dns, text.clone());
        assert!(is_plain(error.message()) && error.message().len() <= 512, "{error}");
    }
}

#[derive(Debug)]
struct Ear(mpsc::UnboundedSender<Notice>);

impl Observer for Ear {
    fn notice(&self, notice: &Notice) {
        let _ = self.0.send(notice.clone());
    }
}

/// Lets receivers, hooks and descriptions say each of the forty texts, and reads the log and the records:
/// no line that was not ours, nothing unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_receiver_and_no_hook_writes_a_line_of_the_log() {
    log::listen();
    let texts: Arc<[String]> = hostile().into();
    let words = texts.clone();
    let hooks = Hooks::new().filter(move |sending| {
        // The first attempt fails by the hook, the next by the transport.
        match sending.delivery.attempt {
            1 => Err(io::Error::other(words[at(&sending.event)].clone()).into()),
            _ => Ok(true),
        }
    });
    let (told, mut notices) = mpsc::unbounded_channel();
    let millisecond = Duration::from_millis(1);
    let tidings = Tidings::builder(MemoryStorage::new())
        .policy(Policy::default().with_pause(millisecond, millisecond))
        .hooks(hooks)
        .observer(Ear(told))
        .build();
    let registration = Registration::new("https://example.com/", ["*"]).unwrap();
    tidings.create(registration.enabled(true)).await.unwrap();
    let words = texts.clone();
    let transport = transport_fn(move |request| {
        let payload: serde_json::Value = serde_json::from_slice(request.http.body()).unwrap();
        let number: usize = payload["data"]["object"]["id"].as_str().unwrap().parse().unwrap();
        let error = TransportError::new(FailureKind::Protocol, words[number].clone());
        async move { Err::<Response, _>(error) }
    });
    let options = DispatcherOptions::default().poll(Duration::from_millis(10));
    let dispatcher = tidings.dispatcher_with(Arc::new(transport), options).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(dispatcher.run(async {
        let _ = stopped.await;
    }));
    for number in 0..texts.len() {
        let change = Change::of("order.paid", &json!({ "id": number.to_string() })).unwrap();
        tidings.publish(&tidings.event(change).unwrap()).await.unwrap();
    }
    let mut said = 0;
    while said < 2 * texts.len() {
        let wait = tokio::time::timeout(Duration::from_secs(60), notices.recv());
        if let Some(Notice::Settled { attempt, .. }) = wait.await.unwrap() {
            let error = attempt.error.unwrap();
            assert!(is_plain(&error) && error.len() <= 512, "{error:?}");
            said += 1;
        }
    }
    stop.send(()).unwrap();
    running.await.unwrap();
    let logged = log::logged();
    assert!(logged.contains("tidings::engine::hooks"), "the hooks were not heard");
    for line in logged.lines() {
        assert!(!line.starts_with("INFO forged"), "{line}");
        assert!(is_plain(&line.replace('\t', " ")), "{line:?}");
    }
}

fn at(event: &tidings::Event) -> usize {
    let payload: serde_json::Value = serde_json::from_str(event.payload()).unwrap();
    payload["data"]["object"]["id"].as_str().unwrap().parse().unwrap()
}
