//! A charge line in the output of `pull` and `rate`: the same columns in the same order, as CSV and
//! as JSON. docs/records.md documents the columns. `pull` appends to its files for years, so a new
//! column may only be added at the end, and no column may be removed.

use std::borrow::Cow;

use serde::Serialize;
use turnpike_proto::feed::v1::ChargeLine;

use crate::values;

/// The columns of a charge line.
#[derive(Serialize)]
pub(crate) struct ChargeRow<'a> {
    /// The position in the log; empty in the output of `rate`, which has no log.
    pub(crate) partition: Option<u32>,
    pub(crate) segment: Option<u64>,
    /// The row number from 0: within the segment, or, for `rate`, within the output.
    pub(crate) row: u64,
    /// The record's id; `due:DATE` for a charge that fell due without usage.
    pub(crate) record_id: Cow<'a, str>,
    pub(crate) account_number: u64,
    pub(crate) usage_type: &'a str,
    pub(crate) start_time: String,
    /// The duration of the whole record, in microseconds; `None` if the record states none.
    pub(crate) duration_us: Option<i64>,
    pub(crate) quantity: Option<i64>,
    pub(crate) plan: &'a str,
    pub(crate) version: u32,
    pub(crate) primitive: &'a str,
    pub(crate) component: &'a str,
    pub(crate) kind: &'a str,
    /// The priced quantity in base units: octets, pieces, microseconds.
    pub(crate) units: Cow<'a, str>,
    pub(crate) unit: &'a str,
    pub(crate) first_unit: i64,
    pub(crate) period: Cow<'a, str>,
    pub(crate) price: &'a str,
    pub(crate) level_before: Cow<'a, str>,
    pub(crate) level_after: Cow<'a, str>,
    pub(crate) amount: Cow<'a, str>,
    pub(crate) currency: Cow<'a, str>,
    /// The time of rating; empty in the output of `rate`.
    pub(crate) rated_at: String,
    /// The account whose balance includes the amount; 0 if no balance does.
    pub(crate) posted_to: u64,
    pub(crate) posting: &'a str,
    /// The row of the line from which this line was derived.
    pub(crate) of_row: Option<u64>,
    pub(crate) late: bool,
    /// `usage`, `due` or `posting`.
    pub(crate) source: &'a str,
    /// The row, from 0, of the reference table that gave the price.
    pub(crate) table_row: Option<u32>,
}

impl<'a> From<&'a ChargeLine> for ChargeRow<'a> {
    fn from(line: &'a ChargeLine) -> Self {
        Self {
            partition: Some(line.partition),
            segment: Some(line.segment),
            row: line.row,
            record_id: Cow::Borrowed(&line.record_id),
            account_number: line.account_number,
            usage_type: &line.usage_type,
            start_time: values::show_instant(line.start_us),
            duration_us: line.duration_us,
            quantity: line.quantity,
            plan: &line.plan_id,
            version: line.plan_version,
            primitive: &line.primitive,
            component: &line.component,
            kind: &line.kind,
            units: Cow::Borrowed(&line.units),
            unit: &line.unit,
            first_unit: line.first_unit,
            period: Cow::Borrowed(&line.period),
            price: &line.price,
            level_before: Cow::Borrowed(&line.level_before),
            level_after: Cow::Borrowed(&line.level_after),
            amount: Cow::Borrowed(&line.amount),
            currency: Cow::Borrowed(&line.currency),
            rated_at: values::show_instant(line.rated_at_us),
            posted_to: line.posted_to,
            posting: &line.posting,
            of_row: line.of_row,
            late: line.late,
            source: &line.source,
            table_row: line.table_row,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Existing output files begin with this header: after a change, `pull --output` refuses them
    /// all.
    #[test]
    fn the_columns_are_those_of_consumers_files() {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.serialize(ChargeRow::from(&ChargeLine::default())).unwrap();
        let text = String::from_utf8(csv.into_inner().unwrap()).unwrap();
        assert_eq!(
            text.lines().next(),
            Some(
                "partition,segment,row,record_id,account_number,usage_type,start_time,duration_us,\
                 quantity,plan,version,primitive,component,kind,units,unit,first_unit,period,\
                 price,level_before,level_after,amount,currency,rated_at,posted_to,posting,of_row,\
                 late,source,table_row"
            )
        );
    }
}
