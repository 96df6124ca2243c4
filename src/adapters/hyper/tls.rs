//! The TLS side: whom to trust, what to show, and what to offer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::options::{HyperOptions, Roots};
use crate::adapters::tls;
use crate::ground::identity_check::{check_identity, check_roots};
use crate::policy::{TLS_CONFIGS_KEPT, TLS_SESSIONS_KEPT};
use crate::ports::transport::TransportError;
use crate::{Error, FailureKind, Result, TlsSettings};

/// The configurations of a transport: one for all, and those of webhooks that have settings of
/// their own. Each keeps its own sessions, so that none is resumed under another's identity.
pub(super) struct Configs {
    common: Arc<ClientConfig>,
    roots: RootCertStore,
    own: Mutex<Own>,
}

/// The ones used last.
#[derive(Default)]
struct Own {
    map: HashMap<[u8; 32], (Arc<ClientConfig>, u64)>,
    uses: u64,
}

impl Configs {
    pub(super) fn new(options: &HyperOptions) -> Result<Self> {
        let roots = roots(options)?;
        let mut common = tls::client(roots.clone())?;
        common.alpn_protocols = protocols(options.http2);
        Ok(Self { common: Arc::new(common), roots, own: Mutex::default() })
    }

    /// The configuration for these settings.
    ///
    /// # Errors
    /// [`Local`](FailureKind::Local), naming the field, when a key does not belong to its
    /// certificate, or something cannot be read.
    pub(super) fn of(
        &self,
        settings: Option<&TlsSettings>,
    ) -> Result<Arc<ClientConfig>, TransportError> {
        let Some(settings) = settings else {
            return Ok(Arc::clone(&self.common));
        };
        // Nothing panics between two writes that belong together.
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.uses += 1;
        let now = own.uses;
        if let Some((config, used)) = own.map.get_mut(settings.digest()) {
            *used = now;
            return Ok(Arc::clone(config));
        }
        let made = self.make(settings);
        let made = made.map_err(|error| {
            TransportError::new(FailureKind::Local, format!("the webhook's tls: {error}"))
        })?;
        let made = Arc::new(made);
        if own.map.len() >= TLS_CONFIGS_KEPT {
            let oldest = own.map.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                own.map.remove(&oldest);
            }
        }
        own.map.insert(*settings.digest(), (Arc::clone(&made), now));
        Ok(made)
    }

    fn make(&self, settings: &TlsSettings) -> Result<ClientConfig> {
        let roots = match settings.roots() {
            Some(roots) => check_roots(roots)?,
            None => self.roots.clone(),
        };
        let mut config = tls::client(roots)?;
        if let Some(identity) = settings.identity() {
            let key = check_identity(identity)?;
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
        }
        config.alpn_protocols.clone_from(&self.common.alpn_protocols);
        config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS_KEPT);
        Ok(config)
    }
}

impl std::fmt::Debug for Configs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configs").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

fn protocols(http2: bool) -> Vec<Vec<u8>> {
    let mut protocols = vec![b"http/1.1".to_vec()];
    if http2 {
        protocols.insert(0, b"h2".to_vec());
    }
    protocols
}

/// Whose certificates are trusted where a webhook does not say.
fn roots(options: &HyperOptions) -> Result<RootCertStore> {
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
    Ok(roots)
}
