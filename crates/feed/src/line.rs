//! Charge lines and control totals in the form that consumers read.

use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use turnpike_proto::feed::v1::{ChargeLine, ControlTotals, CurrencyTotal};
use turnpike_segment::{LineRow, RecordRow, Segment};
use turnpike_types::{Outcome, Posting};

/// The line in `row` of `segment`.
///
/// # Errors
/// The name of the invalid part of the line.
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
        duration_us: record.stated_duration_us().map_err(|_| "the measures of its record")?,
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
        posted_to: match line.posting {
            Posting::Account => record.account.0,
            Posting::Second(account) => account.0,
            Posting::Nobody | Posting::Replaced | Posting::Tentative => 0,
        },
        posting: line.posting.word().to_owned(),
        of_row: line.of.map(u64::from),
        late: record.outcome == Outcome::RatedLate,
        source: source(record.outcome).to_owned(),
        table_row: line.row,
    })
}

/// The cause of the record's lines. A suspended record has no lines.
const fn source(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Rated | Outcome::RatedLate | Outcome::Suspended(_) => "usage",
        Outcome::FellDue => "due",
        Outcome::Posted => "posting",
    }
}

const EPOCH: Date = date(1970, 1, 1);

/// The first date of a period as ISO text, from days since 1970-01-01.
fn period(days: i32) -> Result<String, &'static str> {
    if days == i32::MIN {
        return Ok(String::new());
    }
    // `try_days` returns an error for a span that no calendar holds, instead of a panic.
    let span = 0.days().try_days(days).map_err(|_| "its period")?;
    EPOCH.checked_add(span).map(|first| first.to_string()).map_err(|_| "its period")
}

/// The control totals of the segment.
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

/// An estimate of the line's size on the wire, in bytes.
pub(crate) fn bytes_of(line: &ChargeLine) -> usize {
    const FIXED: usize = 128;
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
        &line.posting,
        &line.source,
    ];
    texts.iter().map(|text| text.len() + 3).sum::<usize>() + FIXED
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_segment::head::ComponentHead;
    use turnpike_segment::{NewLine, NewRecord, SealContext, SegmentBuilder};
    use turnpike_types::{
        AccountNumber, Epoch, Money, PartitionId, SegmentHash, SegmentNumber, Timestamp, UsageView,
    };

    use super::*;

    /// A segment with one record of this outcome, and one line for each `(of, posting)`.
    fn segment(outcome: Outcome, lines: &[(Option<u32>, Posting)]) -> Segment {
        segment_of(outcome, lines, 0, &[])
    }

    fn segment_of(
        outcome: Outcome,
        lines: &[(Option<u32>, Posting)],
        duration_us: i64,
        measures: &[(&str, i64)],
    ) -> Segment {
        let mut builder = SegmentBuilder::new();
        let head =
            ComponentHead { currency: "USD".to_owned(), kind: 6, ..ComponentHead::default() };
        let component = builder.add_component(head, "USD".parse().unwrap()).unwrap();
        let view = UsageView {
            record_id: "r",
            account: AccountNumber(42),
            usage_type: "octets",
            start: Timestamp(0),
            duration_us,
            quantity: None,
            measures,
            attributes: &[],
        };
        builder.push_record(&NewRecord { view, identity: "", outcome }).unwrap();
        for &(of, posting) in lines {
            builder.push_line(&NewLine {
                component,
                quantity: 0,
                first_unit: 0,
                period: i32::MIN,
                level_before: 0,
                level_after: 0,
                amount: Money::from_nanos(-5).unwrap(),
                of,
                posting,
                row: of.map(|of| of + 7),
            });
        }
        let context = SealContext {
            partition: PartitionId(1),
            segment: SegmentNumber(1),
            epoch: Epoch::stored(1),
            prev_hash: SegmentHash::default(),
            now: Timestamp(0),
            floor: Timestamp(0),
            catalogue_version: 0,
        };
        Segment::decode(&builder.seal(&context).unwrap().body).unwrap()
    }

    /// A consumer that takes a missing duration for a zero would rate the call as free.
    #[test]
    fn a_line_states_a_duration_only_if_its_record_does() {
        for (duration_us, measures, stated) in [
            (0, &[][..], None),
            (0, &[("octets", 0)], None),
            (0, &[("duration", 0)], Some(0)),
            (60, &[], Some(60)),
            (60, &[("duration", 0)], Some(60)),
        ] {
            let lines = [(None, Posting::Account)];
            let segment = segment_of(Outcome::Rated, &lines, duration_us, measures);
            assert_eq!(charge_line(&segment, 0).unwrap().duration_us, stated, "{measures:?}");
        }
    }

    #[test]
    fn plans_2_a_line_states_its_posting_and_its_source_line() {
        let second = Posting::Second(AccountNumber(7));
        let postings = [
            (None, Posting::Replaced),
            (Some(0), Posting::Account),
            (Some(0), second),
            (Some(0), Posting::Nobody),
            (None, Posting::Tentative),
        ];
        let segment = segment(Outcome::Rated, &postings);
        let lines: Vec<_> = (0..5).map(|row| charge_line(&segment, row).unwrap()).collect();
        let shown: Vec<_> =
            lines.iter().map(|l| (l.of_row, l.posting.as_str(), l.posted_to)).collect();
        assert_eq!(
            shown,
            [
                (None, "replaced", 0),
                (Some(0), "account", 42),
                (Some(0), "second-account", 7),
                (Some(0), "nobody", 0),
                (None, "trial", 0),
            ]
        );
        let rows: Vec<_> = lines.iter().map(|line| line.table_row).collect();
        assert_eq!(rows, [None, Some(7), Some(7), Some(7), None]);
        assert_eq!(
            (lines[0].kind.as_str(), lines[0].amount.as_str()),
            ("conversion", "-0.000000005")
        );
        assert_eq!(control_totals(&segment).amounts[0].amount, "-0.000000010");
    }

    #[test]
    fn a_line_names_its_component() {
        let shown = |outcome| {
            let line = charge_line(&segment(outcome, &[(None, Posting::Account)]), 0).unwrap();
            (line.source, line.late)
        };
        assert_eq!(shown(Outcome::Rated), ("usage".to_owned(), false));
        assert_eq!(shown(Outcome::RatedLate), ("usage".to_owned(), true));
        assert_eq!(shown(Outcome::FellDue), ("due".to_owned(), false));
        assert_eq!(shown(Outcome::Posted), ("posting".to_owned(), false));
    }

    #[test]
    fn a_period_is_its_first_date() {
        assert_eq!(period(0).as_deref(), Ok("1970-01-01"));
        assert_eq!(period(-1).as_deref(), Ok("1969-12-31"));
        assert_eq!(period(20_513).as_deref(), Ok("2026-03-01"));
        assert_eq!(period(i32::MIN).as_deref(), Ok(""));
        assert!(period(i32::MAX).is_err());
    }
}
