//! What people may enter for a webhook, and what becomes of it. `W…` are rows of the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings::time::after;
use tidings::{
    Account, Authentication, Basic, ClientIdentity, Confirmation, DisabledReason, Edit,
    EndpointUrl, Error, ErrorKind, EventType, Filters, Grant, HeaderName, Headers, Mode, OAuth,
    Registration, RootCertificates, Secret, SignatureScheme, Status, Timestamp, Webhook, WebhookId,
    WebhookView,
};

const ADDRESS: &str = "https://example.com/hook";

fn now() -> Timestamp {
    tidings::time::parse_time("2026-01-31T08:15:30.120Z").unwrap()
}

fn registration() -> Registration {
    Registration::new(ADDRESS, ["order.*"]).unwrap()
}

fn webhook(registration: Registration) -> Result<Webhook, Error> {
    registration.into_webhook(WebhookId::new(now(), &[1; 10]), Secret::from_random(&[2; 32]), now())
}

/// Creates webhooks with each statement about the status (table; W23, W24).
#[test]
fn a_webhook_is_disabled_unless_it_is_said_otherwise() {
    use Status::{Disabled, Enabled};
    for (registration, status, prompts) in [
        (registration(), Disabled(DisabledReason::NeverEnabled), true),
        (registration().enabled(false), Disabled(DisabledReason::Person), false),
        (registration().enabled(true), Enabled, false),
    ] {
        assert_eq!(registration.prompts(), prompts, "{status:?}");
        let webhook = webhook(registration).unwrap();
        assert_eq!(webhook.status(), status);
        assert_eq!(webhook.is_enabled(), status == Enabled);
    }
}

/// Looks at each default of a new webhook, and at a secret from outside.
#[test]
fn a_new_webhook_has_the_defaults() {
    let new = webhook(registration()).unwrap();
    assert_eq!((new.account(), new.mode()), (&Account::default(), Mode::Live));
    assert_eq!(new.address().as_str(), ADDRESS);
    assert!(new.types().matches(&EventType::parse("order.paid").unwrap()));
    assert_eq!((new.description(), new.metadata().len(), new.headers().len()), ("", 0, 0));
    assert_eq!(new.authentication(), &Authentication::None);
    assert_eq!((new.api_version(), new.timeout()), (None, None));
    assert_eq!(new.schemes(), [SignatureScheme::StandardWebhooks]);
    assert_eq!((new.created(), new.updated(), new.version()), (now(), now(), 0));
    assert_eq!(new.secrets().unwrap().current(), &Secret::from_random(&[2; 32]));

    let brought = Secret::from_random(&[9; 32]);
    let registration = registration().secret(brought.clone());
    assert!(registration.has_secret());
    let new = webhook(registration).unwrap();
    assert_eq!(new.secrets().unwrap().parts().count(), 1);
    assert_eq!(new.secrets().unwrap().current(), &brought);
}

/// Reads addresses with every kind of beginning (table; W15).
#[test]
fn an_address_begins_with_http_or_https() {
    for good in ["http://example.com", "https://example.com/a?b=c", "HTTPS://EXAMPLE.com/"] {
        assert!(Registration::new(good, ["*"]).is_ok(), "{good}");
        assert!(EndpointUrl::parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "example.com",
        "//example.com",
        "/hook",
        "ftp://example.com",
        "ws://example.com",
        "file:///etc/hosts",
        "javascript:alert(1)",
        "data:,x",
        "httpx://example.com",
        "http//example.com",
        "http:example.com",
        " https://example.com",
        "mailto:a@example.com",
    ] {
        let error = Registration::new(bad, ["*"]).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("address")), "{bad}");
        assert!(error.to_string().contains("http:// or https://"), "{bad}: {error}");
    }
}

/// Creates webhooks without types and with bad ones (table; domain 4c).
#[test]
fn at_least_one_type_is_wanted() {
    let none: [&str; 0] = [];
    assert_eq!(Registration::new(ADDRESS, none).unwrap_err().field(), Some("types"));
    for bad in ["", "order", "*.paid", "order.*.x"] {
        let error = Registration::new(ADDRESS, [bad]).unwrap_err();
        assert_eq!(error.field(), Some("types"), "{bad}");
    }
}

/// Edits every field of a stored webhook and compares what may never change (W11).
#[test]
fn an_edit_keeps_id_account_and_mode() {
    let registration =
        registration().account(Account::new("acme").unwrap()).mode(Mode::Test).enabled(true);
    let before = webhook(registration).unwrap().stored(now());
    let basic = Authentication::Basic(Basic::new("ada", "s3cret").unwrap());
    let edit = Edit::new()
        .address(EndpointUrl::parse("http://other.example/").unwrap())
        .types(Filters::all())
        .description("Shop")
        .metadata([("team".to_owned(), "ops".to_owned())].into())
        .headers(Headers::parse([("X-A", "1")]).unwrap())
        .authentication(basic.clone())
        .api_version(Some("latest".into()))
        .timeout(Some(Duration::from_secs(5)))
        .schemes([SignatureScheme::digital_river()]);
    let edited = before.edit(edit).unwrap();
    assert_eq!(
        (edited.id(), edited.account(), edited.mode()),
        (before.id(), before.account(), before.mode())
    );
    assert_eq!(edited.secrets().unwrap(), before.secrets().unwrap());
    assert_eq!((edited.status(), edited.version()), (before.status(), before.version()));
    assert_eq!(edited.address().as_str(), "http://other.example/");
    assert_eq!(edited.types(), &Filters::all());
    assert_eq!((edited.description(), edited.metadata().len()), ("Shop", 1));
    assert_eq!((edited.headers().len(), edited.authentication()), (1, &basic));
    assert_eq!(edited.api_version(), Some("latest"));
    assert_eq!(edited.timeout(), Some(Duration::from_secs(5)));
    assert_eq!(edited.schemes(), [SignatureScheme::digital_river()]);
    assert_eq!(edited.edit(Edit::new()).unwrap(), edited, "an empty edit changes nothing");
}

/// Stores a webhook twice and looks at version and times.
#[test]
fn only_storing_raises_the_version() {
    let new = webhook(registration()).unwrap();
    assert_eq!((new.enable().version(), new.disable(DisabledReason::Gone).version()), (0, 0));
    let later = after(now(), Duration::from_micros(7_000_500));
    let first = new.stored(later);
    let whole = after(now(), Duration::from_secs(7));
    assert_eq!((first.version(), first.created(), first.updated()), (1, whole, whole));
    let second = first.stored(after(later, Duration::from_secs(1)));
    assert_eq!((second.version(), second.created()), (2, whole));
    assert_eq!(second.updated(), after(whole, Duration::from_secs(1)));
}

/// Enables and disables in turn (W25, W26, W27).
#[test]
fn it_can_be_enabled_and_disabled_at_any_time() {
    let mut webhook = webhook(registration()).unwrap();
    for reason in [DisabledReason::Person, DisabledReason::Failing, DisabledReason::Gone] {
        webhook = webhook.enable();
        assert!(webhook.is_enabled());
        webhook = webhook.disable(reason);
        assert_eq!(webhook.status(), Status::Disabled(reason));
    }
}

/// Types names that are and are not the user's own (table; W28).
#[test]
fn a_confirmation_is_exact() {
    for (user, typed, ok) in [
        ("Ada", "Ada", true),
        ("Ada", "ada", false),
        ("Ada", "ADA", false),
        ("Ada", "Ada ", false),
        ("Ada", " Ada", false),
        ("Ada", "", false),
        ("Ada", "Grace", false),
        ("", "", false),
        // The same to the eye, not to the byte: composed and decomposed.
        ("Ren\u{e9}", "Rene\u{301}", false),
    ] {
        let checked = Confirmation::new(user, typed).check();
        let kind = checked.as_ref().err().map(Error::kind);
        assert_eq!(kind, (!ok).then_some(ErrorKind::Refused), "{user:?} {typed:?}");
    }
}

/// Sets each field to its bound and one beyond (table), by registration and by edit.
#[test]
fn the_error_names_the_field_and_the_limit() {
    let metadata = |entries: usize, key: usize, value: usize| -> BTreeMap<String, String> {
        (0..entries).map(|n| (format!("{n:0>key$}"), "v".repeat(value))).collect()
    };
    let scheme = |n: usize| SignatureScheme::TimestampedHex {
        header: HeaderName::parse(&format!("X-Signature-{n}")).unwrap(),
    };
    let text = |length: usize| "a".repeat(length);
    let edit = Edit::new;
    let millis = |millis| Some(Duration::from_millis(millis));
    let standard = SignatureScheme::StandardWebhooks;
    let none: [SignatureScheme; 0] = [];
    for good in [
        edit().description(text(1_024)),
        edit().metadata(metadata(50, 64, 512)),
        edit().api_version(Some(text(64))),
        edit().api_version(Some("2026-01-31".into())),
        edit().api_version(Some("v1_2.beta".into())),
        edit().timeout(millis(1_000)),
        edit().timeout(millis(60_000)),
        edit().schemes((0..4).map(scheme)),
    ] {
        assert!(webhook(registration().with(good.clone())).is_ok(), "{good:?}");
        assert!(webhook(registration()).unwrap().edit(good).is_ok());
    }
    for (bad, field, limit) in [
        (edit().description(text(1_025)), "description", "1024"),
        (edit().metadata(metadata(51, 2, 1)), "metadata", "50"),
        (edit().metadata(metadata(1, 65, 1)), "metadata", "64"),
        (edit().metadata(metadata(1, 1, 513)), "metadata", "512"),
        (edit().api_version(Some(text(65))), "apiVersion", "64"),
        (edit().api_version(Some(String::new())), "apiVersion", "letters"),
        (edit().api_version(Some("2026/01".into())), "apiVersion", "letters"),
        (edit().api_version(Some("a\r\nb".into())), "apiVersion", "letters"),
        (edit().timeout(millis(999)), "timeout", "1 s to 60 s"),
        (edit().timeout(millis(60_001)), "timeout", "1 s to 60 s"),
        (edit().timeout(Some(Duration::ZERO)), "timeout", "1 s to 60 s"),
        (edit().timeout(Some(Duration::MAX)), "timeout", "1 s to 60 s"),
        (edit().schemes(none), "schemes", "1 to 4"),
        (edit().schemes((0..5).map(scheme)), "schemes", "1 to 4"),
        (edit().schemes([standard.clone(), standard]), "headers", "twice"),
        (edit().schemes([scheme(1), scheme(1)]), "headers", "X-Signature-1"),
    ] {
        let created = webhook(registration().with(bad.clone())).unwrap_err();
        let edited = webhook(registration()).unwrap().edit(bad).unwrap_err();
        for error in [created, edited] {
            assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)));
            assert!(error.to_string().contains(limit), "{error}");
        }
    }
}

/// Combines headers, schemes and credentials that would write the same header (table).
#[test]
fn no_header_is_set_twice() {
    let headers = |name| Headers::parse([(name, "1")]).unwrap();
    let scheme =
        |name| SignatureScheme::TimestampedHex { header: HeaderName::parse(name).unwrap() };
    let basic = || Authentication::Basic(Basic::new("ada", "s3cret").unwrap());
    for (edit, name) in [
        (Edit::new().headers(headers("x-sig")).schemes([scheme("X-Sig")]), "X-Sig"),
        (
            Edit::new()
                .headers(headers("digitalriver-signature"))
                .schemes([SignatureScheme::digital_river()]),
            "DigitalRiver-Signature",
        ),
        (Edit::new().headers(headers("Authorization")).authentication(basic()), "authorization"),
        (Edit::new().schemes([scheme("Authorization")]).authentication(basic()), "authorization"),
    ] {
        let error = webhook(registration().with(edit)).unwrap_err();
        assert_eq!(error.field(), Some("headers"));
        assert!(error.to_string().contains(name), "{error}");
    }
    // A header of one's own in the place of credentials is fine without them.
    let own = Edit::new().headers(headers("Authorization"));
    let own = webhook(registration().with(own)).unwrap();
    assert_eq!(own.edit(Edit::new().authentication(basic())).unwrap_err().field(), Some("headers"));
}

/// Moves a webhook with OAuth to http, and one with http to OAuth (domain 4c).
#[test]
fn a_token_is_sent_over_https_only() {
    let endpoint = EndpointUrl::parse("https://id.example/token").unwrap();
    let oauth = OAuth::new(endpoint, "shop", "s3cret", Grant::client_credentials(None)).unwrap();
    let oauth = || Edit::new().authentication(Authentication::OAuth(oauth.clone()));
    let http = || EndpointUrl::parse("http://example.com/").unwrap();
    let secure = webhook(registration()).unwrap().edit(oauth()).unwrap();
    let plain = webhook(registration()).unwrap().edit(Edit::new().address(http())).unwrap();
    for error in
        [secure.edit(Edit::new().address(http())).unwrap_err(), plain.edit(oauth()).unwrap_err()]
    {
        assert_eq!(error.field(), Some("address"));
        assert!(error.to_string().contains("https://"), "{error}");
    }
}

/// Sets times and versions that mean the same as others.
#[test]
fn what_is_entered_is_kept_as_it_is_stored() {
    let edit = Edit::new()
        .timeout(Some(Duration::from_nanos(1_234_999_999)))
        .api_version(Some("2026-01-31".into()));
    let cut = webhook(registration().with(edit)).unwrap();
    assert_eq!(cut.timeout(), Some(Duration::from_millis(1_234)));
    // domain 8, row 11.
    let unpinned = cut.edit(Edit::new().api_version(Some("default".into()))).unwrap();
    assert_eq!(unpinned.api_version(), None);
    let latest = cut.edit(Edit::new().api_version(Some("latest".into()))).unwrap();
    assert_eq!(latest.api_version(), Some("latest"));
}

/// Registers webhooks with 66 headers that must not leave, each beside a good one (table).
#[test]
fn headers_that_others_write_or_that_break_the_message_are_refused() {
    let long_name = "x".repeat(129);
    let long_value = "v".repeat(4_097);
    let reserved = [
        "Host",
        "HOST",
        "host",
        "Content-Length",
        "content-length",
        "CONTENT-LENGTH",
        "Transfer-Encoding",
        "transfer-encoding",
        "tRANSFER-eNCODING",
        "Connection",
        "connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "HTTP2-Settings",
        "Expect",
        "Date",
        "Content-Type",
        "content-type",
        "Content-Encoding",
        "Content-Range",
        "Accept-Encoding",
        "Proxy-Authorization",
        "Proxy-Connection",
        "proxy-x",
        "webhook-id",
        "Webhook-Id",
        "WEBHOOK-ID",
        "webhook-timestamp",
        "Webhook-Timestamp",
        "webhook-signature",
        "Webhook-Signature",
    ];
    let names = [
        "",
        " ",
        "a b",
        " x-a",
        "x-a ",
        "x-a:",
        ":path",
        ":authority",
        "x\r",
        "x\n",
        "x\r\ny",
        "x\0",
        "x\t",
        "x\u{7f}",
        "x-ä",
        "x,y",
        "x;y",
        "(x)",
        "x/y",
        "x\"y",
        "{x}",
        &long_name,
    ];
    let values = [
        "a\r",
        "a\n",
        "a\r\nx-b: c",
        "a\n x",
        "a\0b",
        "\u{1b}[31m",
        "a\u{7f}",
        "ä",
        "\u{85}",
        "\u{2028}",
        " a",
        "a ",
        "\ta",
        &long_value,
    ];
    let bad = reserved.iter().map(|name| (*name, "v"));
    let bad = bad.chain(names.iter().map(|name| (*name, "v")));
    let bad: Vec<_> = bad.chain(values.iter().map(|value| ("x-a", *value))).collect();
    assert!(bad.len() >= 60, "{}", bad.len());
    for (name, value) in bad {
        let error = Headers::parse([("x-good", "v"), (name, value)]).unwrap_err();
        assert_eq!(error.field(), Some("headers"), "{name:?} {value:?}");
    }
    for (one, other) in [("X-A", "x-a"), ("x-a", "x-a"), ("Authorization", "AUTHORIZATION")] {
        let error = Headers::parse([(one, "1"), (other, "2")]).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
    }
    // Those of the webhook's own schemes, in whatever case.
    let own = HeaderName::parse("X-Shop-Signature").unwrap();
    for scheme in [
        SignatureScheme::DigitalRiver { header: own.clone() },
        SignatureScheme::TimestampedHex { header: own },
    ] {
        let headers = Headers::parse([("x-shop-SIGNATURE", "forged")]).unwrap();
        let edit = Edit::new().schemes([scheme]).headers(headers);
        assert_eq!(webhook(registration().with(edit)).unwrap_err().field(), Some("headers"));
    }
}

/// Stores, reads, edits and shows webhooks with certificates.
#[test]
fn certificates_are_settings_that_are_kept_and_not_shown() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["shop".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    let identity = ClientIdentity::from_pem(&certificate, &key.serialize_pem()).unwrap();
    let roots = RootCertificates::from_pem(&certificate).unwrap();
    let fingerprint = identity.fingerprint();
    let edit = Edit::new().client_identity(Some(identity)).root_certificates(Some(roots));
    let made = webhook(registration().with(edit.clone())).unwrap();
    assert_eq!(Webhook::from_stored(&made.to_stored().unwrap()).unwrap(), made);

    let view = serde_json::to_value(WebhookView::from(&made)).unwrap();
    assert_eq!(view["clientCertificate"], *fingerprint);
    assert_eq!(view["rootCertificates"], serde_json::json!([fingerprint]));
    let secret = key.serialize_pem();
    let line = secret.lines().nth(1).unwrap();
    for shown in [format!("{made:?} {edit:?} {:?}", made.tls()), view.to_string()] {
        assert!(!shown.contains(line), "{shown}");
    }

    let without = made.edit(Edit::new().client_identity(None)).unwrap();
    assert!(without.tls().unwrap().identity().is_none());
    assert!(without.tls().unwrap().roots().is_some(), "the other stays");
    assert!(without.edit(Edit::new().root_certificates(None)).unwrap().tls().is_none());

    let plain = Registration::new("http://example.com/hook", ["*"]).unwrap().with(edit);
    assert_eq!(webhook(plain).unwrap_err().field(), Some("address"));
    let http = Edit::new().address(EndpointUrl::parse("http://example.com").unwrap());
    assert_eq!(made.edit(http).unwrap_err().field(), Some("address"));
}
