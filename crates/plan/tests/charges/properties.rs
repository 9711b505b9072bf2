//! Properties that hold for any input, compared with naive recomputation.

use proptest::prelude::*;

use super::{Subscription, UNITS};
use crate::support::{event, plan};

/// n/d rounded to the nearest integer, halves to even; d is positive.
fn half_even(n: i128, d: i128) -> i128 {
    let (floor, part) = (n.div_euclid(d), n.rem_euclid(d));
    match (2 * part).cmp(&d) {
        std::cmp::Ordering::Less => floor,
        std::cmp::Ordering::Greater => floor + 1,
        std::cmp::Ordering::Equal => floor + floor.rem_euclid(2),
    }
}

/// A table of tax rates in thousandths of a percent, each with a flag that says whether the tax
/// compounds.
fn table(rates: &[(u32, bool)]) -> String {
    let mut text =
        "# turnpike-table id=taxes kind=tax version=1 starts=2026-01-01\nplace,tax,rate,compound\n"
            .to_owned();
    for (n, (rate, compound)) in rates.iter().enumerate() {
        let compound = if *compound { "yes" } else { "no" };
        text += &format!("here,t{n},{}.{:03},{compound}\n", rate / 1000, rate % 1000);
    }
    text
}

fn taxed(prices: &str, rates: &[(u32, bool)], digits: u32) -> Subscription {
    let xml = plan(&format!(
        "{UNITS}<TaxCalculator id=\"tax\" in=\"units.charge\" table=\"taxes\" prices=\"{prices}\"/>
        <AccountFinalizer id=\"post\" in=\"tax.charge\"/>"
    ));
    let round = format!("currency=\"USD\" round=\"{digits} half-even\"");
    let mut account = Subscription::new(&xml.replace("currency=\"USD\"", &round), &[&table(rates)]);
    account.account.attributes.insert("tax-place".to_owned(), "here".to_owned());
    account
}

proptest! {
    #![proptest_config(test_cases::cases(256))]

    /// docs/plan-semantics.md section 3: each tax applies to the rounded line, and if it compounds
    /// also to the rounded taxes before it.
    #[test]
    fn taxes_on_top_equal_their_definition(
        quantity in 1i64..1 << 40,
        rates in proptest::collection::vec((0u32..30_000, any::<bool>()), 1..=8),
        digits in 2u32..=9,
    ) {
        let rated = taxed("exclusive", &rates, digits).rate(&event("t", "2026-03-01T00:00:00Z", quantity)).unwrap();
        let step = 10i128.pow(9 - digits);
        let net = i128::from(quantity) * 10_000_000;
        let mut expected = vec![net];
        let mut sum = net;
        for (rate, compound) in rates {
            let base = if compound { sum } else { net };
            let tax = half_even(base * i128::from(rate), 100_000 * step) * step;
            expected.push(tax);
            sum += tax;
        }
        let amounts: Vec<i128> = rated.lines.iter().map(|line| line.amount.nanos()).collect();
        prop_assert_eq!(amounts, expected);
    }

    /// docs/plan-semantics.md section 3: the tax is rounded, and the net is the difference; each
    /// tax is the rounded part of the gross in exact arithmetic over one common denominator.
    #[test]
    fn taxes_within_and_the_net_add_up_to_the_gross(
        quantity in 0i64..1 << 20,
        rates in proptest::collection::vec((0u32..30_000, any::<bool>()), 1..=3),
        digits in 2u32..=9,
    ) {
        let rated = taxed("inclusive", &rates, digits).rate(&event("t", "2026-03-01T00:00:00Z", quantity)).unwrap();
        let gross = i128::from(quantity) * 10_000_000;
        prop_assert_eq!(Subscription::sum(&rated), gross);
        if quantity > 0 {
            let step = 10i128.pow(9 - digits);
            // The net amount is set to 100,000^n for n taxes, so that each tax is a whole number.
            let one = 100_000i128.pow(rates.len() as u32);
            let (mut whole, mut parts) = (one, Vec::new());
            for (rate, compound) in &rates {
                let base = if *compound { whole } else { one };
                // The division is exact: `base` contains a factor of 100,000 for this tax and for
                // each tax that follows.
                let part = base / 100_000 * i128::from(*rate);
                parts.push(part);
                whole += part;
            }
            let steps = gross / step;
            let taxes: Vec<i128> = parts.iter().map(|part| half_even(steps * part, whole) * step).collect();
            let booked: Vec<i128> = rated.lines.iter().skip(2).map(|line| line.amount.nanos()).collect();
            prop_assert_eq!(booked, taxes);
        }
    }

    /// The sum posted in a period never exceeds the cap, credits included: it is the lesser of the
    /// cap and the sum without the cap.
    #[test]
    fn a_cap_is_never_exceeded(
        records in proptest::collection::vec((0i64..60, 1u32..29, any::<bool>()), 1..40),
        cap in 0i64..200,
    ) {
        let cents = format!("{}.{:02}", cap / 100, cap % 100);
        let xml = plan(&format!(
            r#"<UsageTypeSelector id="t" in="record.quantity" types="use"/>
            <StepRater id="units" in="t.pass"><step id="units" price="0.01" per="1"/></StepRater>
            <StepRater id="back" in="t.rest"><step id="back" price="0.01" per="1"/></StepRater>
            <Discount id="off" in="back.charge" percent="100"/>
            <Discount id="again" in="off.charge" percent="100"/>
            <Discount id="credit" in="units.charge" percent="30"/>
            <Cap id="cap" in="credit.charge again.charge" amount="{cents}" per="day"/>
            <AccountFinalizer id="post" in="cap.charge"/>"#
        ));
        let mut account = Subscription::new(&xml, &[]);
        let mut days: std::collections::BTreeMap<u32, (i128, i128)> = Default::default();
        for (quantity, day, credit) in records {
            let kind = if credit { "credit" } else { "use" };
            let record = event(kind, &format!("2026-03-{day:02}T12:00:00Z"), quantity);
            let rated = account.rate(&record).unwrap();
            let capped = |line: &&turnpike_plan::ChargeLine| {
                account.code.components()[usize::from(line.component)].primitive == "cap"
            };
            let corrections: i128 =
                rated.lines.iter().filter(capped).map(|line| line.amount.nanos()).sum();
            let posted = Subscription::sum(&rated);
            let (raw, paid) = days.entry(day).or_default();
            *raw += posted - corrections;
            *paid += posted;
            let limit = i128::from(cap) * 10_000_000;
            prop_assert!(*paid <= limit);
            prop_assert_eq!(*paid, (*raw).min(limit));
        }
    }

    /// A minimum and a commitment raise a sum to their amount, and no further.
    #[test]
    fn a_topped_up_sum_equals_the_minimum(quantity in 1i64..2000, least in 0i64..2000) {
        let amount = format!("{}.{:02}", least / 100, least % 100);
        let mut account = Subscription::behind_units(
            &format!("<Minimum id=\"held\" in=\"units.charge\" amount=\"{amount}\"/>"), "held", &[],
        );
        let rated = account.rate(&event("t", "2026-03-01T12:00:00Z", quantity)).unwrap();
        prop_assert_eq!(Subscription::sum(&rated), i128::from(quantity.max(least)) * 10_000_000);
        let graph = format!("<Commitment id=\"held\" in=\"units.charge\" amount=\"{amount}\"/>");
        let mut account = Subscription::behind_units(&graph, "held", &[]);
        account.since = turnpike_types::Timestamp(super::micros("2026-03-01T00:00:00Z"));
        let before = account.rate(&event("t", "2026-03-01T12:00:00Z", quantity)).unwrap();
        let fell = account.sweep("2026-04-03T00:00:00Z");
        let all = Subscription::sum(&before) + Subscription::sum(&fell[0].1);
        prop_assert_eq!(all, i128::from(quantity.max(least)) * 10_000_000);
    }

    /// The same records from the same state give the same lines and the same state.
    #[test]
    fn a_replay_gives_the_same_charges(
        quantities in proptest::collection::vec(0i64..5000, 1..20), again in 0usize..20,
    ) {
        let graph = r#"<Discount id="off" in="units.charge" percent="12.5"/>
            <Minimum id="least" in="off.charge" amount="0.75"/>
            <Cap id="cap" in="least.charge" amount="60" per="week"/>
            <Commitment id="held" in="cap.charge" amount="100"/>
            <TaxCalculator id="tax" in="held.charge" table="taxes" prices="inclusive"/>"#;
        let make = || {
            let mut account =
                Subscription::behind_units(graph, "tax", &[&table(&[(8_100, false), (1_000, true)])]);
            account.account.attributes.insert("tax-place".to_owned(), "here".to_owned());
            account
        };
        let records: Vec<_> = quantities
            .iter()
            .enumerate()
            .map(|(n, quantity)| event("t", &format!("2026-03-{:02}T12:00:00Z", n + 1), *quantity))
            .collect();
        let again = again.min(records.len());
        let mut first = make();
        for record in &records[..again] {
            first.rate(record).unwrap();
        }
        // Another node continues from the stored state, and books the same lines.
        let mut second = make();
        second.state = first.state.clone();
        for record in &records[again..] {
            prop_assert_eq!(first.rate(record).unwrap(), second.rate(record).unwrap());
        }
        prop_assert_eq!(first.state, second.state);
    }

    /// A plan with bytes changed, lost or repeated is refused or compiles; it never causes a panic.
    #[test]
    fn no_damaged_plan_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..30, "[ -~]{0,6}"), 1..4),
    ) {
        let mut text = everything();
        for (at, length, with) in edits {
            let from = at.index(text.len());
            let to = (from + length).min(text.len());
            text.replace_range(from..to, &with);
        }
        if let Ok(plan) = turnpike_plan::parse(&text) {
            prop_assert!(turnpike_plan::compile(&plan, &Default::default()).is_ok());
        }
    }

    /// For any numbers in a record or a state, rating succeeds or suspends, and a suspended record
    /// changes no state.
    #[test]
    fn no_number_panics_the_rater(quantity in 0i64.., values in proptest::collection::vec(any::<i128>(), 4)) {
        let mut account = Subscription::new(&everything(), &[&table(&[(8_100, false), (1_000, true)])]);
        account.account.attributes.insert("tax-place".to_owned(), "here".to_owned());
        account.since = turnpike_types::Timestamp(super::micros("2026-03-01T00:00:00Z"));
        let mut record = event("t", "2026-03-01T12:00:00Z", quantity);
        record.attributes.insert("source".to_owned(), "page".to_owned());
        prop_assert!(account.rate(&event("t", "2026-03-01T12:00:00Z", 5)).is_ok());
        for (entry, value) in account.state.clone().iter().zip(values) {
            account.state.set(turnpike_plan::StateEntry { value, ..*entry });
        }
        let before = account.state.clone();
        if account.rate(&record).is_err() {
            prop_assert_eq!(before, account.state);
        }
    }
}

/// A plan with every primitive on charges. All its charges are posted in one currency.
fn everything() -> String {
    plan(&format!(
        r#"{UNITS}
        <Discount id="off" in="units.charge" percent="12.5"/>
        <Minimum id="least" in="off.charge" amount="0.75"/>
        <Cap id="cap" in="least.charge" amount="60" per="week"/>
        <Commitment id="held" in="cap.charge" amount="100"/>
        <TaxCalculator id="tax" in="held.charge" table="taxes" prices="inclusive"/>
        <CostResponsibilityMatrix id="m" in="tax.charge" failed="rows">
          <party id="me" account="self"/><party id="ad" account="902"/><party id="x" account="payer"/>
          <row source="p?ge*" status="2xx|404" shares="ad=60 x=40"/><row shares="me=1 ad=2"/>
        </CostResponsibilityMatrix>
        <BonusCredit id="b" in="m.others"><grant source="*" from="902" to="self" percent="5"/></BonusCredit>
        <CurrencyConverter id="c" in="b.charge" to="account" table="daily"/>
        <AccountFinalizer id="mine" in="m.own"/>
        <SecondAccountFinalizer id="theirs" in="c.charge"/>"#
    ))
}
