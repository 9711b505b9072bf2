//! The state of an owner that logs, and the state after a replay of its log, have the same bytes
//! (I4).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use proptest::collection::vec;
use proptest::prelude::*;
use turnpike_account::{
    AccountChange, Location, LoggedTime, PartitionState, ReplayError, WaitingKey, fingerprint,
};
use turnpike_mutants::{Check, all_caught};
use turnpike_plan::{Period, StateEntry, VariableId};
use turnpike_segment::head::{
    Cancellation, Change, ComponentHead, Offer, OptOut, Pick, PostingCursor, Settings, Subscription,
};
use turnpike_segment::{LineKind, NewLine, NewRecord, SealContext, Segment, SegmentBuilder};
use turnpike_types::{
    AccountNumber, Epoch, Money, Outcome, PartitionId, Posting, SegmentHash, SegmentNumber,
    SuspenseReason, Timestamp, UsageView,
};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const LEVEL: u64 = 55;

fn settings() -> Settings {
    Settings {
        from_us: i64::MIN,
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    }
}

/// An owner: a state, and the log that it writes.
struct Owner {
    state: PartitionState,
    builder: SegmentBuilder,
    time: LoggedTime,
    log: Vec<(SegmentHash, SegmentHash, Segment)>,
}

impl Owner {
    fn new() -> Self {
        let (state, builder) = (PartitionState::default(), SegmentBuilder::new());
        let time = LoggedTime::default().advance(Timestamp(0), 5 * HOUR, None);
        Self { state, builder, time, log: Vec::new() }
    }

    fn number(&self) -> SegmentNumber {
        SegmentNumber(self.log.len() as u64 + 1)
    }

    /// Checks a change, and applies and logs it if it is valid.
    fn command(&mut self, account: AccountNumber, change: Change) -> AccountChange {
        let change = self.state.as_logged(account, change);
        let judged = self.state.judge(account, &change);
        if judged == AccountChange::Changes {
            self.state.change(account, &change);
            self.builder.push_entry(account, change);
        }
        judged
    }

    /// Logs a record of an open account. Unless it is suspended, it has a line with a level, and a
    /// variable change.
    fn record(&mut self, account: AccountNumber, id: &str, outcome: Outcome, value: i64) {
        let view = UsageView {
            record_id: id,
            account,
            usage_type: "octets",
            // Some starts are before the floor, as those of late due charges may be.
            start: if value % 3 == 0 { Timestamp(0) } else { self.time.now },
            duration_us: 0,
            quantity: Some(1),
            measures: &[],
            attributes: &[],
        };
        let row = self.builder.push_record(&NewRecord { view, identity: "", outcome }).unwrap();
        let location = Location::new(self.number(), row);
        if !matches!(outcome, Outcome::FellDue | Outcome::Posted) {
            self.state.take_fingerprint(fingerprint(account, "", id), location, None);
        }
        if let Outcome::Suspended(reason) = outcome {
            let (identity, record_id) = (String::new(), id.to_owned());
            self.state.suspend(WaitingKey { account, identity, record_id }, location, reason);
            return;
        }
        let head = ComponentHead {
            currency: "USD".to_owned(),
            kind: LineKind::Adjustment.number(),
            level: Some(LEVEL),
            ..ComponentHead::default()
        };
        let component = self.builder.add_component(head, "USD".parse().unwrap()).unwrap();
        let period = i32::try_from(value % 5).unwrap();
        self.builder.push_line(&NewLine {
            component,
            quantity: 1,
            first_unit: 0,
            period,
            level_before: 0,
            level_after: i128::from(value),
            amount: Money::from_nanos(i128::from(-value)).unwrap(),
            of: None,
            posting: Posting::Tentative,
            row: None,
        });
        self.builder.push_change(77, period, i128::from(value)).unwrap();
        let entry = |variable| StateEntry {
            variable: VariableId(variable),
            period: Period(period),
            value: i128::from(value),
        };
        self.state.set_variables(account, [entry(LEVEL), entry(77)], view.start, self.time.floor);
    }

    /// Appends the segment, and begins the next one `later_us` later.
    fn seal(&mut self, later_us: i64) {
        let prev_hash = self.state.last().1;
        let context = SealContext {
            partition: PartitionId(1),
            segment: self.number(),
            epoch: Epoch::stored(1),
            prev_hash,
            now: self.time.now,
            floor: self.time.floor,
            catalogue_version: 0,
        };
        let sealed = std::mem::take(&mut self.builder).seal(&context).unwrap();
        self.state.advance(context.segment, sealed.hash, self.time);
        let segment = Segment::decode(&sealed.body).unwrap();
        self.log.push((prev_hash, sealed.hash, segment));
        let clock = self.time.now.saturating_add(later_us);
        self.time = self.time.advance(clock, 5 * HOUR, None);
    }

    fn replayed(&self, mut state: PartitionState) -> PartitionState {
        for (prev, hash, segment) in
            self.log.iter().skip(usize::try_from(state.last().0.0).unwrap())
        {
            state.replay(segment, *prev, *hash).unwrap();
        }
        state
    }
}

fn plan(number: i64) -> String {
    format!("plan-{}", number % 4)
}

/// Sends one request to the owner, which accepts or refuses it.
fn step(owner: &mut Owner, account: u64, what: u8, number: i64) {
    let account = AccountNumber(account);
    let option = format!("option-{}", number % 2);
    let at_us = number * DAY;
    let id = || format!("r{number}");
    let cursor = |hash| PostingCursor {
        sender: 1 + account.0 as u32 % 2,
        segment: (number / 4).unsigned_abs(),
        ordinal: (number % 4) as u32,
        hash: vec![hash; 32],
    };
    match what % 11 {
        0 => owner.record(account, &id(), Outcome::Rated, number),
        1 => owner.record(account, &id(), Outcome::RatedLate, number),
        2 => owner.record(account, &id(), Outcome::FellDue, number),
        3 => owner.record(account, &id(), Outcome::Posted, number),
        4 => owner.record(account, &id(), Outcome::Suspended(SuspenseReason::NoRate), number),
        5 => {
            let new = Subscription {
                plan_id: plan(number),
                from_us: at_us,
                until_us: i64::MAX,
                ..Subscription::default()
            };
            owner.command(account, Change::Subscribed(new));
        }
        6 => {
            let end = Cancellation { plan_id: plan(number), at_us };
            owner.command(account, Change::Cancelled(end));
        }
        7 => {
            let plans = vec![plan(number), plan(number + 1)];
            let fee = "1.000000000".to_owned();
            let offer = Offer { option, plans, fee, from_us: at_us, priority: 2 };
            owner.command(account, Change::Offered(offer));
        }
        8 => {
            // 1970-01-01, -02-01 or -03-01.
            let cycle = [0, 31, 59][(number % 3) as usize];
            owner.command(account, Change::Picked(Pick { option, plan_id: plan(number), cycle }));
        }
        9 => {
            let end = OptOut { option, plan_id: plan(number), at_us };
            owner.command(account, Change::OptedOut(end));
        }
        _ => {
            owner.command(AccountNumber(0), Change::PostingsTaken(cursor(6)));
        }
    }
}

proptest! {
    #[test]
    fn i4_live_changes_and_a_replay_give_the_same_state(
        segments in vec(vec((1u64..4, any::<u8>(), 0i64..90), 1..15), 1..10),
    ) {
        let mut owner = Owner::new();
        for account in 1..4 {
            owner.command(AccountNumber(account), Change::Opened(settings()));
        }
        let mut checkpoints = Vec::new();
        for steps in &segments {
            for &(account, what, number) in steps {
                step(&mut owner, account, what, number);
            }
            owner.seal(HOUR / 2);
            let keys = owner.state.key_run().parts.remove(0);
            checkpoints.push((owner.state.snapshot(&|| ()).bytes, keys));
        }
        let live = owner.state.encode();
        prop_assert_eq!(owner.replayed(PartitionState::default()).encode(), live.clone());
        for (snapshot, keys) in &checkpoints {
            let state = PartitionState::decode(snapshot, &[keys], &|| ()).unwrap();
            prop_assert_eq!(owner.replayed(state).encode(), live.clone());
        }
    }
}

#[test]
fn due_charges_and_postings_have_no_key_and_are_never_suspended() {
    let mut owner = Owner::new();
    let account = AccountNumber(1);
    owner.command(account, Change::Opened(settings()));
    for (id, outcome) in [
        ("due", Outcome::FellDue),
        ("posted", Outcome::Posted),
        ("late", Outcome::RatedLate),
        ("usual", Outcome::Rated),
    ] {
        owner.record(account, id, outcome, 3);
    }
    owner.seal(HOUR);
    let state = owner.replayed(PartitionState::default());
    let keys = |id| state.keys().find(fingerprint(account, "", id)).len();
    assert_eq!(["due", "posted", "late", "usual"].map(keys), [0, 0, 1, 1]);
    assert!(state.suspense().is_empty());
    let value = state.account(account).unwrap().state.get(VariableId(LEVEL), Period(3));
    assert_eq!(value, Some(3), "their lines apply like any");
}

fn cursor(segment: u64, ordinal: u32, hash: u8) -> PostingCursor {
    PostingCursor { sender: 9, segment, ordinal, hash: vec![hash; 32] }
}

#[test]
fn p33_a_sender_s_postings_are_taken_in_its_order_and_once() {
    let mut owner = Owner::new();
    let nobody = AccountNumber(0);
    let sender = PartitionId(9);
    let at_its_beginning = PostingCursor { sender: 9, ..PostingCursor::default() };
    assert_eq!(owner.state.posting_cursor(sender), at_its_beginning);
    let mut take = |cursor| owner.command(nobody, Change::PostingsTaken(cursor));
    assert_eq!(take(cursor(5, 2, 1)), AccountChange::Changes);
    assert_eq!(take(cursor(5, 2, 1)), AccountChange::Already);
    assert_eq!(take(cursor(5, 7, 1)), AccountChange::Changes);
    assert!(matches!(take(cursor(5, 3, 1)), AccountChange::Refused(_)), "back");
    assert!(matches!(take(cursor(4, 9, 1)), AccountChange::Refused(_)), "back");
    // P18: the same segment with another hash is another history.
    let diverged = take(cursor(5, 8, 2));
    assert!(matches!(&diverged, AccountChange::Refused(why) if why.contains("diverged")));
    assert_eq!(take(cursor(6, 0, 3)), AccountChange::Changes);
    assert!(matches!(take(PostingCursor::default()), AccountChange::Refused(_)), "no hash");
    let of_an_account = Change::PostingsTaken(cursor(7, 0, 3));
    assert!(matches!(
        owner.state.judge(AccountNumber(4), &of_an_account),
        AccountChange::Refused(_)
    ));
    owner.seal(HOUR);
    let state = owner.replayed(PartitionState::default());
    assert_eq!(state.posting_cursor(sender), cursor(6, 0, 3));
    let other = state.posting_cursor(PartitionId(8));
    assert_eq!((other.sender, other.segment), (8, 0), "each sender has its own");
}

#[test]
fn p33_a_log_whose_cursor_goes_back_is_not_applied() {
    let mut owner = Owner::new();
    for taken in [cursor(5, 2, 1), cursor(5, 1, 1)] {
        owner.builder.push_entry(AccountNumber(0), Change::PostingsTaken(taken));
    }
    owner.seal(HOUR);
    let (prev, hash, segment) = &owner.log[0];
    let refused = PartitionState::default().replay(segment, *prev, *hash);
    assert!(matches!(refused, Err(ReplayError::Nonsense { .. })), "{refused:?}");
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (Check::CursorForward, "p33_a_log_whose_cursor_goes_back_is_not_applied", "Ok"),
        (
            Check::CursorHistory,
            "p33_a_sender_s_postings_are_taken_in_its_order_and_once",
            "diverged",
        ),
    ]);
}
