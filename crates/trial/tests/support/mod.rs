//! Plans, records and accounts that the tests share.

#![allow(dead_code)]

use std::collections::BTreeMap;

use turnpike_plan::{AccountContext, Plan, Zone};
use turnpike_trial::{Charges, Trial, TrialAccount, TrialOutcome};
use turnpike_types::{AccountNumber, Timestamp, UsageRecord};

pub(crate) fn parsed(xml: &str) -> Plan {
    turnpike_plan::parse(xml).unwrap_or_else(|errors| panic!("{errors}\n{xml}"))
}

/// The XML of a plan with a price of 1.00 for each of the first ten hours of a month, 0.50 for each
/// further hour, and a setup charge of 10.00.
pub(crate) fn hourly(version: u32, starts: &str, more: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="hourly" version="{version}" starts="{starts}" currency="USD">
  <parameter id="price" type="money" value="1.00"/>
  <graph>
    <UsageTypeSelector id="online" in="record.duration" types="connect-time"/>
    <OneTimeCharge id="setup" trigger="online.pass" amount="10.00" due="first-use"/>
    <MonthlyAccumulator id="hours" in="online.pass"/>
    <StepRater id="rate" in="hours.out" level="hours.total">
      <step id="first" upto="10 h" price="$price" per="1 h"/>
      <step id="more" price="0.50" per="1 h"/>
    </StepRater>
    <Adder id="sum" in="setup.charge rate.charge"/>
    <AccountFinalizer id="post" in="sum.charge"/>
  </graph>
{more}
</plan>"#
    )
}

pub(crate) fn at(text: &str) -> Timestamp {
    turnpike_collect::parse_instant(text).unwrap()
}

/// A record of connect time that lasts this number of hours.
pub(crate) fn session(account: u64, id: &str, start: &str, hours: i64) -> UsageRecord {
    UsageRecord {
        record_id: id.to_owned(),
        account: AccountNumber(account),
        usage_type: "connect-time".to_owned(),
        start: at(start),
        duration_us: hours * 3_600_000_000,
        ..UsageRecord::default()
    }
}

pub(crate) fn settings(zone: &str) -> AccountContext {
    AccountContext {
        zone: Zone::parse(zone).unwrap(),
        cycle_day: 1,
        currency: "USD".parse().unwrap(),
        attributes: BTreeMap::new(),
    }
}

pub(crate) fn account(zone: &str) -> TrialAccount {
    TrialAccount::new(settings(zone))
}

/// The text `COMPONENT QUANTITY AMOUNT` of each line.
pub(crate) fn lines(charges: &Charges<'_>) -> Vec<String> {
    let shown = charges.iter().map(|charge| {
        let hours = charge.line.quantity / 3_600_000_000;
        format!("{} {hours} h {}", charge.component.component, charge.line.amount)
    });
    shown.collect()
}

/// The lines of a record that was rated.
#[track_caller]
pub(crate) fn rated(outcome: TrialOutcome<'_>) -> Vec<String> {
    match outcome {
        TrialOutcome::Rated(charges) => lines(&charges),
        other => panic!("{other:?}"),
    }
}

/// The text `DATE KIND: COMPONENT QUANTITY AMOUNT` of each line that fell due since the last call.
pub(crate) fn due(trial: &mut Trial) -> Vec<String> {
    let mut shown = Vec::new();
    for due in trial.take_due() {
        let lines = lines(&due.charges().unwrap());
        shown.extend(lines.iter().map(|line| format!("{} {}: {line}", due.date(), due.what)));
    }
    shown
}
