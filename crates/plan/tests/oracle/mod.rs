//! Compiled code, compared with an interpreter that loops over single units
//! (docs/plan-semantics.md section 1).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod buckets;
mod case;
mod clock;
mod dice;
mod draft;
mod drawn;
mod hard;
mod laws;
mod naive;
mod pricing;
mod scene;
mod types;
mod walk;

use std::sync::Arc;

use case::{Case, Subscriber};
use clock::HOLIDAYS;
use dice::Dice;
use draft::Of;
use naive::Naive;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use turnpike_plan::{ObjectCode, Rater, Table, parse_table};
use turnpike_types::SuspenseReason;

/// The table `h` of random plans, once for every table that the plan reads.
fn tables_of(code: &ObjectCode) -> Vec<Option<Arc<Table>>> {
    let rows = HOLIDAYS.iter().map(|(date, place)| format!("{date},special,{place}\n"));
    let head = "# turnpike-table id=h kind=holidays version=1 starts=2000-01-01\ndate,name,place\n";
    let table = parse_table(&format!("{head}{}", rows.collect::<String>())).unwrap();
    let table = Arc::new(table);
    code.tables().iter().map(|_| Some(Arc::clone(&table))).collect()
}

/// Checks a law on random bytes. `holds` checks one case and returns the number of rated records. A
/// case in which all records are suspended tests nothing, so at least a fifth of the cases must
/// rate some.
fn law(usual: u32, bytes: usize, holds: impl Fn(&[u8]) -> Result<usize, TestCaseError>) {
    let config = test_cases::cases(usual);
    let cases = config.cases as usize;
    let rated = std::cell::Cell::new(0);
    let outcome =
        TestRunner::new(config).run(&proptest::collection::vec(any::<u8>(), bytes), |bytes| {
            let of_this = holds(&bytes)?;
            rated.set(rated.get() + usize::from(of_this > 0));
            Ok(())
        });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(rated.get() * 5 >= cases, "of {cases} cases only {} were rated", rated.get());
}

/// Random plans, with records that one rater rates in sequence.
#[test]
fn compiled_code_equals_pushing_the_units_one_by_one() {
    law(3000, 900, |bytes| {
        let mut of_this = 0;
        let dice = &mut Dice::new(bytes);
        let case = Case::draw(Of::Everything, dice);
        let mut subscriber = case.subscriber.clone();
        let mut rater = Rater::new();
        for _ in 0..1 + dice.throw(5) {
            let record = case.a_record(&subscriber, dice);
            let Subscriber { account, since, state, .. } = &subscriber;
            let naive = Naive {
                plan: &case.plan,
                code: &case.code,
                account,
                state,
                record: &record,
                since: *since,
            };
            let naive = naive.rate();
            match (naive, case.rate(&mut rater, &mut subscriber, &record)) {
                (_, Err(SuspenseReason::NotAccepted)) => {
                    prop_assert!(!case.code.accepts(&record.usage_type))
                }
                (Ok((lines, changes)), Ok(rated)) => {
                    of_this += 1;
                    prop_assert_eq!(&lines, &rated.lines, "{}", case.told(&record));
                    prop_assert_eq!(&changes, &rated.changes, "{}", case.told(&record));
                }
                (naive, rated) => {
                    prop_assert_eq!(naive.err(), rated.err(), "{}", case.told(&record))
                }
            }
        }
        Ok(of_this)
    });
}
