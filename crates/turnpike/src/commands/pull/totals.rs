//! Lines counted by themselves and held against the segments' control totals.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, anyhow};
use turnpike_proto::feed::v1::{ControlTotals, Cursor, FeedPage};
use turnpike_types::Money;

type Amounts = BTreeMap<String, Money>;

#[derive(Debug, Default)]
struct Segment {
    lines: u64,
    amounts: Amounts,
}

/// What was pulled, in all and by segment.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Segments that have not ended yet: few, since pages come in order.
    open: HashMap<(u32, u64), Segment>,
    /// Segments that the consumer had in part before: they can't be compared.
    begun: HashMap<u32, u64>,
    amounts: Amounts,
    reconciled: u64,
    in_part: u64,
    mismatches: Vec<String>,
}

impl Totals {
    /// Totals of what comes behind `cursors`.
    pub(crate) fn new<'a>(cursors: impl Iterator<Item = &'a Cursor>) -> Self {
        let begun = cursors.filter(|cursor| cursor.row > 0);
        let begun = begun.map(|cursor| (cursor.partition, cursor.segment)).collect();
        Self { begun, ..Self::default() }
    }

    /// Counts a page.
    pub(crate) fn count(&mut self, page: &FeedPage) -> anyhow::Result<()> {
        for line in &page.lines {
            let amount = parse_money(&line.amount).with_context(|| {
                format!("the feed's line {}/{}/{}", line.partition, line.segment, line.row)
            })?;
            let segment = self.open.entry((line.partition, line.segment)).or_default();
            segment.lines += 1;
            add(&mut segment.amounts, &line.currency, amount)?;
            add(&mut self.amounts, &line.currency, amount)?;
        }
        page.totals.iter().try_for_each(|totals| self.ended(totals))
    }

    fn ended(&mut self, totals: &ControlTotals) -> anyhow::Result<()> {
        let segment = self.open.remove(&(totals.partition, totals.segment)).unwrap_or_default();
        let mut said = Amounts::new();
        for total in &totals.amounts {
            add(&mut said, &total.currency, parse_money(&total.amount)?)?;
        }
        // A segment whose lines are free says zero, or nothing: the same.
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
                "partition {}, segment {}: {} lines {:?} came, its totals say {} lines {:?}",
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

    /// Segments that came whole and match.
    pub(crate) const fn reconciled(&self) -> u64 {
        self.reconciled
    }

    /// Segments of which an earlier pull had the first lines.
    pub(crate) const fn in_part(&self) -> u64 {
        self.in_part
    }

    /// What does not match.
    pub(crate) fn mismatches(&self) -> &[String] {
        &self.mismatches
    }

    /// Sums by currency.
    pub(crate) fn amounts(&self) -> BTreeMap<String, String> {
        self.amounts.iter().map(|(currency, sum)| (currency.clone(), sum.to_string())).collect()
    }
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

/// An amount as the feed writes it: `-12.345000000`, up to nine decimals.
pub(crate) fn parse_money(text: &str) -> anyhow::Result<Money> {
    let wrong = || anyhow!("{text:?} is no amount");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(part) || part.len() > 9 {
        return Err(wrong());
    }
    let whole: i128 = whole.parse().map_err(|_| wrong())?;
    let part: i128 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    let nanos = whole.checked_mul(1_000_000_000).and_then(|nanos| nanos.checked_add(part));
    nanos.and_then(|nanos| Money::from_nanos(sign * nanos)).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_proto::feed::v1::{ChargeLine, CurrencyTotal};

    use super::*;

    #[test]
    fn amounts_are_read_as_they_are_written() {
        for text in ["10.000000000", "-0.000000001", "0.000000000"] {
            assert_eq!(parse_money(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_money("1.5").unwrap().to_string(), "1.500000000");
        for wrong in
            ["", "-", ".5", "5.", "1e3", "1.0000000001", "99999999999999999999999999999999"]
        {
            assert!(parse_money(wrong).is_err(), "{wrong}");
        }
    }

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
    fn a_segment_that_differs_from_its_totals_is_told_unless_it_was_begun_before() {
        let begun = Cursor { partition: 1, segment: 4, row: 2, ..Cursor::default() };
        let mut totals = Totals::new([&begun].into_iter());
        totals.count(&page(4, &["1.0"], "3.0", 3)).unwrap();
        totals.count(&page(5, &["1.0", "0.5"], "1.500000000", 2)).unwrap();
        totals.count(&page(6, &[], "0.000000000", 0)).unwrap();
        assert!(totals.mismatches().is_empty());
        assert_eq!((totals.reconciled(), totals.in_part()), (2, 1));
        totals.count(&page(7, &["1.0"], "1.000000001", 1)).unwrap();
        totals.count(&page(8, &["1.0"], "1.0", 2)).unwrap();
        assert_eq!(totals.mismatches().len(), 2);
        assert_eq!(totals.amounts()["USD"], "4.500000000");
    }
}
