//! Signatures against published vectors, and every rule of the verifier as a table.
//!
//! The vectors of Standard Webhooks are those of its reference libraries; those of the Digital
//! River header were computed independently from the documented algorithm.

use std::time::Duration;

use tidings::signature::sign;
use tidings::time::{after, before};
use tidings::{
    EventId, HeaderName, Overlap, Secret, Secrets, SignatureScheme, Timestamp, Verified, Verifier,
    VerifyError, policy,
};

type Pairs = Vec<(String, Vec<u8>)>;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(seconds, 0).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

fn pairs<N: Into<String>, V: Into<Vec<u8>>>(list: impl IntoIterator<Item = (N, V)>) -> Pairs {
    list.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn verify(
    verifier: &Verifier,
    headers: &Pairs,
    body: &[u8],
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    verifier.verify(headers, body, now)
}

fn missing(header: &str) -> VerifyError {
    let header = header.into();
    VerifyError::MissingHeader { header }
}

fn repeated(header: &str) -> VerifyError {
    let header = header.into();
    VerifyError::RepeatedHeader { header }
}

// --- Standard Webhooks -------------------------------------------------------------------------

/// A message of the reference libraries' tests.
struct Published {
    secret: &'static str,
    id: &'static str,
    seconds: i64,
    body: &'static str,
    code: &'static str,
}

const FIRST: Published = Published {
    secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
    seconds: 1_649_367_553,
    body: r#"{"email":"test@example.com","username":"test_user"}"#,
    code: "tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
};

const SECOND: Published = Published {
    secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    seconds: 1_614_265_330,
    body: r#"{"test": 2432232314}"#,
    code: "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
};

/// The asymmetric signature of the second message and its public key.
const SECOND_ASYMMETRIC: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
const SECOND_PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

/// Well-formed codes that match nothing.
const OTHER_CODE: &str = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";

impl Published {
    fn verifier(&self) -> Verifier {
        Verifier::standard_webhooks([secret(self.secret)]).unwrap()
    }

    fn headers(&self, signatures: &str) -> Pairs {
        pairs([
            ("webhook-id", self.id.to_owned()),
            ("webhook-timestamp", self.seconds.to_string()),
            ("webhook-signature", signatures.to_owned()),
        ])
    }

    /// The verdict on these signatures at the time of the message.
    fn judge(&self, signatures: &str) -> Result<Verified, VerifyError> {
        let headers = self.headers(signatures);
        verify(&self.verifier(), &headers, self.body.as_bytes(), at(self.seconds))
    }

    fn good(&self) -> String {
        format!("v1,{}", self.code)
    }
}

/// Verifies both published messages, and refuses them with one byte changed.
#[test]
fn the_published_messages_verify() {
    for message in [FIRST, SECOND] {
        let verified = message.judge(&message.good()).unwrap();
        assert_eq!(verified.id.as_deref(), Some(message.id));
        assert_eq!(verified.timestamp, at(message.seconds));
        let headers = message.headers(&message.good());
        let mut body = message.body.as_bytes().to_vec();
        body[0] ^= 1;
        let verdict = verify(&message.verifier(), &headers, &body, at(message.seconds));
        assert_eq!(verdict, Err(VerifyError::NoMatch));
    }
}

/// Judges lists of signatures in which one, none or a partial one is good (table; S4, S5, S10).
#[test]
fn any_good_signature_of_the_right_version_will_do() {
    let good = SECOND.good();
    let other = format!("v1,{OTHER_CODE}");
    let code = SECOND.code;
    let sixteen = |last: &str| format!("{}{last}", format!("{other} ").repeat(15));
    for signatures in [
        good.clone(),
        format!("{other} {good}"),
        format!("{good} {other}"),
        format!("{other} v2,{OTHER_CODE} {good} {other}"),
        format!("{SECOND_ASYMMETRIC} {good}"),
        format!("v1,not-base64 v1 v1, , {good}"),
        format!("  {good}  "),
        sixteen(&good),
        // Sixteen are looked at, whatever their version; empty ones are none.
        format!("{}{good}", "v2,x ".repeat(15)),
        format!("{}{good}", format!("{other}    ").repeat(15)),
    ] {
        assert!(SECOND.judge(&signatures).is_ok(), "{signatures}");
    }
    for signatures in [
        String::new(),
        " ".to_owned(),
        "v1".to_owned(),
        "v1,".to_owned(),
        code.to_owned(),
        other.clone(),
        format!("v2,{code}"),
        format!("V1,{code}"),
        format!("v1 ,{code}"),
        format!("v1={code}"),
        format!("v1,{code},"),
        format!("{other},{good}"),
        SECOND_ASYMMETRIC.to_owned(),
        // Cut, lengthened, without padding, in the other alphabet, with stray bits.
        good[..good.len() - 5].to_owned(),
        format!("{good}AAAA"),
        good.trim_end_matches('=').to_owned(),
        format!("{good}="),
        good.replace('+', "-").replace('/', "_"),
        good.replace("OE=", "OF="),
        format!("{} {good}", sixteen(&other)),
        format!("{}{good}", "v2,x ".repeat(16)),
    ] {
        assert_eq!(SECOND.judge(&signatures), Err(VerifyError::NoMatch), "{signatures}");
    }
    let mut headers = SECOND.headers(&good);
    headers[2].1 = [b"\xff\xfe v1,\x80 ".as_slice(), good.as_bytes()].concat();
    let verdict = verify(&SECOND.verifier(), &headers, SECOND.body.as_bytes(), at(SECOND.seconds));
    assert!(verdict.is_ok(), "bytes that are no text spoil nothing");
}

/// Leaves out, repeats and respells each header (S1).
#[test]
fn each_header_is_there_once_in_any_case() {
    let judge = |headers: &Pairs| {
        verify(&SECOND.verifier(), headers, SECOND.body.as_bytes(), at(SECOND.seconds))
    };
    for at in 0..3 {
        let name = ["webhook-id", "webhook-timestamp", "webhook-signature"][at];
        let mut headers = SECOND.headers(&SECOND.good());
        headers.remove(at);
        assert_eq!(judge(&headers), Err(missing(name)));

        let mut headers = SECOND.headers(&SECOND.good());
        let again = (name.to_ascii_uppercase(), headers[at].1.clone());
        headers.push(again);
        assert_eq!(judge(&headers), Err(repeated(name)), "even with the same value");

        let mut headers = SECOND.headers(&SECOND.good());
        headers[at].0 = name.to_ascii_uppercase();
        headers.insert(0, ("content-type".into(), b"application/json".to_vec()));
        headers.insert(1, ("content-type".into(), b"application/json".to_vec()));
        assert!(judge(&headers).is_ok());
    }
    assert_eq!(judge(&Vec::new()), Err(missing("webhook-id")));
}

/// Sends ids that are at and over each bound, all rightly signed (table; S9).
#[test]
fn an_id_is_visible_ascii_without_a_dot() {
    let key = SECOND.secret;
    let verdict = |id: &str| {
        let headers = signed_by_hand(key, id, "1614265330", b"{}");
        verify(&SECOND.verifier(), &headers, b"{}", at(SECOND.seconds))
    };
    for id in ["a", "!~", "01985c1e-6a2b-7c3d-8e4f-000000000001", &"i".repeat(256)] {
        assert_eq!(verdict(id).unwrap().id.as_deref(), Some(id));
    }
    for id in ["", ".", "a.b", "a b", " a", "a\t", "é", "a\u{7f}", "a\r", &"i".repeat(257)] {
        assert_eq!(verdict(id), Err(VerifyError::MalformedId), "{id:?}");
    }
}

/// Moves the dot between the id and the timestamp of a rightly signed message.
#[test]
fn a_message_cannot_be_cut_at_another_dot() {
    // `a.1614265330.1614265330.x`, read as an id with a dot or as a body with one.
    let mut headers = signed_by_hand(SECOND.secret, "a", "1614265330", b"1614265330.x");
    assert!(verify(&SECOND.verifier(), &headers, b"1614265330.x", at(SECOND.seconds)).is_ok());
    headers[0].1 = b"a.1614265330".to_vec();
    let verdict = verify(&SECOND.verifier(), &headers, b"x", at(SECOND.seconds));
    assert_eq!(verdict, Err(VerifyError::MalformedId));
}

/// A rightly signed message with parts that the signer would never write.
fn signed_by_hand(key: &str, id: &str, timestamp: &str, body: &[u8]) -> Pairs {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit, Mac};

    let key = STANDARD.decode(key.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let code = STANDARD.encode(mac.finalize().into_bytes());
    pairs([
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", timestamp.to_owned()),
        ("webhook-signature", format!("v1,{code}")),
    ])
}

/// Sends timestamps of every wrong form, all rightly signed, under a boundless tolerance (S2).
#[test]
fn a_timestamp_is_one_to_twelve_digits() {
    let verifier = SECOND.verifier().with_tolerance(Duration::MAX);
    let verdict = |timestamp: &str| {
        let headers = signed_by_hand(SECOND.secret, "a", timestamp, b"{}");
        verify(&verifier, &headers, b"{}", at(0))
    };
    for (timestamp, seconds) in [
        ("0", 0),
        ("1614265330", 1_614_265_330),
        ("001614265330", 1_614_265_330),
        ("999999999999", 999_999_999_999),
    ] {
        assert_eq!(verdict(timestamp).unwrap().timestamp, at(seconds));
    }
    for timestamp in [
        "",
        " ",
        "-1",
        "+1614265330",
        " 1614265330",
        "1614265330 ",
        "1614265330.0",
        "1e9",
        "0x10",
        "1_000",
        "1000000000000",
        "0001614265330",
        "٣٣٣",
        "2021-02-25T15:02:10Z",
    ] {
        assert_eq!(verdict(timestamp), Err(VerifyError::MalformedTimestamp), "{timestamp:?}");
    }
}

/// Moves the clock around the timestamp, with several tolerances (table; S3).
#[test]
fn the_tolerance_is_inclusive_both_ways() {
    let seconds = Duration::from_secs;
    let millis = Duration::from_millis;
    for (tolerance, drift) in [
        (None, 300),
        (Some(seconds(300)), 300),
        (Some(seconds(1)), 1),
        (Some(seconds(0)), 0),
        (Some(millis(999)), 0),
        (Some(seconds(86_400)), 86_400),
    ] {
        let mut verifier = FIRST.verifier();
        if let Some(tolerance) = tolerance {
            verifier = verifier.with_tolerance(tolerance);
        }
        let headers = FIRST.headers(&FIRST.good());
        let judge = |now| verify(&verifier, &headers, FIRST.body.as_bytes(), now).map(drop);
        let sent = at(FIRST.seconds);
        let late = after(sent, seconds(drift));
        let early = before(sent, seconds(drift));
        for now in [sent, early, late, after(late, millis(999)), after(sent, millis(999))] {
            assert_eq!(judge(now), Ok(()), "{tolerance:?} {now}");
        }
        assert_eq!(judge(after(late, seconds(1))), Err(VerifyError::TooOld));
        assert_eq!(judge(before(early, millis(1))), Err(VerifyError::TooNew));
    }
}

/// Puts nothing, too many and public keys in the secret's place (S6).
#[test]
fn a_verifier_has_a_secret() {
    let error = Verifier::standard_webhooks([]).unwrap_err();
    assert_eq!(error.to_string(), "secrets: there is none");
    let made = |n| Secret::from_random(&[n; 32]);
    assert!(Verifier::standard_webhooks((0..16).map(made)).is_ok());
    let error = Verifier::standard_webhooks((0..17).map(made)).unwrap_err();
    assert_eq!(error.field(), Some("secrets"));
    // Without its prefix a text could be read as base64, as some libraries do, or as it is, which is the
    // key of the other forms: it is refused rather than guessed at.
    let bare = SECOND.secret.strip_prefix("whsec_").unwrap();
    for text in ["", "whsec_", SECOND_PUBLIC, bare] {
        assert_eq!(Secret::parse(text).unwrap_err().field(), Some("secret"));
    }
}

/// Verifies bodies that are no text, differ in white space, and are over the bound (S7).
#[test]
fn a_body_is_raw_bytes() {
    let key = SECOND.secret;
    let now = at(SECOND.seconds);
    let huge = vec![b' '; policy::VERIFY_BYTES_MAX + 1];
    for body in [b"".as_slice(), b"\xff\x00\xfe", b"{ }", b"\r\n", &huge[1..]] {
        let headers = signed_by_hand(key, "a", "1614265330", body);
        assert!(verify(&SECOND.verifier(), &headers, body, now).is_ok());
    }
    let headers = signed_by_hand(key, "a", "1614265330", b"{ }");
    for body in [b"{}".as_slice(), b"{ }\n", b"\xef\xbb\xbf{ }", b""] {
        let verdict = verify(&SECOND.verifier(), &headers, body, now);
        assert_eq!(verdict, Err(VerifyError::NoMatch));
    }
    let headers = signed_by_hand(key, "a", "1614265330", &huge);
    let verdict = verify(&SECOND.verifier(), &headers, &huge, now);
    assert_eq!(verdict, Err(VerifyError::BodyTooLong));
}

// --- Digital River -----------------------------------------------------------------------------

const RIVER_1: &str = "whk_00000000-0000-4000-8000-000000000001";
const RIVER_2: &str = "whk_00000000-0000-4000-8000-000000000002";
const RIVER_BODY: &str = r#"{"id":"86976837-18b5-473c-9a2e-7e774a827670","type":"order.accepted","data":{"object":{"id":"247468780336","state":"accepted"}}}"#;
const RIVER_CODE_1: &str = "pSHDMnSvdSKQRt6gwnxN18f22TLIuJ2YoKkK53YvC28=";
const RIVER_CODE_2: &str = "sQ9afP2mUYcgof0YB36Y3CE5Pwe+5NHQ9/iqRHCKZPA=";
const RIVER_HEX_1: &str = "a521c33274af75229046dea0c27c4dd7c7f6d932c8b89d98a0a90ae7762f0b6f";
const RIVER_SECONDS: i64 = 1_700_000_000;

fn river_header() -> HeaderName {
    HeaderName::parse("DigitalRiver-Signature").unwrap()
}

fn judge_river(secret_text: &str, value: &str, body: &[u8]) -> Result<Verified, VerifyError> {
    let verifier = Verifier::digital_river(river_header(), [secret(secret_text)]).unwrap();
    let headers = pairs([("digitalriver-signature", value)]);
    verify(&verifier, &headers, body, at(RIVER_SECONDS))
}

/// Verifies each row of the table whose timestamp is Unix seconds; refuses the others' timestamps.
#[test]
fn the_digital_river_rows_verify() {
    let body = RIVER_BODY.as_bytes();
    let utf8 =
        b"\x7b\x22\x6e\x61\x6d\x65\x22\x3a\x22\x5a\x6f\xc3\xab\x22\x2c\x22\x6e\x22\x3a\x31\x7d";
    for (key, code, body) in [
        (RIVER_1, RIVER_CODE_1, body),
        (RIVER_2, RIVER_CODE_2, body),
        (RIVER_1, "FVxir+pqgIqjBgGprV7bD1BEW5zBTbDSbTg0ji1Jr+c=", b""),
        (RIVER_1, "nO69/hbfsVmEAwJLaPhIndryIZ8htkjcUrOif7tBMd8=", utf8),
    ] {
        let verified = judge_river(key, &format!("1700000000, {code}"), body).unwrap();
        assert_eq!(verified.id, None);
        assert_eq!(verified.timestamp, at(RIVER_SECONDS));
    }
    for value in [
        "1700000000000, H8fQJRiP/4s3OkbKcwJZr+q+hFY7hIgSiVWHBIqOAQc=",
        "2023-11-14T22:13:20Z, 6M1me2cl8mDviYr6z0i9czCLyHuJTeTGNaMn5ChqNVs=",
    ] {
        let verdict = judge_river(RIVER_1, value, body);
        assert_eq!(verdict, Err(VerifyError::MalformedTimestamp));
    }
}

/// Judges header values with the good code in each place and with none (table).
#[test]
fn digital_river_headers_are_a_timestamp_and_codes() {
    let body = RIVER_BODY.as_bytes();
    let fifteen = format!("{RIVER_CODE_2}, ").repeat(15);
    for value in [
        format!("1700000000, {RIVER_CODE_2}, {RIVER_CODE_1}"),
        format!("1700000000, {RIVER_CODE_1}, {RIVER_CODE_2}"),
        format!("1700000000,{RIVER_CODE_1}"),
        format!("1700000000, bad, , {RIVER_CODE_1}"),
        format!("1700000000, {fifteen}{RIVER_CODE_1}"),
        format!("1700000000,{}{RIVER_CODE_1}", "bad,, ,".repeat(15)),
        format!("1700000000,\t {RIVER_CODE_1} \t,"),
    ] {
        assert!(judge_river(RIVER_1, &value, body).is_ok(), "{value}");
    }
    for value in [
        "1700000000".to_owned(),
        "1700000000,".to_owned(),
        format!("1700000000, {RIVER_CODE_2}"),
        format!("1700000001, {RIVER_CODE_1}"),
        format!("01700000000, {RIVER_CODE_1}"),
        format!("1700000000, v1,v1={RIVER_CODE_1}"),
        format!("1700000000, {}", RIVER_CODE_1.trim_end_matches('=')),
        format!("1700000000, {}", RIVER_CODE_1.replace("28=", "29=")),
        format!("1700000000, {RIVER_CODE_1}="),
        format!("1700000000, {RIVER_CODE_1};{RIVER_CODE_1}"),
        format!("1700000000, {RIVER_HEX_1}"),
        format!("1700000000, {fifteen}{RIVER_CODE_2}, {RIVER_CODE_1}"),
        format!("1700000000,{}{RIVER_CODE_1}", "bad,".repeat(16)),
    ] {
        let verdict = judge_river(RIVER_1, &value, body);
        assert_eq!(verdict, Err(VerifyError::NoMatch), "{value}");
    }
    for value in [
        String::new(),
        RIVER_CODE_1.to_owned(),
        format!("{RIVER_CODE_1}, 1700000000"),
        format!("t=1700000000, {RIVER_CODE_1}"),
        format!("1700000000;{RIVER_CODE_1}"),
        // Twelve digits at most and nothing else: no blanks either.
        format!(" 1700000000, {RIVER_CODE_1}"),
        format!("1700000000 , {RIVER_CODE_1}"),
        format!("1700000000\t,{RIVER_CODE_1}"),
        format!(", 1700000000, {RIVER_CODE_1}"),
    ] {
        let verdict = judge_river(RIVER_1, &value, body);
        assert_eq!(verdict, Err(VerifyError::MalformedTimestamp), "{value}");
    }
}

// --- t=…,v1=… ----------------------------------------------------------------------------------

fn judge_hex(value: &str) -> Result<Verified, VerifyError> {
    let header = HeaderName::parse("X-Signature").unwrap();
    let verifier = Verifier::timestamped_hex(header, [secret(RIVER_1)]).unwrap();
    let headers = pairs([("x-signature", value)]);
    verify(&verifier, &headers, RIVER_BODY.as_bytes(), at(RIVER_SECONDS))
}

/// Judges header values that keep and break the rules (table; S5, S8, S10).
#[test]
fn hex_headers_have_one_time_and_any_codes() {
    let good = format!("v1={RIVER_HEX_1}");
    let other = format!("v1={}", "0".repeat(64));
    let fifteen = format!("{other},").repeat(15);
    for value in [
        format!("t=1700000000,{good}"),
        format!("{good},t=1700000000"),
        format!("t=1700000000, {good}"),
        format!("t=1700000000,{other},{good}"),
        format!("t=1700000000,{good},{other}"),
        format!("t=1700000000,v0={RIVER_HEX_1},v2=x,,scheme,{good}"),
        format!("t=1700000000,v1={}", RIVER_HEX_1.to_ascii_uppercase()),
        format!("t=1700000000,{fifteen}{good}"),
        format!("{fifteen}{good},t=1700000000"),
        format!("t=1700000000,{}{good}", "v0=x,, ,".repeat(15)),
        format!(" t=1700000000, \t{good} "),
        format!("{good} , t=1700000000"),
    ] {
        assert!(judge_hex(&value).is_ok(), "{value}");
    }
    for (value, expected) in [
        (String::new(), VerifyError::MalformedTimestamp),
        (good.clone(), VerifyError::MalformedTimestamp),
        (format!("T=1700000000,{good}"), VerifyError::MalformedTimestamp),
        (format!("t=,{good}"), VerifyError::MalformedTimestamp),
        (format!("t= 1700000000,{good}"), VerifyError::MalformedTimestamp),
        (format!("t =1700000000,{good}"), VerifyError::MalformedTimestamp),
        (format!("t=1700000000 ,{good}"), VerifyError::MalformedTimestamp),
        (format!("t=1700000000\t,{good}"), VerifyError::MalformedTimestamp),
        (format!("{good},t=1700000000 "), VerifyError::MalformedTimestamp),
        (format!("t=1700000000000,{good}"), VerifyError::MalformedTimestamp),
        (format!("t=1700000000;{good}"), VerifyError::MalformedTimestamp),
        (format!("t=1700000000,t=1700000000,{good}"), VerifyError::RepeatedTimestamp),
        (format!("t=1700000000,{good},t="), VerifyError::RepeatedTimestamp),
        (format!("t=1,{good}"), VerifyError::TooOld),
        (format!("t=999999999999,{good}"), VerifyError::TooNew),
        (format!("t=1700000001,{good}"), VerifyError::NoMatch),
        ("t=1700000000".to_owned(), VerifyError::NoMatch),
        ("t=1700000000,v1=".to_owned(), VerifyError::NoMatch),
        (format!("t=1700000000,V1={RIVER_HEX_1}"), VerifyError::NoMatch),
        (format!("t=1700000000,v1={}", &RIVER_HEX_1[..62]), VerifyError::NoMatch),
        (format!("t=1700000000,v1={}", &RIVER_HEX_1[..63]), VerifyError::NoMatch),
        (format!("t=1700000000,{good}00"), VerifyError::NoMatch),
        (format!("t=1700000000,v1=+{}", &RIVER_HEX_1[1..]), VerifyError::NoMatch),
        (format!("t=1700000000,v1={}g", &RIVER_HEX_1[..63]), VerifyError::NoMatch),
        (format!("t=1700000000,v1={RIVER_CODE_1}"), VerifyError::NoMatch),
        (format!("t=1700000000,{fifteen}{other},{good}"), VerifyError::NoMatch),
        (format!("t=1700000000,{}{good}", "v0=x,".repeat(16)), VerifyError::NoMatch),
    ] {
        assert_eq!(judge_hex(&value), Err(expected), "{value}");
    }
}

/// Leaves out and repeats the one header of the schemes that have one (S1).
#[test]
fn the_one_header_is_there_once() {
    let river = Verifier::digital_river(river_header(), [secret(RIVER_1)]).unwrap();
    let hex = Verifier::timestamped_hex(river_header(), [secret(RIVER_1)]).unwrap();
    for (verifier, value) in [
        (river, format!("1700000000, {RIVER_CODE_1}")),
        (hex, format!("t=1700000000,v1={RIVER_HEX_1}")),
    ] {
        let judge = |names: &[&str]| {
            let headers = pairs(names.iter().map(|name| (*name, value.as_str())));
            verify(&verifier, &headers, RIVER_BODY.as_bytes(), at(RIVER_SECONDS)).map(drop)
        };
        assert_eq!(judge(&["DIGITALRIVER-SIGNATURE"]), Ok(()));
        assert_eq!(judge(&["X-Signature"]), Err(missing("DigitalRiver-Signature")));
        assert_eq!(
            judge(&["DigitalRiver-Signature", "digitalriver-signature"]),
            Err(repeated("DigitalRiver-Signature"))
        );
    }
}

// --- The signer --------------------------------------------------------------------------------

/// Signs with two living secrets and compares with codes computed elsewhere.
#[test]
fn the_signer_writes_all_living_secrets_in_each_scheme_s_order() {
    let now = at(RIVER_SECONDS);
    let secrets = Secrets::new(secret(RIVER_1), now)
        .rotate(secret(RIVER_2), Overlap::default(), now)
        .unwrap();
    let id = EventId::new(now, &[9; 10]);
    let hex = HeaderName::parse("X-Signature").unwrap();
    let schemes = [
        SignatureScheme::StandardWebhooks,
        SignatureScheme::digital_river(),
        SignatureScheme::TimestampedHex { header: hex },
    ];
    let headers = sign(&schemes, &secrets, id, RIVER_BODY.as_bytes(), now);
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "DigitalRiver-Signature",
            "X-Signature"
        ]
    );
    assert_eq!(headers[0].1, id.to_string());
    assert_eq!(headers[1].1, "1700000000");
    assert_eq!(headers[3].1, format!("1700000000, {RIVER_CODE_1}, {RIVER_CODE_2}"));
    let (newest, oldest) = headers[4].1.rsplit_once(",v1=").unwrap();
    assert_eq!(oldest, RIVER_HEX_1);
    assert!(newest.starts_with("t=1700000000,v1=b10f5a7cfda6518720a1fd18077e98dc"));

    let items: Vec<_> = headers[2].1.split(' ').collect();
    assert_eq!(items.len(), 2);
    for (item, key) in items.iter().zip([RIVER_2, RIVER_1]) {
        let verifier = Verifier::standard_webhooks([secret(key)]).unwrap();
        let mut alone = pairs(headers[..3].iter().cloned());
        alone[2].1 = item.as_bytes().to_vec();
        assert!(verify(&verifier, &alone, RIVER_BODY.as_bytes(), now).is_ok());
    }

    let later = after(now, Overlap::default().duration());
    let headers = sign(&schemes, &secrets, id, RIVER_BODY.as_bytes(), later);
    assert_eq!(headers[2].1.split(' ').count(), 1);
    assert_eq!(headers[3].1.split(',').count(), 2);
    assert_eq!(headers[4].1.split(',').count(), 2);
}

/// Signs before 1970 and after the year 33,658, and reads the timestamps.
#[test]
fn the_signer_writes_only_timestamps_that_verify() {
    let secrets = Secrets::new(secret(FIRST.secret), at(0));
    for (now, expected) in [
        (Timestamp::MIN_UTC, "0"),
        (at(-1), "0"),
        (after(at(1), Duration::from_millis(999)), "1"),
        (Timestamp::MAX_UTC, "999999999999"),
    ] {
        let id = EventId::new(at(0), &[0; 10]);
        let headers = sign(&[SignatureScheme::StandardWebhooks], &secrets, id, b"", now);
        assert_eq!(headers[1].1, expected);
    }
}

/// Signs by the two forms that take the secret's text, and by the one that decodes it.
#[test]
fn the_key_of_an_encoded_secret_is_its_text_outside_standard_webhooks() {
    use hmac::{Hmac, KeyInit, Mac};

    let now = at(RIVER_SECONDS);
    // 94 characters: more than a block of SHA-256.
    let long = format!("whsec_{}", "QUJD".repeat(21) + "QQ==");
    for text in [FIRST.secret, long.as_str()] {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(text.as_bytes()).unwrap();
        mac.update(b"1700000000.{}");
        let expected: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let secrets = Secrets::new(secret(text), now);
        let header = HeaderName::parse("X-Signature").unwrap();
        let schemes = [SignatureScheme::TimestampedHex { header }];
        let headers = sign(&schemes, &secrets, EventId::new(now, &[0; 10]), b"{}", now);
        assert_eq!(headers[0].1, format!("t=1700000000,v1={expected}"));
    }
}
