//! The audit: compares the rated output in the feed with the records that were sent. Its counts and
//! its prices are computed independently of the cluster.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, ensure};
use turnpike_proto::feed::v1::{ChargeLine, PullRequest};
use turnpike_types::Money;

use crate::client::{Front, told};
use crate::feed::{open_pull, register};
use crate::pull_totals::PullTotals;

use super::traffic::Ledger;

/// The contents of the feed.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) lines: u64,
    /// Records that have a charge line.
    records: HashSet<(u64, String)>,
    /// The number of logged records, rated or suspended, by the control totals of the segments.
    pub(crate) logged: u64,
    suspended: u64,
    octets: HashMap<u64, u64>,
    charged: HashMap<u64, (Money, u32)>,
    pub(crate) total: Money,
    /// The lines of the account whose bill is printed.
    pub(crate) bill: Vec<ChargeLine>,
}

impl Audit {
    /// Pulls all rated output, as an invoicing system would, and counts it independently.
    pub(crate) async fn pull(front: &Front, consumer: &str, bill_of: u64) -> anyhow::Result<Self> {
        let cursors = register(front, consumer).await?;
        let mut totals = PullTotals::new(cursors.values());
        let request = PullRequest { consumer: consumer.to_owned(), ..PullRequest::default() };
        let mut pages = open_pull(front, &request).await?;
        let (mut audit, mut seen) = (Self::default(), HashSet::new());
        while let Some(page) = pages.next_page().await.map_err(told)? {
            totals.count(&page, |_| true)?;
            for totals in &page.totals {
                audit.logged += totals.records;
                audit.suspended += totals.suspended;
            }
            for line in page.lines {
                audit.line(line, bill_of, &mut seen)?;
            }
        }
        let mismatches = totals.mismatches();
        ensure!(mismatches.is_empty(), "control totals differ: {}", mismatches.join("; "));
        Ok(audit)
    }

    fn line(
        &mut self,
        line: ChargeLine,
        bill_of: u64,
        seen: &mut HashSet<(u64, String, String, i64, String)>,
    ) -> anyhow::Result<()> {
        let account = line.account_number;
        let key = (
            account,
            line.record_id.clone(),
            format!("{}/{}", line.primitive, line.component),
            line.first_unit,
            line.period.clone(),
        );
        ensure!(seen.insert(key), "record {} was charged twice", line.record_id);
        let amount: Money = line.amount.parse()?;
        self.lines += 1;
        self.total = self.total.checked_add(amount).context("the total has over 38 digits")?;
        self.records.insert((account, line.record_id.clone()));
        if account == bill_of {
            self.bill.push(line);
            return Ok(());
        }
        let units: u64 = line.units.parse().context("units")?;
        *self.octets.entry(account).or_default() += units;
        let (sum, lines) = self.charged.entry(account).or_default();
        *sum = sum.checked_add(amount).context("the total has over 38 digits")?;
        *lines += 1;
        Ok(())
    }

    /// Compares the rated records with the sent ones. `others` is the number of sent records that
    /// are not in `ledger`. Of these, `without_lines` records have no units, and therefore no line.
    pub(crate) fn reconcile(
        &self,
        ledger: &Ledger,
        others: u64,
        without_lines: u64,
    ) -> anyhow::Result<()> {
        let sent = ledger.records + others;
        ensure!(self.suspended == 0, "{} records wait in suspense", self.suspended);
        ensure!(self.logged == sent, "{sent} records were sent, {} are in the log", self.logged);
        let rated = self.records.len() as u64 + without_lines;
        ensure!(rated == sent, "{sent} records were sent, {rated} rated");
        ensure!(self.octets == ledger.octets, "octets sent and octets rated differ");
        for (account, octets) in &ledger.octets {
            let (charged, lines) = self.charged.get(account).copied().unwrap_or_default();
            let expected = expected_nanos_times_100(*octets);
            // Each line is rounded once, to a nano (a billionth of the currency unit), so its error
            // is at most half a nano.
            let off = (charged.nanos() * 100 - expected).abs();
            ensure!(
                off <= 50 * i128::from(lines),
                "account {account}: {octets} octets were charged {charged}"
            );
        }
        Ok(())
    }

    /// The number of octets rated for all accounts.
    pub(crate) fn octets(&self) -> u64 {
        self.octets.values().sum()
    }
}

/// The octet plan's charge for this many octets in a month, in hundredths of a nano: the first GB
/// is free, then 0.05 per GB up to 100 GB, then 0.02. It is computed here independently of the
/// rating.
fn expected_nanos_times_100(octets: u64) -> i128 {
    const GB: u64 = 1_000_000_000;
    let basic = octets.clamp(GB, 100 * GB) - GB;
    let bulk = octets.max(100 * GB) - 100 * GB;
    i128::from(basic) * 5 + i128::from(bulk) * 2
}

/// The expected bill of Fig. 6B: microseconds and amount, by record and component.
pub(crate) type ExpectedBill = BTreeMap<(String, String), (String, Money)>;

/// Parses the expected bill.
pub(crate) fn expected_bill(csv: &str) -> anyhow::Result<ExpectedBill> {
    let mut expected = ExpectedBill::new();
    for row in csv.lines().skip(1) {
        let mut cells = row.split(',').map(str::to_owned);
        let mut cell = || cells.next().with_context(|| format!("the expected bill's row {row}"));
        let (key, units, amount) = ((cell()?, cell()?), cell()?, cell()?);
        expected.insert(key, (units, amount.parse()?));
    }
    Ok(expected)
}

/// Sums the bill's lines by record and component.
pub(crate) fn added_up(bill: &[ChargeLine]) -> anyhow::Result<ExpectedBill> {
    let mut sums: BTreeMap<(String, String), (u128, Money)> = BTreeMap::new();
    for line in bill {
        let key = (line.record_id.clone(), line.component.clone());
        let (units, amount) = sums.entry(key).or_default();
        *units += line.units.parse::<u128>().context("units")?;
        *amount = amount.checked_add(line.amount.parse()?).context("over 38 digits")?;
    }
    Ok(sums.into_iter().map(|(key, (units, sum))| (key, (units.to_string(), sum))).collect())
}

#[cfg(test)]
mod tests {
    use super::expected_nanos_times_100;

    #[test]
    fn the_independent_calculation_knows_the_tiers() {
        const GB: u64 = 1_000_000_000;
        assert_eq!(expected_nanos_times_100(GB), 0);
        assert_eq!(expected_nanos_times_100(2 * GB), 5_000_000_000);
        assert_eq!(expected_nanos_times_100(101 * GB), 99 * 5_000_000_000 + 2_000_000_000);
    }
}
