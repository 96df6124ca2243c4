//! What only a TLS library can say of certificates and keys: whether they can be used, and belong
//! together. Pure, like all of ground: it parses and compares.

use rustls::RootCertStore;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;

use super::error::{Error, Result};
use super::identity::{ClientIdentity, KeyForm, RootCertificates};

/// The certificates and the key as rustls takes them, if they belong together.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for the field `clientIdentity`.
pub(crate) fn check_identity(identity: &ClientIdentity) -> Result<CertifiedKey> {
    let invalid = |message: &'static str| Error::invalid("clientIdentity", message);
    let chain = identity.certificates().map(|der| CertificateDer::from(der.to_vec())).collect();
    let Some((form, der)) = identity.reveal_key() else {
        return Err(invalid("the private key is sealed"));
    };
    // rustls wipes it.
    let der = der.to_vec();
    let key = match form {
        KeyForm::Pkcs8 => PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der)),
        KeyForm::Sec1 => PrivateSec1KeyDer::from(der).into(),
        KeyForm::Pkcs1 => PrivatePkcs1KeyDer::from(der).into(),
    };
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            invalid("the private key does not belong to the first certificate")
        }
        rustls::Error::InvalidCertificate(_) => invalid("the first certificate cannot be read"),
        _ => invalid("the private key cannot be read, or is of a kind that TLS does not take"),
    })
}

/// The authorities as rustls takes them.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for the field `rootCertificates`.
pub(crate) fn check_roots(roots: &RootCertificates) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for der in roots.certificates() {
        store.add(der.to_vec().into()).map_err(|error| {
            Error::invalid("rootCertificates", "a certificate cannot be read").with_source(error)
        })?;
    }
    Ok(store)
}
