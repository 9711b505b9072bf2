//! After the first records, rating a record allocates nothing, whatever the number of its charge
//! lines.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use support::{Subscriber, event, plan, session, with_view};
use turnpike_plan::PlanInForce;

#[test]
fn a_record_of_fig_6b_allocates_nothing_once_the_rater_is_warm() {
    let mut subscriber = Subscriber::new(include_str!("data/fig6b.xml"), "America/New_York");
    let sessions = [
        session("connect-time", "2026-03-02T10:00:00Z", "2026-03-02T11:00:00Z"),
        session("connect-time", "2026-03-02T10:00:00Z", "2026-03-07T09:00:00Z"),
        session("connect-time", "2026-03-28T10:00:00Z", "2026-04-02T09:00:00Z"),
        session("connect-time", "2026-03-28T10:00:00Z", "2026-03-28T10:00:00Z"),
    ];
    for session in sessions.iter().cycle().take(12) {
        subscriber.rate(session).unwrap();
    }
    for session in &sessions {
        let Subscriber { plans, account, state, rater, now } = &mut subscriber;
        let plans = [PlanInForce::always(&plans[0])];
        let mut lines = 0;
        let counted = allocation_counter::measure(|| {
            with_view(session, |view| {
                lines = rater.rate(&plans, account, state, view, *now).unwrap().lines.len();
            });
        });
        // The test helper `with_view` allocates one list if the record has measures. The rater must
        // allocate nothing.
        let listed = u64::from(!session.measures.is_empty());
        assert_eq!(counted.count_total, listed, "{lines} lines");
    }
}

/// docs/plan-semantics.md section 5: an account with bonuses also keeps totals of its charges and
/// bonuses.
#[test]
fn a_record_of_an_account_with_bonuses_allocates_nothing() {
    let graph = r#"<StepRater id="r" in="record.quantity"><step id="units" price="0.01" per="1"/></StepRater>
        <CostResponsibilityMatrix id="m" in="r.charge">
          <party id="me" account="self"/><party id="ad" account="902"/><row shares="ad=3 me=1"/>
        </CostResponsibilityMatrix>
        <BonusCredit id="b" in="m.others"><grant from="902" to="self" percent="50"/></BonusCredit>
        <AccountFinalizer id="mine" in="m.own"/><SecondAccountFinalizer id="theirs" in="b.charge"/>"#;
    let mut subscriber = Subscriber::new(&plan(graph), "UTC");
    let access = event("access", "2026-03-02T10:00:00Z", 400);
    let changes = subscriber.rate(&access).unwrap().changes;
    assert_eq!(changes.len(), 2, "all that is posted, and what of it was granted");
    subscriber.rate(&access).unwrap();
    let Subscriber { plans, account, state, rater, now } = &mut subscriber;
    let plans = [PlanInForce::always(&plans[0])];
    let counted = allocation_counter::measure(|| {
        with_view(&access, |view| {
            rater.rate(&plans, account, state, view, *now).unwrap();
        });
    });
    assert_eq!(counted.count_total, 0);
}
