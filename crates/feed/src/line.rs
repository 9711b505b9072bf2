//! A charge line and control totals as consumers read them.

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use turnpike_proto::feed::v1::{ChargeLine, ControlTotals, CurrencyTotal};
use turnpike_segment::{LineRow, RecordRow, Segment};

/// The line in `row` of `segment`.
///
/// # Errors
/// What can't be shown about it.
pub(crate) fn charge_line(segment: &Segment, row: u64) -> Result<ChargeLine, &'static str> {
    let at = usize::try_from(row).map_err(|_| "its number")?;
    let line = segment.line(at).ok_or("its columns")?;
    let record = segment.record(line.record).ok_or("its record")?;
    shown(segment, row, &line, &record)
}

fn shown(
    segment: &Segment,
    row: u64,
    line: &LineRow<'_>,
    record: &RecordRow<'_>,
) -> Result<ChargeLine, &'static str> {
    let (header, component) = (segment.header(), line.component);
    let level = |value: i128| match component.level {
        Some(_) => value.to_string(),
        None => String::new(),
    };
    Ok(ChargeLine {
        partition: header.partition.0,
        segment: header.segment.0,
        row,
        record_id: record.record_id.to_owned(),
        account_number: record.account.0,
        usage_type: record.usage_type.to_owned(),
        start_us: record.start.0,
        duration_us: record.duration_us,
        quantity: record.quantity,
        plan_id: component.plan_id.clone(),
        plan_version: component.plan_version,
        primitive: component.primitive.clone(),
        component: component.component.clone(),
        kind: component.kind.word().to_owned(),
        units: line.quantity.to_string(),
        unit: component.unit.clone(),
        first_unit: line.first_unit,
        period: period(line.period)?,
        price: component.price.clone(),
        level_before: level(line.level_before),
        level_after: level(line.level_after),
        amount: line.amount.to_string(),
        currency: component.currency.to_string(),
        rated_at_us: header.now.0,
    })
}

const EPOCH: Date = date(1970, 1, 1);

/// Days since 1970-01-01 as an ISO date.
fn period(days: i32) -> Result<String, &'static str> {
    if days == i32::MIN {
        return Ok(String::new());
    }
    // `checked_add` would refuse a span that no calendar holds; `try_days` does so without panic.
    let span = 0.days().try_days(days).map_err(|_| "its period")?;
    EPOCH.checked_add(span).map(|first| first.to_string()).map_err(|_| "its period")
}

/// What the segment holds in all.
pub(crate) fn control_totals(segment: &Segment) -> ControlTotals {
    let header = segment.header();
    let totals = &header.totals;
    ControlTotals {
        partition: header.partition.0,
        segment: header.segment.0,
        records: totals.records,
        suspended: totals.suspended,
        lines: totals.lines,
        amounts: totals
            .amounts
            .iter()
            .map(|(currency, amount)| CurrencyTotal {
                currency: currency.to_string(),
                amount: amount.to_string(),
            })
            .collect(),
    }
}

/// About how many bytes the line takes on the wire.
pub(crate) fn bytes_of(line: &ChargeLine) -> usize {
    const FIXED: usize = 120;
    let texts = [
        &line.record_id,
        &line.usage_type,
        &line.plan_id,
        &line.primitive,
        &line.component,
        &line.kind,
        &line.units,
        &line.unit,
        &line.period,
        &line.price,
        &line.level_before,
        &line.level_after,
        &line.amount,
    ];
    texts.iter().map(|text| text.len() + 3).sum::<usize>() + FIXED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_its_first_date() {
        assert_eq!(period(0).as_deref(), Ok("1970-01-01"));
        assert_eq!(period(-1).as_deref(), Ok("1969-12-31"));
        assert_eq!(period(20_513).as_deref(), Ok("2026-03-01"));
        assert_eq!(period(i32::MIN).as_deref(), Ok(""));
        assert!(period(i32::MAX).is_err());
    }
}
