//! The TLS side: whom to trust, and what to offer.

use rustls::{ClientConfig, RootCertStore};

use super::options::{HyperOptions, Roots};
use crate::adapters::tls;
use crate::{Error, Result};

/// The configuration of all connections.
pub(super) fn config(options: &HyperOptions) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match options.roots {
        Roots::Webpki => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        #[cfg(feature = "native-roots")]
        Roots::Native => {
            let native = rustls_native_certs::load_native_certs();
            if roots.add_parsable_certificates(native.certs).0 == 0 {
                return Err(Error::new(
                    crate::ErrorKind::Unavailable,
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
    let mut config = tls::client(roots)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if options.http2 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    Ok(config)
}
