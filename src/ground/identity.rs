//! TLS of one webhook: the certificate that the sender shows to the receiver, and whose
//! certificates it accepts from it.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::error::{Error, Result};
use super::identity_pem::{Section, is_sequence, sections};
use crate::policy::{
    CERTIFICATE_BYTES_MAX, CLIENT_CERTIFICATES_MAX, PRIVATE_KEY_BYTES_MAX, ROOT_CERTIFICATES_MAX,
};

const IDENTITY: &str = "clientIdentity";
const ROOTS: &str = "rootCertificates";

/// How a private key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyForm {
    /// PKCS#8: `PRIVATE KEY`.
    Pkcs8,
    /// SEC 1: `EC PRIVATE KEY`.
    Sec1,
    /// PKCS#1: `RSA PRIVATE KEY`.
    Pkcs1,
}

impl KeyForm {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pkcs8 => "pkcs8",
            Self::Sec1 => "sec1",
            Self::Pkcs1 => "pkcs1",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Pkcs8, Self::Sec1, Self::Pkcs1].into_iter().find(|form| form.as_str() == name)
    }

    fn of_label(label: &str) -> Option<Self> {
        match label {
            "PRIVATE KEY" => Some(Self::Pkcs8),
            "EC PRIVATE KEY" => Some(Self::Sec1),
            "RSA PRIVATE KEY" => Some(Self::Pkcs1),
            _ => None,
        }
    }
}

/// A private key in DER. Wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PrivateKey {
    pub(super) form: KeyForm,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// A client certificate with its chain and its private key: how the sender proves to a receiver who
/// it is, in the TLS handshake.
///
/// Write-only: `Debug` and listings show the certificate's fingerprint and nothing of the key, which
/// is wiped when the last copy goes.
///
/// It is shown to the webhook's own address alone. The requests for access tokens go without it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity(Arc<Identity>);

#[derive(Clone, PartialEq, Eq)]
struct Identity {
    chain: Vec<Vec<u8>>,
    /// `None` while the webhook is sealed.
    key: Option<PrivateKey>,
}

impl ClientIdentity {
    /// Reads a certificate in PEM, the client's own first and the authorities between behind it, and
    /// its private key (`PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`).
    ///
    /// With the feature `hyper` the two are compared here; otherwise the transport does that.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `clientIdentity`, with nothing of the
    /// texts repeated: when there is no certificate or more than 8, no key or more than one, one is
    /// encrypted, too long or not DER, or the key does not belong to the certificate.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self> {
        let invalid = |message: String| Err(Error::invalid(IDENTITY, message));
        // Other sections are left aside: people keep both in one file.
        let chain = certificates_of(IDENTITY, certificates, CLIENT_CERTIFICATES_MAX)?;
        let found = sections(IDENTITY, key)?;
        if found.iter().any(|section| section.label == "ENCRYPTED PRIVATE KEY") {
            return invalid("the private key is encrypted; decrypt it first".into());
        }
        let key = |section: Section<'_>| {
            KeyForm::of_label(section.label).map(|form| PrivateKey { form, der: section.der })
        };
        let mut keys = found.into_iter().filter_map(key);
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return invalid("the second text must have exactly one private key in PEM".into());
        };
        let made = Self::assemble(chain, Some(key))?;
        #[cfg(feature = "hyper")]
        super::identity_check::check_identity(&made)?;
        Ok(made)
    }

    /// What a record keeps.
    pub(super) fn assemble(chain: Vec<Vec<u8>>, key: Option<PrivateKey>) -> Result<Self> {
        check_certificates(IDENTITY, &chain, CLIENT_CERTIFICATES_MAX)?;
        if let Some(key) = &key {
            let len = key.der.len();
            if len > PRIVATE_KEY_BYTES_MAX {
                let message = format!(
                    "the private key has {len} bytes; at most {PRIVATE_KEY_BYTES_MAX} are allowed"
                );
                return Err(Error::invalid(IDENTITY, message));
            }
            if !is_sequence(&key.der) {
                return Err(Error::invalid(IDENTITY, "the private key is not DER"));
            }
        }
        Ok(Self(Arc::new(Identity { chain, key })))
    }

    /// The certificates in DER, the client's own first.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.0.chain.iter().map(Vec::as_slice)
    }

    /// SHA-256 of the client's own certificate, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        self.0.chain.first().map(|leaf| fingerprint(leaf)).unwrap_or_default()
    }

    /// The private key in DER, for a transport; `None` in a webhook that is sealed.
    pub fn reveal_key(&self) -> Option<(KeyForm, &[u8])> {
        self.0.key.as_ref().map(|key| (key.form, key.der.as_slice()))
    }

    /// The same without the key.
    #[cfg(feature = "sealing")]
    pub(super) fn blanked(&self) -> Self {
        Self(Arc::new(Identity { chain: self.0.chain.clone(), key: None }))
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The authorities whose certificates a webhook's receiver may show: these, **instead of** those that
/// the transport trusts for all others.
#[derive(Clone, PartialEq, Eq)]
pub struct RootCertificates(Arc<[Vec<u8>]>);

impl RootCertificates {
    /// Reads 1 to 16 certificates in PEM.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `rootCertificates` when there is none,
    /// there are too many, or one is too long or cannot be read.
    pub fn from_pem(certificates: &str) -> Result<Self> {
        let made = Self::assemble(certificates_of(ROOTS, certificates, ROOT_CERTIFICATES_MAX)?)?;
        #[cfg(feature = "hyper")]
        super::identity_check::check_roots(&made)?;
        Ok(made)
    }

    /// What a record keeps.
    pub(super) fn assemble(certificates: Vec<Vec<u8>>) -> Result<Self> {
        check_certificates(ROOTS, &certificates, ROOT_CERTIFICATES_MAX)?;
        Ok(Self(certificates.into()))
    }

    /// The certificates in DER.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// SHA-256 of each, in hexadecimal digits.
    pub fn fingerprints(&self) -> impl ExactSizeIterator<Item = String> {
        self.0.iter().map(|certificate| fingerprint(certificate))
    }
}

impl fmt::Debug for RootCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fingerprints()).finish()
    }
}

/// What a webhook asks of TLS beyond what holds for all: at least one of the two.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsSettings {
    identity: Option<ClientIdentity>,
    roots: Option<RootCertificates>,
    digest: [u8; 32],
}

impl TlsSettings {
    /// These settings; `None` where there is nothing to set.
    pub fn new(
        identity: Option<ClientIdentity>,
        roots: Option<RootCertificates>,
    ) -> Option<Arc<Self>> {
        if identity.is_none() && roots.is_none() {
            return None;
        }
        let mut hash = Sha256::new();
        let mut part = |kind: u8, bytes: &[u8]| {
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        if let Some(identity) = &identity {
            identity.certificates().for_each(|der| part(1, der));
            if let Some((_, key)) = identity.reveal_key() {
                part(2, key);
            }
        }
        if let Some(roots) = &roots {
            roots.certificates().for_each(|der| part(3, der));
        }
        let digest = hash.finalize().into();
        Some(Arc::new(Self { identity, roots, digest }))
    }

    /// The certificate to show.
    pub fn identity(&self) -> Option<&ClientIdentity> {
        self.identity.as_ref()
    }

    /// The authorities to trust, instead of all others.
    pub fn roots(&self) -> Option<&RootCertificates> {
        self.roots.as_ref()
    }

    /// Tells settings apart: SHA-256 over all of them. A connection made with one must not be used
    /// with another.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("identity", &self.identity)
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

fn certificates_of(field: &'static str, text: &str, max: usize) -> Result<Vec<Vec<u8>>> {
    let found = sections(field, text)?;
    let found = found.into_iter().filter(|section| section.label == "CERTIFICATE");
    let found: Vec<_> = found.take(max + 1).map(|section| section.der.to_vec()).collect();
    check_certificates(field, &found, max)?;
    Ok(found)
}

fn check_certificates(field: &'static str, all: &[Vec<u8>], max: usize) -> Result<()> {
    let invalid = |message: String| Err(Error::invalid(field, message));
    if all.is_empty() {
        return invalid("has no certificate in PEM".into());
    }
    if all.len() > max {
        return invalid(format!("has more than {max} certificates"));
    }
    for der in all {
        let len = der.len();
        if len > CERTIFICATE_BYTES_MAX {
            let message = format!(
                "a certificate has {len} bytes; at most {CERTIFICATE_BYTES_MAX} are allowed"
            );
            return invalid(message);
        }
        if !is_sequence(der) {
            return invalid("a certificate is not DER".into());
        }
    }
    Ok(())
}

fn fingerprint(der: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(der) {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
