//! Connections: from a URL to a pool and a herald.

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::herald::Herald;
use super::options::PostgresOptions;
use super::schema;
use super::tx;
use crate::adapters::tls;
use crate::ground::error::{Error, ErrorKind, Result};
use crate::ground::policy::POSTGRES_SILENCE;

/// A pool of connections to `url`, and the herald.
pub(super) fn open(url: &str, options: &PostgresOptions) -> Result<(Pool, Herald)> {
    schema::check_name(&options.schema)?;
    let mut config = parse("url", url, options)?;
    if !options.pooler {
        // A pooler takes no settings at the start.
        let given = config.get_options().map(|given| format!("{given} ")).unwrap_or_default();
        config.options(format!("{given}{}", tx::startup()));
    }
    let manager = Manager::from_config(
        config,
        encryption(options)?,
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let pool = Pool::builder(manager)
        .max_size(options.connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(options.wait))
        .create_timeout(Some(options.wait))
        .recycle_timeout(Some(options.wait))
        .build()
        .map_err(|error| {
            let message = "the pool of connections cannot be made";
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        })?;
    let herald = match &options.listen_url {
        _ if !options.announce => Herald::silent(),
        Some(direct) => herald(direct, options)?,
        None if options.pooler => Herald::silent(),
        None => herald(url, options)?,
    };
    Ok((pool, herald))
}

/// A herald on a connection to `url`.
pub(super) fn herald(url: &str, options: &PostgresOptions) -> Result<Herald> {
    let config = parse("listen_url", url, options)?;
    Ok(Herald::start(config, encryption(options)?, options.schema.clone()))
}

fn parse(field: &'static str, url: &str, options: &PostgresOptions) -> Result<Config> {
    // The cause is not kept: it may quote the URL, and that may have a password in it.
    let mut config: Config = url.parse().map_err(|_| {
        Error::invalid(
            field,
            "must be like postgres://user:password@host:port/database, or host=… user=… dbname=…",
        )
    })?;
    if config.get_ssl_mode() == SslMode::Prefer && options.tls.is_none() {
        // What nobody asked for would fail at every server with a certificate of its own making.
        config.ssl_mode(SslMode::Disable);
    }
    if config.get_application_name().is_none() {
        config.application_name("tidings");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.wait);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(POSTGRES_SILENCE);
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        // The driver's two hours: as long would a call wait for what will never come.
        config.keepalives_idle(POSTGRES_SILENCE);
        config.keepalives_interval(POSTGRES_SILENCE / 4);
        config.keepalives_retries(3);
    }
    Ok(config)
}

fn encryption(options: &PostgresOptions) -> Result<MakeRustlsConnect> {
    if let Some(config) = &options.tls {
        return Ok(MakeRustlsConnect::new(ClientConfig::clone(config)));
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = tls::client(roots)?;
    Ok(MakeRustlsConnect::new(config))
}
