//! What the SQL storages read of an event that a replay comes to.

use crate::ground::event_type::EventType;
use crate::ground::id::EventId;
use crate::ground::replay::ReplayEvent;
use crate::ground::time::Timestamp;

/// An event that a step of a replay passes.
pub(super) struct Passed {
    pub(super) seq: i64,
    pub(super) id: EventId,
    pub(super) published: Timestamp,
    /// Of one that the job covers.
    pub(super) event_type: Option<EventType>,
    pub(super) marked: bool,
}

impl Passed {
    /// The same, as the rules ask for it.
    pub(super) fn met(&self) -> ReplayEvent<'_> {
        ReplayEvent {
            number: self.seq.cast_unsigned(),
            published: self.published,
            covered: self.event_type.as_ref(),
            marked: self.marked,
        }
    }
}
