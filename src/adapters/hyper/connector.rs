//! From the name in a URL to a connection that speaks HTTP: look up, vet, dial, secure.
//!
//! What is dialled is what was vetted. There is no second look-up that could answer otherwise, and
//! literal addresses take the same way as names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use url::Host;

use super::connection::{Io, Own, Shared};
use super::options::HyperOptions;
use super::pool::{Gate, Pass};
use super::resolver::Resolver;
use super::tls::Configs;
use super::{Phase, failure};
use crate::policy::{ADDRESSES_MAX, CONNECT_TIMEOUT_MIN, LOOKUP_TIMEOUT};
use crate::ports::transport::TransportError;
use crate::{EndpointUrl, FailureKind, NetworkPolicy, Result, TlsSettings};

#[derive(Debug)]
pub(super) struct Connector {
    network: NetworkPolicy,
    resolver: Arc<dyn Resolver>,
    tls: Configs,
    connect_timeout: Duration,
}

/// A new connection: for one request at a time, or for several at once.
pub(super) enum Connected {
    Own(Box<Own>),
    Shared(Shared),
}

impl Connector {
    pub(super) fn new(options: HyperOptions) -> Result<Self> {
        let tls = Configs::new(&options)?;
        Ok(Self {
            network: options.network,
            resolver: options.resolver,
            tls,
            connect_timeout: options.connect_timeout,
        })
    }

    /// Connects to a host of this scheme and authority.
    pub(super) async fn connect(
        &self,
        https: bool,
        authority: &str,
        tls: Option<&TlsSettings>,
        phase: &Phase,
        gate: &mut Gate<'_>,
    ) -> Result<(Connected, Pass), TransportError> {
        let scheme = if https { "https" } else { "http" };
        let url = EndpointUrl::parse(&format!("{scheme}://{authority}/"))
            .and_then(|url| self.network.check_url(&url).map(|()| url))
            .map_err(|error| TransportError::new(FailureKind::Blocked, error.to_string()))?;
        // Before anything is dialled: what cannot be set up is nobody else's fault.
        let config = TlsConnector::from(self.tls.of(tls)?);
        phase.set(Phase::LOOKING_UP);
        let addresses = self.addresses(&url).await?;
        phase.set(Phase::CONNECTING);
        let (stream, pass) = self.dial(&addresses, url.port(), gate).await?;
        if !https {
            let own = Own::handshake(Io::plain(stream, pass.seats.clone())).await?;
            return Ok((Connected::Own(own), pass));
        }
        phase.set(Phase::SECURING);
        let handshake = config.connect(server_name(&url)?, stream);
        let stream = timeout(self.connect_timeout, handshake)
            .await
            .map_err(|_| {
                let message = format!("no TLS session within {:?}", self.connect_timeout);
                TransportError::new(FailureKind::Tls, message)
            })?
            .map_err(|error| failure::of_handshake(&error))?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let shared = Shared::handshake(Io::tls(stream, pass.seats.clone())).await?;
            return Ok((Connected::Shared(shared), pass));
        }
        Ok((Connected::Own(Own::handshake(Io::tls(stream, pass.seats.clone())).await?), pass))
    }

    /// The vetted addresses of a URL's host.
    async fn addresses(&self, url: &EndpointUrl) -> Result<Vec<IpAddr>, TransportError> {
        let addresses = match url.url().host() {
            // Literal addresses were judged with the URL.
            Some(Host::Ipv4(address)) => return Ok(vec![address.into()]),
            Some(Host::Ipv6(address)) => return Ok(vec![address.into()]),
            Some(Host::Domain(_)) | None => {
                let lookup = timeout(LOOKUP_TIMEOUT, self.resolver.resolve(url.host()));
                match lookup.await {
                    Ok(Ok(addresses)) => addresses,
                    Ok(Err(error)) => {
                        let message = format!("the look-up of the name failed: {error}");
                        return Err(TransportError::new(FailureKind::Dns, message));
                    }
                    Err(_) => {
                        let message = format!("no answer to the look-up within {LOOKUP_TIMEOUT:?}");
                        return Err(TransportError::new(FailureKind::Dns, message));
                    }
                }
            }
        };
        if addresses.is_empty() {
            let message = "the name has no address";
            return Err(TransportError::new(FailureKind::Dns, message));
        }
        for address in &addresses {
            if let Err(refusal) = self.network.check_resolved(url, *address) {
                tracing::debug!(host = url.host(), %refusal, "a resolved address was refused");
                // Customers see this text. The address itself would map the host's network.
                let message = format!(
                    "the name has an address that may not be dialled: {} ({})",
                    refusal.reason(),
                    refusal.rule()
                );
                return Err(TransportError::new(FailureKind::Blocked, message));
            }
        }
        Ok(addresses)
    }

    /// Connects to the first address that answers, of those that let it pass.
    async fn dial(
        &self,
        addresses: &[IpAddr],
        port: u16,
        gate: &mut Gate<'_>,
    ) -> Result<(TcpStream, Pass), TransportError> {
        let addresses = &addresses[..addresses.len().min(ADDRESSES_MAX)];
        let end = Instant::now() + self.connect_timeout;
        let (mut last, mut dialled, mut skipped) = (None, false, false);
        for (index, address) in addresses.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let others = u32::try_from(addresses.len() - index).unwrap_or(1);
            // It waits for one only where no other could be dialled.
            let Some(pass) = gate.pass(*address, others == 1 && !dialled).await? else {
                skipped = true;
                continue;
            };
            dialled = true;
            let part = (left / others).max(CONNECT_TIMEOUT_MIN).min(left);
            let connect = TcpStream::connect(SocketAddr::new(*address, port));
            match timeout(part, connect).await {
                Ok(Ok(stream)) => {
                    // Requests are written whole, so waiting to fill a packet only costs time. A
                    // socket that cannot be told so still works.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, pass));
                }
                Ok(Err(error)) => last = Some(failure::of_connect(&error)),
                Err(_) => {}
            }
        }
        // One that was passed over for our own limits may have answered: that the others did not is no
        // failure of the receiver's.
        if skipped {
            return Err(super::caps::busy("all places at one of its addresses are taken"));
        }
        Err(last.unwrap_or_else(|| {
            let message = format!("no connection within {:?}", self.connect_timeout);
            TransportError::new(FailureKind::Connect, message)
        }))
    }
}

fn server_name(url: &EndpointUrl) -> Result<ServerName<'static>, TransportError> {
    let name = match url.url().host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::from(address).into()),
        Some(Host::Ipv6(address)) => Some(IpAddr::from(address).into()),
        Some(Host::Domain(_)) | None => ServerName::try_from(url.host().to_owned()).ok(),
    };
    name.ok_or_else(|| {
        let message = "the name cannot be the subject of a certificate";
        TransportError::new(FailureKind::Tls, message)
    })
}
