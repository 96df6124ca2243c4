//! What may be published in one call, whichever way it takes.

use super::catalogue::Catalogue;
use super::error::{Error, ErrorKind, Result};
use super::event::Event;
use super::policy::{PUBLISH_BYTES_MAX, PUBLISH_EVENTS_MAX};

/// Checks the events of one publish: how many they are, how big together, and each against the
/// catalogue where there is one.
pub(crate) fn check_publish(events: &[Event], catalogue: Option<&Catalogue>) -> Result<()> {
    if events.len() > PUBLISH_EVENTS_MAX {
        let message =
            format!("{} events in one publish; {PUBLISH_EVENTS_MAX} are allowed", events.len());
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let bytes: usize = events.iter().map(Event::bytes).sum();
    if bytes > PUBLISH_BYTES_MAX {
        let message = format!(
            "{bytes} bytes of payload, in all versions, in one publish; {PUBLISH_BYTES_MAX} are allowed"
        );
        return Err(Error::new(ErrorKind::Limit, message));
    }
    match catalogue {
        Some(catalogue) => events.iter().try_for_each(|event| catalogue.check(event)),
        None => Ok(()),
    }
}
