//! Once warm, rating a record allocates nothing, however many lines it makes.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use support::{Subscriber, session, with_view};
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
        // `with_view` itself borrows two empty lists.
        assert_eq!(counted.count_total, 0, "{lines} lines");
    }
}
