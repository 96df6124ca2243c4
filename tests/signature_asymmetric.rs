//! `v1a` of Standard Webhooks: the published vector, the verifier's rules as tables, and webhooks that
//! are signed with private keys from creation to rotation.
#![cfg(feature = "ed25519")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidings::signature::sign;
use tidings::time::{after, before};
use tidings::{
    EventId, Overlap, PublicKey, Secret, Secrets, SignatureScheme, Timestamp, Verified, Verifier,
    VerifyError,
};

const PRIVATE: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SECONDS: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const CODE: &str =
    "hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
/// The code of the shared scheme for the same message.
const SHARED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const SHARED_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Pairs = Vec<(String, Vec<u8>)>;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(seconds, 0).unwrap()
}

fn private(n: u8) -> Secret {
    Secret::asymmetric_from_random(&[n; 32])
}

fn verifier() -> Verifier {
    Verifier::standard_webhooks_asymmetric([PublicKey::parse(PUBLIC).unwrap()]).unwrap()
}

fn headers(id: &str, timestamp: &str, signatures: &str) -> Pairs {
    [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signatures)]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .to_vec()
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

fn judge(signatures: &str) -> Result<Verified, VerifyError> {
    verify(&verifier(), &headers(ID, &SECONDS.to_string(), signatures), BODY, at(SECONDS))
}

/// A rightly signed message with parts that the signer would never write.
fn by_hand(id: &str, timestamp: &str, body: &[u8]) -> Pairs {
    use ed25519_dalek::{Signer, SigningKey};

    let pair = STANDARD.decode(PRIVATE.strip_prefix("whsk_").unwrap()).unwrap();
    let key = SigningKey::from_bytes(pair[..32].try_into().unwrap());
    let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let code = STANDARD.encode(key.sign(&message).to_bytes());
    headers(id, timestamp, &format!("v1a,{code}"))
}

/// Verifies the published message by its public key and by the private one, and signs it again.
#[test]
fn the_published_vector_verifies_and_is_made_again() {
    let secret = Secret::parse(PRIVATE).unwrap();
    assert_eq!(secret.public_key().unwrap().to_string(), PUBLIC);
    let verified = judge(&format!("v1a,{CODE}")).unwrap();
    assert_eq!((verified.id.as_deref(), verified.timestamp), (Some(ID), at(SECONDS)));
    assert_eq!(by_hand(ID, &SECONDS.to_string(), BODY)[2].1, format!("v1a,{CODE}").into_bytes());

    let scheme = SignatureScheme::StandardWebhooksAsymmetric;
    let own = Verifier::new(scheme.clone(), [secret.clone()]).unwrap();
    let pairs = headers(ID, &SECONDS.to_string(), &format!("v1a,{CODE}"));
    assert!(verify(&own, &pairs, BODY, at(SECONDS)).is_ok());

    let id = EventId::new(at(SECONDS), &[3; 10]);
    let schemes = [scheme];
    let signed = sign(&schemes, &Secrets::new(secret, at(0)), id, BODY, at(SECONDS));
    let signed: Pairs =
        signed.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    assert_eq!(signed, by_hand(&id.to_string(), &SECONDS.to_string(), BODY));
}

/// Judges lists of signatures in which one, none or a spoilt one is good (table; S4, S5, S10).
#[test]
fn any_good_signature_of_the_right_version_will_do() {
    let good = format!("v1a,{CODE}");
    let other = format!("v1a,{}", STANDARD.encode([7; 64]));
    let fifteen = |item: &str| format!("{item} ").repeat(15);
    let four = format!("{other} ").repeat(4);
    for signatures in [
        good.clone(),
        // Five are checked, because each costs a pass over the body; what is none does not count.
        format!("{four}{good}"),
        format!("{}{four}{good}", format!("{SHARED} v1a,short ").repeat(5)),
        format!("{SHARED} {good}"),
        format!("{other} {good} {other}"),
        format!("v1a, v1a v2a,{CODE} , x {good}"),
        format!("  {good}  "),
        // Sixteen are looked at.
        format!("{}{good}", fifteen(SHARED)),
        format!("{}   {good}", fifteen("v1a,AAAA")),
    ] {
        assert!(judge(&signatures).is_ok(), "{signatures}");
    }
    let mut spoilt: Vec<_> = STANDARD.decode(CODE).unwrap();
    spoilt[0] ^= 1;
    // The same scalar, once more around the group: another spelling of the same signature.
    let mut malleable = STANDARD.decode(CODE).unwrap();
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut carry = 0;
    for (at, byte) in malleable[32..].iter_mut().enumerate() {
        let digit = u16::from_str_radix(&order[at * 2..at * 2 + 2], 16).unwrap();
        let sum = u16::from(*byte) + digit + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    for signatures in [
        String::new(),
        " ".to_owned(),
        "v1a".to_owned(),
        "v1a,".to_owned(),
        CODE.to_owned(),
        other.clone(),
        SHARED.to_owned(),
        format!("v1,{CODE}"),
        format!("V1a,{CODE}"),
        format!("v1A,{CODE}"),
        format!("v1a ,{CODE}"),
        format!("v1a={CODE}"),
        format!("v1a,{}", &CODE[..84]),
        format!("v1a,{}", &CODE[..44]),
        format!("{good}AAAA"),
        good.trim_end_matches('=').to_owned(),
        good.replace('+', "-").replace('/', "_"),
        good.replace("Ag==", "Ah=="),
        format!("v1a,{}", STANDARD.encode(&spoilt)),
        format!("v1a,{}", STANDARD.encode(&malleable)),
        format!("v1a,{}", STANDARD.encode([0; 64])),
        format!("{four}{other} {good}"),
        format!("{}{SHARED} {good}", fifteen(SHARED)),
        format!("{}{good}", fifteen("v1a,AAAA") + "v2a,x "),
    ] {
        assert_eq!(judge(&signatures), Err(VerifyError::NoMatch), "{signatures}");
    }
}

/// Leaves out, repeats and respells each header; changes the id, the time and the body (S1, S7).
#[test]
fn the_headers_and_the_body_are_those_that_were_signed() {
    let pairs = || by_hand("a", "1614265330", b"\xff\x00");
    let judge = |pairs: &Pairs| verify(&verifier(), pairs, b"\xff\x00", at(SECONDS)).map(drop);
    assert_eq!(judge(&pairs()), Ok(()));
    for at in 0..3 {
        let name = pairs()[at].0.clone();
        let mut less = pairs();
        less.remove(at);
        assert_eq!(judge(&less), Err(VerifyError::MissingHeader { header: name.clone() }));
        let mut more = pairs();
        more.push((name.to_uppercase(), more[at].1.clone()));
        assert_eq!(judge(&more), Err(VerifyError::RepeatedHeader { header: name.clone() }));
        let mut upper = pairs();
        upper[at].0 = name.to_uppercase();
        assert_eq!(judge(&upper), Ok(()));
    }
    for (at, value) in [(0, "b"), (1, "1614265331")] {
        let mut changed = pairs();
        changed[at].1 = value.into();
        assert_eq!(judge(&changed), Err(VerifyError::NoMatch));
    }
    for body in [b"".as_slice(), b"\xff", b"\xff\x00\n"] {
        let verdict = verify(&verifier(), &pairs(), body, at(SECONDS));
        assert_eq!(verdict, Err(VerifyError::NoMatch));
    }
}

/// Sends ids and timestamps of every wrong form, all rightly signed (table; S2, S9).
#[test]
fn ids_and_timestamps_are_read_as_strictly() {
    let verifier = verifier().with_tolerance(Duration::MAX);
    let verdict =
        |id: &str, time: &str| verify(&verifier, &by_hand(id, time, b"{}"), b"{}", at(0)).map(drop);
    for (id, time) in [("a", "0"), ("!~", "001614265330"), (&*"i".repeat(256), "999999999999")] {
        assert_eq!(verdict(id, time), Ok(()));
    }
    for id in ["", "a.b", "a b", "é", "a\t", &"i".repeat(257)] {
        assert_eq!(verdict(id, "0"), Err(VerifyError::MalformedId), "{id:?}");
    }
    for time in ["", "-1", "+1", " 1", "1 ", "1.0", "1e9", "1000000000000", "٣"] {
        assert_eq!(verdict("a", time), Err(VerifyError::MalformedTimestamp), "{time:?}");
    }
}

/// Moves the clock around the timestamp, with several tolerances (S3).
#[test]
fn the_tolerance_is_inclusive_both_ways() {
    for seconds in [300, 1, 0] {
        let span = Duration::from_secs(seconds);
        let verifier = verifier().with_tolerance(span);
        let pairs = headers(ID, &SECONDS.to_string(), &format!("v1a,{CODE}"));
        let judge = |now| verify(&verifier, &pairs, BODY, now).map(drop);
        let second = Duration::from_secs(1);
        assert_eq!(judge(after(at(SECONDS), span)), Ok(()));
        assert_eq!(judge(before(at(SECONDS), span)), Ok(()));
        assert_eq!(judge(after(at(SECONDS), span + second)), Err(VerifyError::TooOld));
        assert_eq!(judge(before(at(SECONDS), span + second)), Err(VerifyError::TooNew));
    }
}

/// Puts each kind of key in the place of each other, and none and too many (S6).
#[test]
fn a_key_of_another_kind_verifies_nothing() {
    let shared = Secret::parse(SHARED_SECRET).unwrap();
    let scheme = SignatureScheme::StandardWebhooksAsymmetric;
    assert!(PublicKey::parse(SHARED_SECRET).is_err() && PublicKey::parse(PRIVATE).is_err());
    assert!(Secret::parse(PUBLIC).is_err());
    for verifier in [
        Verifier::new(scheme.clone(), [shared.clone()]),
        Verifier::new(scheme.clone(), [private(1), shared.clone()]),
        Verifier::standard_webhooks([Secret::parse(PRIVATE).unwrap()]),
        Verifier::standard_webhooks([shared.clone(), private(1)]),
        Verifier::new(SignatureScheme::digital_river(), [private(1)]),
        Verifier::new(scheme.clone(), []),
        Verifier::new(scheme.clone(), (0..6).map(private)),
    ] {
        assert_eq!(verifier.unwrap_err().field(), Some("secrets"));
    }
    let keys = |most: u8| (0..most).map(|n| private(n).public_key().unwrap());
    for most in [0, 6] {
        let verifier = Verifier::standard_webhooks_asymmetric(keys(most));
        assert_eq!(verifier.unwrap_err().field(), Some("publicKeys"));
    }
    assert!(Verifier::standard_webhooks_asymmetric(keys(5)).is_ok());

    // An HMAC with the public key's bytes or text, which everybody has, is no signature.
    for key in [STANDARD.decode(&PUBLIC[5..]).unwrap(), PUBLIC.as_bytes().to_vec()] {
        use hmac::{Hmac, KeyInit, Mac};
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{ID}.{SECONDS}.").as_bytes());
        mac.update(BODY);
        let code = STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(judge(&format!("v1a,{code} v1,{code}")), Err(VerifyError::NoMatch));
    }
}

/// Signs with three keys of which one is over, and verifies with each alone.
#[test]
fn every_living_key_signs() {
    let now = at(SECONDS);
    let secrets = Secrets::new(private(1), now)
        .rotate(private(2), Overlap::hours(1).unwrap(), now)
        .and_then(|secrets| secrets.rotate(private(3), Overlap::hours(6).unwrap(), now))
        .unwrap();
    let schemes = [SignatureScheme::StandardWebhooksAsymmetric];
    let id = EventId::new(now, &[3; 10]);
    for (now, living) in
        [(now, [3, 2, 1].as_slice()), (after(now, Duration::from_secs(7_200)), &[3, 2])]
    {
        let signed = sign(&schemes, &secrets, id, BODY, now);
        let pairs: Pairs =
            signed.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
        let value = String::from_utf8(pairs[2].1.clone()).unwrap();
        assert_eq!(value.split(' ').count(), living.len());
        for n in 1..=3 {
            let key = private(n).public_key().unwrap();
            let verifier = Verifier::standard_webhooks_asymmetric([key]).unwrap();
            assert_eq!(verify(&verifier, &pairs, BODY, now).is_ok(), living.contains(&n), "{n}");
        }
    }
}

/// Creates, shows, edits, rotates and serialises webhooks of both kinds.
#[cfg(feature = "engine")]
#[tokio::test]
async fn a_webhook_of_the_asymmetric_scheme_has_private_keys() {
    use tidings::storage::MemoryStorage;
    use tidings::{Confirmation, Edit, Registration, Tidings, WebhookView};

    let tidings = Tidings::new(MemoryStorage::new());
    let asymmetric = || Edit::new().schemes([SignatureScheme::StandardWebhooksAsymmetric]);
    let standard = || Edit::new().schemes([SignatureScheme::StandardWebhooks]);
    let register = || Registration::new("https://example.com/hook", ["*"]).unwrap();
    let field = |error: tidings::Error| error.field().map(str::to_owned);

    let webhook = tidings.create(register().with(asymmetric())).await.unwrap().webhook;
    let first = webhook.secrets().unwrap().current().clone();
    assert!(first.is_asymmetric() && first.reveal().starts_with("whsk_"));
    let view = serde_json::to_value(WebhookView::from(&webhook)).unwrap();
    assert_eq!(view["publicKey"], first.public_key().unwrap().to_string());
    let shown = format!("{view} {webhook:?} {:?}", webhook.secrets());
    assert!(!shown.contains(&first.reveal()[5..40]), "{shown}");

    let confirmation = Confirmation::new("ada", "ada");
    let rotated = tidings.rotate(webhook.id(), Overlap::default(), &confirmation).await.unwrap();
    assert!(rotated.current().is_asymmetric() && *rotated.current() != first);
    assert_eq!(rotated.parts().count(), 2);

    let error = tidings.edit(webhook.id(), None, standard()).await.unwrap_err();
    assert_eq!(field(error).as_deref(), Some("secret"));
    let shared = tidings.create(register()).await.unwrap().webhook;
    let view = serde_json::to_value(WebhookView::from(&shared)).unwrap();
    assert_eq!(view.get("publicKey"), None);
    let error = tidings.edit(shared.id(), None, asymmetric()).await.unwrap_err();
    assert_eq!(field(error).as_deref(), Some("secret"));
    let brought = register().with(asymmetric()).secret(Secret::parse(SHARED_SECRET).unwrap());
    assert_eq!(field(tidings.create(brought).await.unwrap_err()).as_deref(), Some("secret"));
    let brought = register().with(asymmetric()).secret(Secret::parse(PRIVATE).unwrap());
    let webhook = tidings.create(brought).await.unwrap().webhook;
    assert_eq!(webhook.secrets().unwrap().current().reveal(), PRIVATE);
}
