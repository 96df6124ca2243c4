//! TLS settings of single webhooks: client certificates, and authorities of their own.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use tidings::transport::{HyperTransport, Response, Transport, TransportError};
use tidings::{ClientIdentity, FailureKind, RootCertificates, TlsSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, acceptor};
use crate::receiver::{Answers, Peer, Receiver, options, post};

impl Authority {
    fn roots(&self) -> RootCertificates {
        RootCertificates::from_pem(&self.0.pem()).unwrap()
    }

    fn identity(&self, name: &str) -> ClientIdentity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        ClientIdentity::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap()
    }

    /// Accepts TLS as `hooks.example`; from clients that `clients` knows, if it is given.
    fn asking(&self, clients: Option<&Self>, protocol: &str) -> TlsAcceptor {
        acceptor(self.certificate("hooks.example"), clients, &[protocol])
    }
}

/// The certificates that clients showed: one entry for each request, with its connection's number.
type Shown = Arc<Mutex<Vec<(usize, Option<Vec<u8>>)>>>;

/// Answers 204 over TLS.
async fn receiver(acceptor: TlsAcceptor) -> (Receiver, Shown) {
    let shown = Shown::default();
    let all = Arc::clone(&shown);
    let receiver = Receiver::start(move |peer: Peer| {
        let (acceptor, shown, number) = (acceptor.clone(), Arc::clone(&all), peer.number);
        async move {
            let stream = match acceptor.accept(peer.stream).into_fallible().await {
                Ok(stream) => stream,
                Err((_, mut stream)) => {
                    // Closed only when the sender has read what is wrong.
                    let _ = stream.shutdown().await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    return;
                }
            };
            let client = stream.get_ref().1.peer_certificates();
            let client = client.map(|chain| chain[0].to_vec());
            let service = service_fn(|_: http::Request<Incoming>| {
                shown.lock().unwrap().push((number, client.clone()));
                let mut response = http::Response::new(String::new());
                *response.status_mut() = http::StatusCode::NO_CONTENT;
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (receiver, shown)
}

fn transport() -> HyperTransport {
    let resolver = Answers(|_: &str| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    HyperTransport::new(options().with_resolver(resolver)).unwrap()
}

async fn send(
    transport: &HyperTransport,
    receiver: &Receiver,
    tls: Option<Arc<TlsSettings>>,
) -> Result<Response, TransportError> {
    let url = format!("https://hooks.example:{}/hook", receiver.address.port());
    transport.send(post(&url, "{}").with_tls(tls)).await
}

/// Sends with the right certificate, one of another authority, and none (table), over HTTP/1.1 and 2.
#[tokio::test]
async fn a_receiver_that_asks_for_a_certificate_gets_the_webhooks_own() {
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    for protocol in ["http/1.1", "h2"] {
        let (receiver, shown) = receiver(servers.asking(Some(&clients), protocol)).await;
        let right = clients.identity("shop");
        let leaf = right.certificates().next().unwrap().to_vec();
        for (identity, good) in
            [(Some(right), true), (Some(others.identity("shop")), false), (None, false)]
        {
            let tls = TlsSettings::new(identity, Some(servers.roots()));
            let outcome = send(&transport(), &receiver, tls).await;
            assert_eq!(
                outcome.as_ref().is_ok_and(|found| found.status == 204),
                good,
                "{outcome:?}"
            );
            if let Err(error) = outcome {
                assert_eq!(error.kind(), FailureKind::Tls, "{protocol}: {error}");
            }
        }
        let shown = shown.lock().unwrap();
        assert_eq!(shown.iter().map(|(_, der)| der.clone()).collect::<Vec<_>>(), [Some(leaf)]);
    }
}

/// Sends in turns with two identities and with none to one host, over HTTP/1.1 and 2: each has a
/// connection of its own, which is used again.
#[tokio::test]
async fn a_connection_is_never_shared_between_identities() {
    let (servers, clients) = (Authority::new(), Authority::new());
    for protocol in ["http/1.1", "h2"] {
        let (receiver, shown) = receiver(servers.asking(Some(&clients), protocol)).await;
        let transport = transport();
        let identities = [clients.identity("one"), clients.identity("two")];
        let settings = identities
            .clone()
            .map(|identity| TlsSettings::new(Some(identity), Some(servers.roots())));
        for _ in 0..5 {
            for tls in &settings {
                send(&transport, &receiver, tls.clone()).await.unwrap();
            }
        }
        assert_eq!(receiver.connections(), 2, "{protocol}");
        let shown = shown.lock().unwrap();
        assert_eq!(shown.len(), 10);
        for (nth, (connection, der)) in shown.iter().enumerate() {
            let leaf = identities[nth % 2].certificates().next();
            assert_eq!((*connection, der.as_deref()), (nth % 2 + 1, leaf), "{protocol}");
        }
    }
}

/// Sends to two receivers of different authorities with each webhook's authority, the other's, and
/// none (table).
#[tokio::test]
async fn an_authority_is_trusted_for_its_webhook_alone() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (here, _) = receiver(ours.asking(None, "http/1.1")).await;
    let (there, _) = receiver(theirs.asking(None, "http/1.1")).await;
    let transport = transport();
    let trusting = |authority: &Authority| TlsSettings::new(None, Some(authority.roots()));
    for (receiver, tls, good) in [
        (&here, trusting(&ours), true),
        (&here, None, false),
        (&here, trusting(&theirs), false),
        (&there, trusting(&theirs), true),
        (&there, trusting(&ours), false),
        (&there, None, false),
    ] {
        let outcome = send(&transport, receiver, tls).await;
        assert_eq!(outcome.is_ok(), good, "{outcome:?}");
        if let Err(error) = outcome {
            assert_eq!(error.kind(), FailureKind::Tls, "{error}");
        }
    }
}

/// Replaces the transport's own roots: a receiver that all others trust is refused.
#[tokio::test]
async fn own_authorities_stand_instead_of_the_transports() {
    let (common, own) = (Authority::new(), Authority::new());
    let (receiver, _) = receiver(common.asking(None, "http/1.1")).await;
    let resolver = Answers(|_: &str| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    let options = options().with_resolver(resolver);
    let options = options.with_root_certificate(common.0.der().to_vec());
    let transport = HyperTransport::new(options).unwrap();
    send(&transport, &receiver, None).await.unwrap();
    let identity = TlsSettings::new(Some(common.identity("shop")), None);
    send(&transport, &receiver, identity).await.unwrap();
    let error = send(&transport, &receiver, TlsSettings::new(None, Some(own.roots()))).await;
    assert_eq!(error.unwrap_err().kind(), FailureKind::Tls);
}

/// Asks for certificates over plain HTTP.
#[tokio::test]
async fn nothing_is_sent_in_clear_where_certificates_are_set() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let tls = TlsSettings::new(None, Some(Authority::new().roots()));
    let error = transport().send(post(&receiver.url(), "{}").with_tls(tls)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Local, "{error}");
    assert_eq!(receiver.connections(), 0);
}

/// Pairs a certificate with another's key, and reads broken ones (table).
#[test]
fn a_key_that_does_not_fit_is_refused_at_once() {
    let authority = Authority::new();
    let made = |key: &KeyPair| {
        let params = CertificateParams::new(vec!["shop".to_owned()]).unwrap();
        params.signed_by(key, &authority.0).unwrap().pem()
    };
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let key = one.serialize_pem();
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let broken_key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (certificates, key, says) in [
        (made(&one), key.clone(), ""),
        // Both in one file.
        (format!("{}{key}", made(&one)), format!("{}{key}", made(&one)), ""),
        (made(&two), key.clone(), "does not belong to"),
        (made(&one), made(&one), "exactly one private key"),
        (made(&one), format!("{key}{key}"), "exactly one private key"),
        (made(&one), encrypted, "is encrypted"),
        (made(&one), broken_key.into(), "private key cannot be read"),
        (broken.into(), key.clone(), "first certificate cannot be read"),
        (key.clone(), key.clone(), "no certificate"),
        (made(&one).repeat(9), key.clone(), "more than 8"),
    ] {
        match ClientIdentity::from_pem(&certificates, &key) {
            Ok(identity) => {
                assert_eq!(says, "");
                assert_eq!(identity.fingerprint().len(), 64);
                assert!(format!("{identity:?}").contains(&identity.fingerprint()));
            }
            Err(error) => {
                assert_eq!(error.field(), Some("clientIdentity"));
                assert!(!says.is_empty() && error.to_string().contains(says), "{says}: {error}");
                let line = key.lines().nth(1).unwrap();
                assert!(!format!("{error:?}").contains(line), "{error:?}");
            }
        }
    }
    let error = RootCertificates::from_pem(broken).unwrap_err();
    assert_eq!(error.field(), Some("rootCertificates"));
}
