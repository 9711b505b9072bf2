//! Counts the pulled lines and compares them with the control totals of the segments.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use turnpike_proto::feed::v1::{ChargeLine, ControlTotals, Cursor, FeedPage};
use turnpike_types::Money;

type Amounts = BTreeMap<String, Money>;

#[derive(Debug, Default)]
struct Segment {
    lines: u64,
    amounts: Amounts,
}

/// The pulled lines and amounts, in total and by segment.
#[derive(Debug, Default)]
pub(crate) struct PullTotals {
    /// The counts of segments whose end has not been pulled yet. They are few, because pages come
    /// in order.
    open: HashMap<(u32, u64), Segment>,
    /// By partition, the segment whose first rows were delivered by an earlier pull: its totals
    /// can't be compared.
    begun: HashMap<u32, u64>,
    /// The sum of the lines to bill, by currency.
    amounts: Amounts,
    reconciled: u64,
    in_part: u64,
    mismatches: Vec<String>,
}

impl PullTotals {
    /// Totals of the lines after `cursors`.
    pub(crate) fn new<'a>(cursors: impl Iterator<Item = &'a Cursor>) -> Self {
        let begun = cursors.filter(|cursor| cursor.row > 0);
        let begun = begun.map(|cursor| (cursor.partition, cursor.segment)).collect();
        Self { begun, ..Self::default() }
    }

    /// Counts the lines of a page, and compares each segment that ends on the page with its control
    /// totals. Only lines for which `is_new` holds count in the amounts: those of other lines were
    /// reported before.
    pub(crate) fn count(
        &mut self,
        page: &FeedPage,
        is_new: impl Fn(&ChargeLine) -> bool,
    ) -> anyhow::Result<()> {
        for line in &page.lines {
            let amount = line.amount.parse().with_context(|| {
                format!("the feed's line {}/{}/{}", line.partition, line.segment, line.row)
            })?;
            let segment = self.open.entry((line.partition, line.segment)).or_default();
            segment.lines += 1;
            if is_in_control_totals(line) {
                add(&mut segment.amounts, &line.currency, amount)?;
            }
            if is_billed(line) && is_new(line) {
                add(&mut self.amounts, &line.currency, amount)?;
            }
        }
        page.totals.iter().try_for_each(|totals| self.ended(totals))
    }

    fn ended(&mut self, totals: &ControlTotals) -> anyhow::Result<()> {
        let segment = self.open.remove(&(totals.partition, totals.segment)).unwrap_or_default();
        let mut said = Amounts::new();
        for total in &totals.amounts {
            add(&mut said, &total.currency, total.amount.parse()?)?;
        }
        // The totals of a segment of free lines have an amount of zero, or no amount: these are
        // equal.
        let apart = |amounts: &Amounts| -> Vec<(String, Money)> {
            let nonzero = amounts.iter().filter(|(_, amount)| **amount != Money::ZERO);
            nonzero.map(|(currency, amount)| (currency.clone(), *amount)).collect()
        };
        if segment.lines == totals.lines && apart(&segment.amounts) == apart(&said) {
            self.reconciled += 1;
        } else if self.begun.get(&totals.partition) == Some(&totals.segment) {
            self.in_part += 1;
        } else {
            self.mismatches.push(format!(
                "partition {}, segment {}: pulled {} lines {:?}, but its totals are {} lines {:?}",
                totals.partition,
                totals.segment,
                segment.lines,
                apart(&segment.amounts),
                totals.lines,
                apart(&said)
            ));
        }
        Ok(())
    }

    /// The number of segments that were pulled completely and match.
    pub(crate) const fn reconciled(&self) -> u64 {
        self.reconciled
    }

    /// The number of segments whose first lines were delivered by an earlier pull.
    pub(crate) const fn in_part(&self) -> u64 {
        self.in_part
    }

    /// A message for each segment that does not match.
    pub(crate) fn mismatches(&self) -> &[String] {
        &self.mismatches
    }

    /// The sums, by currency, of the new lines that are billed to their accounts.
    pub(crate) fn amounts(&self) -> BTreeMap<String, String> {
        self.amounts.iter().map(|(currency, sum)| (currency.clone(), sum.to_string())).collect()
    }
}

/// Whether the control totals include the amount. Replaced and tentative lines and lines without an
/// account do not count. A front of an older release leaves `posting` empty for `account`.
fn is_in_control_totals(line: &ChargeLine) -> bool {
    is_billed(line) || line.posting == "second-account"
}

/// Whether the amount is billed to the account of the line. An amount for a second account is
/// billed by the line of kind `posting` that this account gets, in the log of its own partition.
fn is_billed(line: &ChargeLine) -> bool {
    matches!(line.posting.as_str(), "" | "account")
}

fn add(amounts: &mut Amounts, currency: &str, amount: Money) -> anyhow::Result<()> {
    if !amounts.contains_key(currency) {
        amounts.insert(currency.to_owned(), Money::ZERO);
    }
    if let Some(sum) = amounts.get_mut(currency) {
        *sum = sum.checked_add(amount).context("a total has more than 38 digits")?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_proto::feed::v1::CurrencyTotal;

    use super::*;

    fn page(segment: u64, amounts: &[&str], said: &str, lines: u64) -> FeedPage {
        let line = |amount: &&str| ChargeLine {
            partition: 1,
            segment,
            amount: (*amount).to_owned(),
            currency: "USD".to_owned(),
            ..ChargeLine::default()
        };
        let total = CurrencyTotal { currency: "USD".to_owned(), amount: said.to_owned() };
        let totals = ControlTotals {
            partition: 1,
            segment,
            lines,
            amounts: vec![total],
            ..ControlTotals::default()
        };
        FeedPage { lines: amounts.iter().map(line).collect(), next: None, totals: vec![totals] }
    }

    #[test]
    fn a_segment_that_differs_from_its_totals_is_reported_unless_an_earlier_pull_began_it() {
        let begun = Cursor { partition: 1, segment: 4, row: 2, ..Cursor::default() };
        let mut totals = PullTotals::new([&begun].into_iter());
        totals.count(&page(4, &["1.0"], "3.0", 3), |_| true).unwrap();
        totals.count(&page(5, &["1.0", "0.5"], "1.500000000", 2), |_| true).unwrap();
        totals.count(&page(6, &[], "0.000000000", 0), |_| true).unwrap();
        assert!(totals.mismatches().is_empty());
        assert_eq!((totals.reconciled(), totals.in_part()), (2, 1));
        totals.count(&page(7, &["1.0"], "1.000000001", 1), |_| true).unwrap();
        totals.count(&page(8, &["1.0"], "1.0", 2), |_| true).unwrap();
        assert_eq!(totals.mismatches().len(), 2);
        assert_eq!(totals.amounts()["USD"], "4.500000000");
    }

    #[test]
    fn lines_that_were_in_the_file_count_in_control_totals_and_not_in_the_amounts() {
        let mut totals = PullTotals::new(std::iter::empty());
        totals.count(&page(5, &["1.0", "0.5"], "1.5", 2), |line| line.amount == "0.5").unwrap();
        assert_eq!((totals.reconciled(), totals.amounts()["USD"].as_str()), (1, "0.500000000"));
        totals.count(&page(6, &["1.0"], "1.0", 1), |_| false).unwrap();
        assert_eq!((totals.reconciled(), totals.amounts()["USD"].as_str()), (2, "0.500000000"));
    }

    // docs/architecture.md section 8, docs/plan-semantics.md section 2: control totals count every
    // line, and sum the lines that post to an account.
    #[test]
    fn replaced_tentative_and_unposted_lines_count_as_lines_and_not_as_money() {
        let mut totals = PullTotals::new(std::iter::empty());
        let mut page = page(1, &["4.0", "1.0", "2.0", "8.0", "16.0"], "5.0", 5);
        let postings = ["account", "second-account", "nobody", "replaced", "trial"];
        for (line, posting) in page.lines.iter_mut().zip(postings) {
            line.posting = posting.to_owned();
        }
        totals.count(&page, |_| true).unwrap();
        assert_eq!(totals.reconciled(), 1, "{:?}", totals.mismatches());
        assert_eq!(totals.amounts()["USD"], "4.000000000");
    }

    /// A line for a second account appears again as a line of kind `posting` of that account. The
    /// control totals contain both, and the total of what is billed contains the amount once.
    #[test]
    fn an_amount_for_a_second_account_is_billed_once() {
        let mut totals = PullTotals::new(std::iter::empty());
        let mut sent = page(1, &["3.0", "2.0"], "5.0", 2);
        sent.lines[0].posting = "account".to_owned();
        sent.lines[1].posting = "second-account".to_owned();
        let mut got = page(2, &["2.0"], "2.0", 1);
        got.lines[0].posting = "account".to_owned();
        got.lines[0].kind = "posting".to_owned();
        totals.count(&sent, |_| true).unwrap();
        assert_eq!(totals.amounts()["USD"], "3.000000000", "the posting is not pulled yet");
        totals.count(&got, |_| true).unwrap();
        assert_eq!(totals.reconciled(), 2, "{:?}", totals.mismatches());
        assert_eq!(totals.amounts()["USD"], "5.000000000");
    }
}
