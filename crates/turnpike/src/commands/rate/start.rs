//! The start of the subscriptions of `turnpike rate` without a file of accounts.
//!
//! A subscription without a start would begin with the plan's first version. Then the fees of all
//! months since would be booked, and the total of a file of one month would be wrong.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use turnpike_collect::{Fault, Row};
use turnpike_plan::{ACCOUNT_CURRENCY, Cycle, Plan};
use turnpike_trial::TrialCatalogue;
use turnpike_types::{Timestamp, UsageRecord};

use crate::ui;
use crate::usage_file::{self, Rows, Source};

use super::happened::Happened;
use super::settings::RateSettings;

/// Opens the usage, and determines the start of all subscriptions: `--plan-from`, else the start of
/// the billing cycle of the earliest record. If nothing falls due without usage, the start has no
/// effect on charges, and the usage is read once.
pub(super) fn rows_and_start(
    settings: &RateSettings,
    source: Source<'_>,
    catalogue: &TrialCatalogue,
    happened: &Happened,
) -> anyhow::Result<(Rows, Timestamp)> {
    if let Some(from) = settings.plan_from {
        return Ok((usage_file::rows(source)?, from));
    }
    if settings.accounts.is_some() || !books_without_usage(settings, catalogue) {
        return Ok((usage_file::rows(source)?, Timestamp::MIN));
    }
    let is_file = source.path.metadata().is_ok_and(|metadata| metadata.is_file());
    let (rows, earliest) = if is_file {
        let rows = usage_file::rows_without_warnings(source)?;
        let earliest = earliest(rows.flatten().map(|row| row.content), happened);
        (usage_file::rows(source)?, earliest)
    } else {
        // Standard input and pipes can be read once only.
        let all: Vec<Result<Row<UsageRecord>, Fault>> = usage_file::rows(source)?.collect();
        let found = earliest(all.iter().flatten().map(|row| &row.content), happened);
        let rows: Rows = Box::new(all.into_iter());
        (rows, found)
    };
    let Some((id, start)) = earliest else { return Ok((rows, Timestamp::MIN)) };
    let zone = &settings.zone;
    let cycle = Cycle::at(zone, settings.cycle_day, start);
    ui::print_stderr(format_args!(
        "every account is subscribed from {} ({}), the start of the billing cycle of the earliest \
         record ({id}); --plan-from sets another start",
        zone.date_at(cycle.from),
        settings.zone_name
    ));
    Ok((rows, cycle.from))
}

/// Whether a plan books charges, or closes cycles, without usage.
fn books_without_usage(settings: &RateSettings, catalogue: &TrialCatalogue) -> bool {
    let books = |plan: &Plan| {
        let currency = settings.currency.unwrap_or_else(|| plan.currency()).to_string();
        let code = turnpike_plan::compile(
            plan,
            &BTreeMap::from([(ACCOUNT_CURRENCY.to_owned(), currency)]),
        );
        // If the plan needs parameters, rating reports it.
        code.map_or(true, |code| code.is_swept() || code.closes())
    };
    !settings.options.is_empty() || catalogue.plans().any(books)
}

/// The id and the start of the earliest record that is not rejected.
fn earliest<R: Borrow<UsageRecord>>(
    records: impl Iterator<Item = R>,
    happened: &Happened,
) -> Option<(String, Timestamp)> {
    let mut happened = happened.clone();
    let mut first: Option<(String, Timestamp)> = None;
    for record in records {
        let record = record.borrow();
        let is_earlier = first.as_ref().is_none_or(|(_, start)| record.start < *start);
        if is_earlier && happened.check(record).is_ok() {
            first = Some((record.record_id.clone(), record.start));
        }
    }
    first
}
