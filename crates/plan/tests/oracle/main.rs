//! Compiled code against an interpreter that really loops unit by unit (PLANS section 1).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod buckets;
mod clock;
mod dice;
mod draft;
mod drawn;
mod hard;
mod naive;
mod pricing;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod types;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use clock::HOLIDAYS;
use dice::Dice;
use draft::{Draft, Of};
use naive::Naive;
use proptest::prelude::*;
use scene::{a_beginning, a_record, a_state, an_account};
use support::with_view;
use turnpike_plan::{ObjectCode, PlanInForce, Rater, Table, compile, parse, parse_table};
use turnpike_types::{SuspenseReason, Timestamp};

/// The table `h` for whatever tables a plan reads.
fn tables_of(code: &ObjectCode) -> Vec<Option<Arc<Table>>> {
    let rows = HOLIDAYS.iter().map(|(date, place)| format!("{date},special,{place}\n"));
    let head = "# turnpike-table id=h kind=holidays version=1 starts=2000-01-01\ndate,name,place\n";
    let table = parse_table(&format!("{head}{}", rows.collect::<String>())).unwrap();
    let table = Arc::new(table);
    code.tables().iter().map(|_| Some(Arc::clone(&table))).collect()
}

/// So many cases, unless `PROPTEST_CASES` says otherwise.
fn cases(usual: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { usual };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(cases(3000))]

    /// Random plans, records one after another, with a rater that is never new.
    #[test]
    fn compiled_code_does_what_pushing_the_units_one_by_one_does(
        bytes in proptest::collection::vec(any::<u8>(), 900),
    ) {
        let dice = &mut Dice::new(&bytes);
        let draft = Draft::random(Of::Everything, dice);
        let measure = draft.measure;
        let xml = draft.xml(dice);
        let plan = parse(&xml).map_err(|errors| TestCaseError::fail(format!("{errors}\n{xml}")))?;
        let code = compile(&plan, &BTreeMap::new()).unwrap();
        let (account, edge) = an_account(dice);
        let since = a_beginning(edge, dice);
        let mut state = a_state(&plan, &code, &account, (edge, since), dice);
        let tables = tables_of(&code);
        let mut rater = Rater::new();
        for _ in 0..1 + dice.throw(5) {
            let record = a_record(measure, edge, dice);
            let naive = Naive { plan: &plan, code: &code, account: &account, state: &state, record: &record, since };
            let plans = [PlanInForce { tables: &tables, since, ..PlanInForce::always(&code) }];
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
