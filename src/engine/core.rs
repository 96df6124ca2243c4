//! What the handle and the dispatcher share: the ports, the rules, and the bell between them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Mutex, Notify};

use super::audience::Audience;
use super::backlog::Gauge;
use super::hooks::Asked;
use super::life::Pulse;
use super::vault::Vault;
use crate::ground::account::Account;
use crate::ground::catalogue::Catalogue;
use crate::ground::change::Change;
use crate::ground::error::Result;
use crate::ground::event::Event;
use crate::ground::id::EventId;
use crate::ground::network::NetworkPolicy;
use crate::ground::policy::Policy;
use crate::ground::time::{Timestamp, to_millis};
use crate::ground::versions::Versions;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::storage::Storage;

/// The ports and the rules.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) audience: Arc<Audience>,
    pub(crate) hooks: Asked,
    pub(crate) policy: Policy,
    pub(super) gauge: Gauge,
    pub(crate) network: NetworkPolicy,
    /// In whose account events tell of webhooks, where the host wants them.
    pub(crate) reports: Option<Account>,
    /// The types that the host supports, where it says so.
    pub(crate) catalogue: Option<Catalogue>,
    pub(crate) versions: Option<Versions>,
    /// The host's keys for secrets at rest.
    pub(crate) vault: Vault,
    /// The dispatchers that run.
    pub(crate) pulse: Pulse,
    /// Rung when there may be something to do: every dispatcher of this handle hears it, in the
    /// order in which they began to listen, so that a simulation repeats itself.
    pub(crate) bell: Notify,
    /// Counts the replays that this handle started or cancelled: a bell rings for every publish, and
    /// none of those needs a look at replays.
    pub(crate) replays: AtomicU64,
    /// Held while a replay is started: what is counted before it holds until it is there.
    pub(super) replay_start: Mutex<()>,
}

impl Core {
    /// The time, in whole milliseconds.
    pub(crate) fn now(&self) -> Timestamp {
        to_millis(self.clock.now())
    }

    /// The ten random bytes of an id.
    pub(crate) fn id_bytes(&self) -> Result<[u8; 10]> {
        let mut bytes = [0; 10];
        self.entropy.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The event of a change, rendered for older versions by `render`.
    pub(crate) fn event(
        &self,
        change: Change,
        render: impl FnOnce(&Versions, Event) -> Result<Event>,
    ) -> Result<Event> {
        let now = self.now();
        let id = match change.id_given() {
            Some(id) => id,
            None => EventId::new(now, &self.id_bytes()?),
        };
        let Some(versions) = &self.versions else {
            return change.into_event(id, now);
        };
        render(versions, change.api_version_or(versions.newest()).into_event(id, now)?)
    }

    /// The time by the storage's own clock, where several machines share it.
    pub(crate) async fn shared_now(&self) -> Result<Timestamp> {
        let time = self.storage.time().await?;
        Ok(time.map_or_else(|| self.now(), to_millis))
    }

    /// Tells the dispatchers of this handle that there may be something to do, and those of other
    /// processes where the storage can.
    pub(crate) fn ring(&self) {
        match self.storage.wakeup() {
            Some(wakeup) => wakeup.announce(),
            None => self.bell.notify_waiters(),
        }
    }
}
