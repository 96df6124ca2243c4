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
    Account, Catalogue, Change, DispatcherOptions, EndpointUrl, Error, ErrorKind, Event, EventType,
    FailureKind, HeaderName, Notice, Observer, Policy, Registration, Tidings, Timestamp, WebhookId,
};
use tokio::sync::{mpsc, oneshot};

use crate::log;

/// Texts that nobody should be able to write into a log.
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
        "joiner\u{34f}",
        "filler\u{3164}\u{ffa0}",
        "selector\u{fe0f}\u{e0100}\u{e01ef}",
    ]
    .map(str::to_owned)
    .into();
    texts.push(format!("long \n{}", "x".repeat(100_000)));
    texts
}

/// What is not seen where it stands, first and last of each range: the categories Cc, Zl and Zp, the
/// property Default_Ignorable_Code_Point (DerivedCoreProperties of Unicode 16), and the marks of
/// annotation. Written down from there, not from the crate.
const UNSEEN: [(u32, u32); 26] = [
    (0x00, 0x1f),
    (0x7f, 0x9f),
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x61c, 0x61c),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180d),
    (0x180e, 0x180e),
    (0x180f, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x2029),
    (0x202a, 0x202e),
    (0x2060, 0x2064),
    (0x2065, 0x2065),
    (0x2066, 0x206f),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfff8),
    (0xfff9, 0xfffb),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe007f),
    (0xe0080, 0xe0fff),
];

fn is_unseen(char: char) -> bool {
    UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(char)))
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(is_unseen)
}

/// Puts every character there is into the text of an error.
#[test]
fn whatever_is_not_seen_is_escaped_and_all_else_is_kept() {
    for char in '\0'..=char::MAX {
        let shown = Error::new(ErrorKind::Storage, format!("<{char}>")).to_string();
        assert_eq!(shown != format!("<{char}>"), is_unseen(char), "{char:?}: {shown}");
        assert!(is_plain(&shown), "{shown:?}");
    }
}

/// The texts of an error and of all its causes, as a host prints them.
fn told(error: &dyn std::error::Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(this) = cause {
        texts.push(this.to_string());
        cause = this.source();
    }
    texts
}

/// Puts these texts into the words of errors, by every way in which a stranger's words get there, and
/// reads the errors and what caused them.
#[test]
fn errors_are_one_plain_line_whatever_they_repeat() {
    let texts = hostile();
    assert!(texts.len() > 40);
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
            Catalogue::builder().json(&json!([{ "type": text }]).to_string()).err(),
            Event::parse(&*text, Account::default(), Timestamp::UNIX_EPOCH).err(),
            EndpointUrl::parse(&format!("http://{text}/")).err(),
            text.parse::<WebhookId>().err(),
            Some(Error::storage(text.clone(), io::Error::other(text.clone()))),
            Some(Error::storage("it failed", Error::storage("why", text.clone()))),
            #[cfg(feature = "toml")]
            Catalogue::builder().toml(&text).err(),
            #[cfg(feature = "toml")]
            Catalogue::builder().toml(&format!("x = \"{text}")).err(),
        ];
        for error in errors.into_iter().flatten() {
            for said in told(&error) {
                assert!(is_plain(&said), "{said:?}");
                assert!(said.len() <= 2 * 1_024 + 2, "{} bytes", said.len());
            }
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

/// Lets receivers, hooks and descriptions say each of these texts, and reads the log and the records:
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
