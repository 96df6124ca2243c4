//! Reports of the crate's own: built here for every try that may come to something, kept by the
//! storage if it does.

use tracing::warn;

use super::core::Core;
use crate::ground::advance::Transition;
use crate::ground::delivery::Attempt;
use crate::ground::error::Result;
use crate::ground::report::{Facts, ReportKind, reportable};
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
        if self.reports.is_none() {
            return Vec::new();
        }
        let facts = Facts {
            delivery: &leased.delivery,
            event: &leased.event,
            webhook: &leased.webhook,
            since: leased.failing_since,
            attempt,
            transition,
        };
        let kinds = reportable(&leased.event, leased.failing_since, transition);
        kinds.filter_map(|kind| self.report(kind, &facts)).collect()
    }

    /// A report that cannot be built must not hold up what it tells of.
    fn report(&self, kind: ReportKind, facts: &Facts<'_>) -> Option<Report> {
        match self.try_report(kind, facts) {
            Ok(report) => report,
            Err(error) => {
                let webhook = facts.webhook.id();
                warn!(name: "tidings.report.failed", ?kind, %webhook, %error);
                None
            }
        }
    }

    fn try_report(&self, kind: ReportKind, facts: &Facts<'_>) -> Result<Option<Report>> {
        let Some(account) = &self.reports else { return Ok(None) };
        let change = facts.change(kind)?.account(account.clone());
        let event = self.event(change, Versions::render_own)?;
        Ok(Some(Report { kind, event }))
    }
}
