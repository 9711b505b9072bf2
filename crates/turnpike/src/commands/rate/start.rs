//! The start of the subscriptions of `turnpike rate` without a file of accounts, and the check of
//! `--until`.
//!
//! A subscription without a start would begin with the plan's first version. Then the fees of all
//! months since would be booked, and an unused allowance of earlier months would roll over: the
//! total of a file of one month would be wrong.

use std::borrow::Borrow;

use turnpike_collect::{Fault, Row};
use turnpike_plan::Cycle;
use turnpike_types::{Timestamp, UsageRecord};

use crate::exit::usage;
use crate::usage_file::{self, Rows, Source};
use crate::{ui, values};

use super::happened::Happened;
use super::settings::RateSettings;

/// The maximum number of rows from standard input or a pipe that are held in memory.
const HELD_ROWS_MAX: usize = 1_000_000;

/// Opens the usage, and determines the start of all subscriptions: `--plan-from`, else the start of
/// the billing cycle of the earliest record.
///
/// # Errors
/// Usage that can't be read, and a record after `until`: time does not run backwards, so that
/// charges that fall due after `until` would be booked.
pub(super) fn rows_and_start(
    settings: &RateSettings,
    source: Source<'_>,
    happened: &Happened,
) -> anyhow::Result<(Rows, Timestamp)> {
    // Each account of a file states its own start.
    let from = settings.plan_from.or(settings.accounts.is_some().then_some(Timestamp::MIN));
    if let (Some(from), None) = (from, settings.until) {
        return Ok((usage_file::rows(source)?, from));
    }
    let is_file = source.path.metadata().is_ok_and(|metadata| metadata.is_file());
    let (rows, span) = if is_file {
        let rows = usage_file::rows_without_warnings(source)?;
        let span = Span::of(rows.flatten().map(|row| row.content), happened);
        (usage_file::rows(source)?, span)
    } else {
        // Standard input and pipes can be read once only.
        let all = held(usage_file::rows(source)?, HELD_ROWS_MAX)?;
        let span = Span::of(all.iter().flatten().map(|row| &row.content), happened);
        let rows: Rows = Box::new(all.into_iter());
        (rows, span)
    };
    let Some(Span { earliest, latest }) = span else {
        return Ok((rows, from.unwrap_or(Timestamp::MIN)));
    };
    if let Some(until) = settings.until
        && latest.1 > until
    {
        let (id, [at, until]) = (latest.0, [latest.1, until].map(|at| values::show_instant(at.0)));
        return Err(usage(format!(
            "--until {until} is before the last record ({id}, {at}): give a later date, or take the \
             later records out of the usage"
        )));
    }
    if let Some(from) = from {
        return Ok((rows, from));
    }
    let (id, start) = earliest;
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

/// Reads all rows into memory.
///
/// # Errors
/// There are more than `rows_max` rows.
fn held(rows: Rows, rows_max: usize) -> anyhow::Result<Vec<Result<Row<UsageRecord>, Fault>>> {
    let all: Vec<_> = rows.take(rows_max.saturating_add(1)).collect();
    if all.len() > rows_max {
        return Err(usage(format!(
            "more than {rows_max} rows of usage come from standard input or a pipe, which can be read \
             once only: write them to a file first, or give --plan-from and leave --until out"
        )));
    }
    Ok(all)
}

/// The ids and starts of the earliest and the latest record.
struct Span {
    earliest: (String, Timestamp),
    latest: (String, Timestamp),
}

impl Span {
    /// The span of the records that are not rejected; `None` without any.
    fn of<R: Borrow<UsageRecord>>(
        records: impl Iterator<Item = R>,
        happened: &Happened,
    ) -> Option<Self> {
        let mut happened = happened.clone();
        let mut span: Option<Self> = None;
        for record in records {
            let record = record.borrow();
            if happened.check(record).is_err() {
                continue;
            }
            let this = || (record.record_id.clone(), record.start);
            match &mut span {
                None => span = Some(Self { earliest: this(), latest: this() }),
                Some(span) if record.start < span.earliest.1 => span.earliest = this(),
                Some(span) if record.start > span.latest.1 => span.latest = this(),
                Some(_) => {}
            }
        }
        span
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_pipe_are_held_up_to_a_maximum() {
        let rows = |count: u64| -> Rows {
            Box::new((1..=count).map(|line| Ok(Row { line, content: UsageRecord::default() })))
        };
        assert_eq!(held(rows(3), 3).unwrap().len(), 3);
        let why = held(rows(4), 3).unwrap_err().to_string();
        assert!(why.contains("more than 3 rows") && why.contains("--plan-from"), "{why}");
    }
}
