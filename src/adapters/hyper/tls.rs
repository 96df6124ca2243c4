//! The TLS side: whom to trust, and what to offer.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::options::{HyperOptions, Roots};
use crate::{Error, ErrorKind, Result};

/// The configuration of all connections. The provider is passed explicitly: a library must not
/// decide the process-wide default, nor depend on it.
pub(super) fn config(options: &HyperOptions) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match options.roots {
        Roots::Webpki => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        #[cfg(feature = "native-roots")]
        Roots::Native => {
            let native = rustls_native_certs::load_native_certs();
            if roots.add_parsable_certificates(native.certs).0 == 0 {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the operating system has no root certificate that can be read",
                ));
            }
        }
        Roots::None => {}
    }
    for der in &options.own_roots {
        roots.add(der.clone().into()).map_err(|error| {
            Error::invalid("root certificate", "cannot be read").with_source(error)
        })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "TLS cannot be set up").with_source(error)
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if options.http2 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    Ok(config)
}
