//! Reports of the crate's own: built here for every try that may come to something, kept by the
//! storage if it does.

use tracing::warn;

use super::core::Core;
use crate::ground::account::Account;
use crate::ground::advance::Transition;
use crate::ground::delivery::Attempt;
use crate::ground::report::{Facts, ReportKind};
use crate::ground::versions::Versions;
use crate::ports::storage::{Leased, Report};

impl Core {
    /// What may come true with this settlement. Empty where the host wants no reports.
    pub(super) fn reports(
        &self,
        leased: &Leased,
        attempt: Option<&Attempt>,
        transition: &Transition,
    ) -> Vec<Report> {
        let Some(account) = &self.reports else { return Vec::new() };
        let facts = Facts {
            delivery: &leased.delivery,
            event: &leased.event,
            webhook: &leased.webhook,
            since: leased.failing_since,
            attempt,
            transition,
        };
        facts.kinds().filter_map(|kind| self.report(account, kind, &facts)).collect()
    }

    /// A report that cannot be built must not hold up what it tells of.
    fn report(&self, account: &Account, kind: ReportKind, facts: &Facts<'_>) -> Option<Report> {
        let change = facts.change(kind).map(|change| change.account(account.clone()));
        match change.and_then(|change| self.event(change, Versions::render_own)) {
            Ok(event) => Some(Report { kind, event }),
            Err(error) => {
                let webhook = facts.webhook.id();
                warn!(name: "tidings.report.failed", ?kind, %webhook, %error);
                None
            }
        }
    }
}
