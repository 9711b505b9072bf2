//! Compiled code against an interpreter that really loops unit by unit (PLANS section 1).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod naive;
mod random;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use naive::Naive;
use proptest::prelude::*;
use random::{Dice, Draft, a_beginning, a_record, a_state, an_account};
use support::with_view;
use turnpike_plan::{PlanInForce, Rater, compile, parse};
use turnpike_types::{SuspenseReason, Timestamp};

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random plans, records one after another, with a rater that is never new.
    #[test]
    fn compiled_code_does_what_pushing_the_units_one_by_one_does(
        bytes in proptest::collection::vec(any::<u8>(), 400),
    ) {
        let dice = &mut Dice::new(&bytes);
        let draft = Draft::random(dice);
        let measure = draft.measure;
        let xml = draft.xml(dice);
        let plan = parse(&xml).map_err(|errors| TestCaseError::fail(format!("{errors}\n{xml}")))?;
        let code = compile(&plan, &BTreeMap::new()).unwrap();
        let (account, edge) = an_account(dice);
        let since = a_beginning(edge, dice);
        let mut state = a_state(&code, edge, dice);
        let mut rater = Rater::new();
        for _ in 0..1 + dice.throw(5) {
            let record = a_record(measure, edge, dice);
            let naive = Naive { plan: &plan, code: &code, account: &account, state: &state, record: &record, since };
            let plans = [PlanInForce { since, ..PlanInForce::always(&code) }];
            let rated = with_view(&record, |view| rater.rate(&plans, &account, &state, view, Timestamp::MIN).cloned());
            match (naive.rate(), rated) {
                (_, Err(SuspenseReason::NotAccepted)) => prop_assert!(!code.accepts(&record.usage_type)),
                (Ok((lines, changes)), Ok(rated)) => {
                    prop_assert_eq!(&lines, &rated.lines, "\n{:#?}\n{}\n{:?}", &account.zone, &xml, &record);
                    prop_assert_eq!(&changes, &rated.changes, "\n{:#?}\n{}\n{:?}", &account.zone, &xml, &record);
                    state.apply(&rated.changes);
                }
                (naive, rated) => prop_assert_eq!(naive.err(), rated.err(), "\n{}\n{:?}", &xml, &record),
            }
        }
    }
}
