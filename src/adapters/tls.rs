//! The client's side of TLS, for every connection that the crate makes.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::ground::error::{Error, ErrorKind, Result};

/// A configuration that trusts these roots. The provider is passed explicitly: a library must not
/// decide the process-wide default, nor depend on it.
pub(crate) fn client(roots: RootCertStore) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "TLS cannot be set up").with_source(error)
        })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
