//! The audit: compares the sent records with the rated output, record by record, and computes the
//! charges independently.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use turnpike_harness::oracle::{RatedOutput, RatedUnits, octets_price_nanos};
use turnpike_proto::feed::v1::ChargeLine;
use turnpike_types::Must as _;

use crate::load::Sent;

/// Why a record of the load has a quantity.
const STATED: &str = "each record of the load states its octets";

/// The outcomes of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records sent; a record that was sent several times counts once.
    pub sent: u64,
    /// Records acknowledged as accepted.
    pub accepted: u64,
    /// Records that are rated correctly: their lines cover exactly their quantity, in one segment.
    pub rated: u64,
    /// Acknowledged records without lines for the whole quantity.
    pub lost: u64,
    /// Records with lines for more than their quantity or in two segments, and records never sent.
    pub doubled: u64,
    /// Accounts whose charges differ from the computed ones.
    pub wrong_accounts: u64,
}

impl Counts {
    /// Whether every record is rated once and every amount is right.
    pub const fn are_right(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong_accounts == 0 && self.rated == self.sent
    }
}

/// Whether the feed may have lines of other clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// The feed has no lines of other clients: a line of a record that the drill did not send is a
    /// fault, and accounts begin without charges.
    None,
    /// The feed may have lines of other clients and of earlier drills: only records of this run are
    /// checked, and the sums of accounts are not.
    Some,
}

/// Compares `lines` with `sent`.
///
/// # Errors
/// A line can't be parsed.
pub(crate) fn count(
    sent: &Sent,
    accepted: u64,
    lines: &[ChargeLine],
    others: Others,
) -> Result<Counts> {
    let run = sent.first().map_or("", |(usage, _)| usage.run.as_str());
    let is_ours = |line: &&ChargeLine| others == Others::None || line.record_id.starts_with(run);
    let mut rated = RatedOutput::read(lines.iter().filter(is_ours))?;
    let mut counts = Counts { accepted, ..Counts::default() };
    let mut octets: BTreeMap<u64, i128> = BTreeMap::new();
    for (usage, batches) in sent {
        for record in (0..*batches).flat_map(|batch| usage.records(batch)) {
            let (account, quantity) = (record.account.0, record.quantity.must(STATED).into());
            counts.sent += 1;
            *octets.entry(account).or_default() += quantity;
            match rated.take(account, &record.record_id, quantity) {
                RatedUnits::Exact => counts.rated += 1,
                RatedUnits::Missing | RatedUnits::Partial(_) => counts.lost += 1,
                RatedUnits::Surplus(_) | RatedUnits::InTwoSegments => counts.doubled += 1,
            }
        }
    }
    counts.doubled += rated.untaken() as u64;
    if others == Others::Some {
        return Ok(counts);
    }
    let is_wrong = |(account, octets): &(&u64, &i128)| {
        rated.charged_nanos(**account) != octets_price_nanos(**octets)
    };
    counts.wrong_accounts = octets.iter().filter(is_wrong).count() as u64;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use turnpike_types::{Money, Timestamp};

    use super::*;
    use crate::usage::Usage;

    /// Two batches of three records for one account, and their correct lines.
    fn world() -> (Sent, Vec<ChargeLine>) {
        let usage = Usage {
            partition: 1,
            first_account: 9,
            accounts: 1,
            batch_records: 3,
            start: Timestamp(0),
            run: "r".to_owned(),
            seed: 1,
        };
        let mut octets = 0;
        let line = |record: turnpike_types::UsageRecord| {
            let quantity = i128::from(record.quantity.unwrap_or_default());
            let amount = octets_price_nanos(octets + quantity) - octets_price_nanos(octets);
            octets += quantity;
            ChargeLine {
                partition: 1,
                segment: 4,
                record_id: record.record_id,
                account_number: record.account.0,
                units: quantity.to_string(),
                amount: Money::from_nanos(amount).unwrap_or_default().to_string(),
                ..ChargeLine::default()
            }
        };
        let lines = (0..2).flat_map(|batch| usage.records(batch)).map(line).collect();
        (vec![(usage, 2)], lines)
    }

    #[test]
    fn correct_output_passes_the_audit() {
        let (sent, lines) = world();
        let counts = count(&sent, 6, &lines, Others::None).unwrap();
        assert!(counts.are_right(), "{counts:?}");
        assert_eq!((counts.sent, counts.rated), (6, 6));
    }

    #[test]
    fn a_missing_line_is_a_lost_record() {
        let (sent, mut lines) = world();
        lines.remove(5);
        let counts = count(&sent, 6, &lines, Others::None).unwrap();
        assert_eq!((counts.lost, counts.rated, counts.wrong_accounts), (1, 5, 1));
    }

    #[test]
    fn a_line_twice_a_record_in_two_segments_and_a_stranger_are_doubled() {
        let (sent, lines) = world();
        let twice: Vec<ChargeLine> = lines.iter().chain(&lines[..1]).cloned().collect();
        assert_eq!(count(&sent, 6, &twice, Others::None).unwrap().doubled, 1);
        let mut apart = lines.clone();
        apart.push(ChargeLine { segment: 5, units: "0".to_owned(), ..lines[2].clone() });
        assert_eq!(count(&sent, 6, &apart, Others::None).unwrap().doubled, 1);
        let mut strange = lines.clone();
        strange.push(ChargeLine { record_id: "nobody's".to_owned(), ..lines[0].clone() });
        assert_eq!(count(&sent, 6, &strange, Others::None).unwrap().doubled, 1);
    }

    #[test]
    fn a_wrong_amount_is_found_where_every_unit_is_there() {
        let (sent, mut lines) = world();
        lines[5].amount = "7.000000000".to_owned();
        let counts = count(&sent, 6, &lines, Others::None).unwrap();
        assert_eq!((counts.rated, counts.wrong_accounts), (6, 1));
        assert!(!counts.are_right());
    }

    #[test]
    fn beside_others_only_the_records_of_this_run_count() {
        let (sent, mut lines) = world();
        lines.push(ChargeLine { record_id: "other-1".to_owned(), ..lines[0].clone() });
        assert_eq!(count(&sent, 6, &lines, Others::None).unwrap().doubled, 1);
        assert!(count(&sent, 6, &lines, Others::Some).unwrap().are_right());
    }
}
