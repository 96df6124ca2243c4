//! From what the libraries report to the kinds of failure.

use std::error::Error as StdError;
use std::io;

use crate::FailureKind;
use crate::ports::transport::TransportError;

/// Why a connection that was made brought no answer.
pub(super) fn of_exchange(error: &hyper::Error) -> TransportError {
    let kind = if is_tls(error) { FailureKind::Tls } else { FailureKind::Protocol };
    TransportError::new(kind, chain(error))
}

/// Why a connection was not made.
pub(super) fn of_connect(error: &io::Error) -> TransportError {
    let kind = if is_local(error) { FailureKind::Local } else { FailureKind::Connect };
    TransportError::new(kind, format!("no connection: {error}"))
}

/// Why a connection brought no TLS session.
pub(super) fn of_handshake(error: &io::Error) -> TransportError {
    TransportError::new(FailureKind::Tls, format!("no TLS session: {error}"))
}

/// The texts of an error and of what caused it.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // HTTP/2 keeps of what ended the connection only the text.
        if error.is::<rustls::Error>() || error.to_string().starts_with("received fatal alert") {
            return true;
        }
        // An I/O error is transparent: its source skips what it wraps.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && inner.is::<rustls::Error>()
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether this machine ran out of something. Most of these have no stable kind, only numbers.
fn is_local(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const WSAEMFILE: i32 = 10_024;
    const WSAENOBUFS: i32 = 10_055;
    if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory) {
        return true;
    }
    let numbers: &[i32] =
        if cfg!(windows) { &[WSAEMFILE, WSAENOBUFS] } else { &[ENFILE, EMFILE, ENOBUFS] };
    error.raw_os_error().is_some_and(|number| numbers.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorts errors of connecting by whose trouble they are (table).
    #[test]
    fn our_own_trouble_is_not_the_receivers() {
        for (error, kind) in [
            (io::Error::from(io::ErrorKind::ConnectionRefused), FailureKind::Connect),
            (io::Error::from(io::ErrorKind::HostUnreachable), FailureKind::Connect),
            (io::Error::from(io::ErrorKind::AddrNotAvailable), FailureKind::Local),
            #[cfg(unix)]
            (io::Error::from_raw_os_error(24), FailureKind::Local),
        ] {
            assert_eq!(of_connect(&error).kind(), kind, "{error}");
        }
    }
}
