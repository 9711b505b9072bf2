//! Parses any text as a plan. The parser must not panic, and a text that it accepts must also be
//! accepted a second time, and by the rules for published plans.
//!
//! If the plan compiles with its default values, both parses must give the same content hash, and
//! rating a record by the plan must not panic. A plan that does not compile with its defaults must
//! have parameters and a warning.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use turnpike_plan::{AccountContext, AccountState, PlanInForce, Rater, Zone, compile, parse, parse_published};
use turnpike_types::{AccountNumber, Timestamp, UsageView};

fuzz_target!(|xml: &str| {
    let Ok(plan) = parse(xml) else { return };
    let again = parse(xml).expect("a plan that was read is read again");
    parse_published(xml).expect("what may be published is read as published");
    let Ok(code) = compile(&plan, &BTreeMap::new()) else {
        assert!(!plan.warnings().is_empty() && !plan.parameters().is_empty());
        return;
    };
    assert_eq!(plan.content_hash(), again.content_hash());
    let account = AccountContext {
        zone: Zone::utc(),
        cycle_day: 31,
        currency: code.posts(),
        attributes: BTreeMap::new(),
    };
    let tables = vec![None; code.tables().len()];
    let plans = [PlanInForce { tables: &tables, ..PlanInForce::always(&code) }];
    let record = UsageView {
        record_id: "r",
        account: AccountNumber(1),
        usage_type: "octets",
        start: Timestamp(1_772_427_600_000_000),
        duration_us: 40 * 86_400_000_000,
        quantity: Some(1_000_000_000_000_000),
        measures: &[],
        attributes: &[("ip", "192.0.2.1"), ("source", "a"), ("status", "200"), ("target", "b")],
    };
    // A rated record and a suspended record are both correct; only a panic is a fault.
    let _ = Rater::new().rate(&plans, &account, &AccountState::default(), &record, Timestamp::MIN);
});
