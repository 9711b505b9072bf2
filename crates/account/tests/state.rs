//! A partition's state is a function of the log: every way to build it gives the same bytes (I4).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use proptest::collection::vec;
use proptest::prelude::*;
use turnpike_account::{AccountChange, LoggedTime, PartitionState, ReplayError, WaitingKey};
use turnpike_mutants::{Check, all_caught};
use turnpike_segment::head::{Cancellation, Change, EndMove, Settings, Subscription, SuspenseKey};
use turnpike_segment::{NewRecord, SealContext, Segment, SegmentBuilder};
use turnpike_types::{
    AccountNumber, Epoch, Outcome, PartitionId, SegmentHash, SegmentNumber, SuspenseReason,
    Timestamp, UsageView,
};

const HOUR: i64 = 3_600_000_000;

fn settings(zone: &str) -> Settings {
    Settings {
        from_us: i64::MIN,
        zone: zone.to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    }
}

fn subscription(plan: &str, from_us: i64) -> Subscription {
    Subscription {
        plan_id: plan.to_owned(),
        from_us,
        until_us: i64::MAX,
        priority: 1,
        ..Subscription::default()
    }
}

/// A log under construction.
struct Log {
    segments: Vec<(SegmentHash, SegmentHash, Segment)>,
}

impl Log {
    fn new() -> Self {
        Self { segments: Vec::new() }
    }

    fn push(&mut self, hour: i64, fill: impl FnOnce(&mut SegmentBuilder)) {
        let mut builder = SegmentBuilder::new();
        fill(&mut builder);
        let prev_hash = self.segments.last().map(|(_, hash, _)| *hash).unwrap_or_default();
        let context = SealContext {
            partition: PartitionId(1),
            segment: SegmentNumber(self.segments.len() as u64 + 1),
            epoch: Epoch::stored(1),
            prev_hash,
            now: Timestamp(hour * HOUR),
            floor: Timestamp((hour - 5) * HOUR),
            catalogue_version: 0,
        };
        let sealed = builder.seal(&context).unwrap();
        let segment = Segment::decode(&sealed.body).unwrap();
        self.segments.push((prev_hash, sealed.hash, segment));
    }

    fn replay(&self, state: &mut PartitionState) -> Result<(), ReplayError> {
        for (prev, hash, segment) in &self.segments {
            if segment.header().segment > state.last().0 {
                state.replay(segment, *prev, *hash)?;
            }
        }
        Ok(())
    }
}

fn record(builder: &mut SegmentBuilder, account: u64, id: &str, outcome: Outcome) {
    let view = UsageView {
        record_id: id,
        account: AccountNumber(account),
        usage_type: "octets",
        start: Timestamp(0),
        duration_us: 0,
        quantity: Some(1),
        measures: &[],
        attributes: &[],
    };
    builder.push_record(&NewRecord { view, identity: "", outcome }).unwrap();
}

/// One step of a log: (account, kind of step, record id).
type Step = (u64, u8, u8);

fn fill(builder: &mut SegmentBuilder, steps: &[Step], waiting: &mut Vec<(u64, String)>) {
    for &(account, what, id) in steps {
        let number = AccountNumber(account);
        let id = format!("r{id}");
        match what % 6 {
            0 => builder.push_entry(number, Change::Opened(settings("UTC"))),
            1 => builder.push_entry(number, Change::Subscribed(subscription("p", i64::from(what)))),
            2 => {
                record(builder, account, &id, Outcome::Rated);
                builder.push_change(u64::from(what), 7, i128::from(what)).unwrap();
            }
            3 => {
                let key = (account, id.clone());
                if !waiting.contains(&key) {
                    let outcome = Outcome::Suspended(SuspenseReason::NoPlan);
                    record(builder, account, &id, outcome);
                    waiting.push(key);
                }
            }
            4 => {
                if let Some((account, id)) = waiting.pop() {
                    let key = SuspenseKey { record_id: id.clone(), ..SuspenseKey::default() };
                    builder.push_entry(AccountNumber(account), Change::Recycled(key));
                    record(builder, account, &id, Outcome::Rated);
                }
            }
            _ => {
                if let Some((account, id)) = waiting.last() {
                    let key =
                        SuspenseKey { record_id: id.clone(), reason: 4, ..SuspenseKey::default() };
                    builder.push_entry(AccountNumber(*account), Change::StillSuspended(key));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn i4_any_checkpoint_and_its_tail_give_the_bytes_of_the_whole_log(
        segments in vec(vec((1u64..6, any::<u8>(), 0u8..9), 1..12), 1..12),
    ) {
        let (mut log, mut waiting) = (Log::new(), Vec::new());
        // Variable changes belong to open accounts.
        log.push(1, |builder| {
            (1..6).for_each(|n| builder.push_entry(AccountNumber(n), Change::Opened(settings("UTC"))));
        });
        for (hour, steps) in (2..).zip(&segments) {
            log.push(hour, |builder| fill(builder, steps, &mut waiting));
        }
        let mut whole = PartitionState::default();
        let mut checkpoints = Vec::new();
        for (prev, hash, segment) in &log.segments {
            whole.replay(segment, *prev, *hash).unwrap();
            let run = whole.key_run().parts.remove(0);
            whole.seal_keys(whole.last().0);
            checkpoints.push((whole.snapshot(&|| ()).bytes, run));
        }
        for upto in 1..=checkpoints.len() {
            let snapshot: &Vec<u8> = &checkpoints[upto - 1].0;
            let runs: Vec<&Vec<u8>> = checkpoints[..upto].iter().map(|(_, run)| run).collect();
            let mut state = PartitionState::decode(snapshot, &runs, &|| ()).unwrap();
            log.replay(&mut state).unwrap();
            prop_assert_eq!(state.encode(), whole.encode());
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_an_error_or_another_state_never_a_panic(
        at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let mut log = Log::new();
        log.push(1, |builder| {
            builder.push_entry(AccountNumber(1), Change::Opened(settings("UTC")));
            record(builder, 1, "r", Outcome::Suspended(SuspenseReason::NoPlan));
        });
        let mut state = PartitionState::default();
        log.replay(&mut state).unwrap();
        let mut bytes = state.snapshot(&|| ()).bytes;
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = PartitionState::decode(&bytes, &[] as &[&[u8]], &|| ());
        let _ = PartitionState::decode(&bytes[..at], &[] as &[&[u8]], &|| ());
    }
}

#[test]
fn i3_a_gap_or_a_broken_chain_stops_a_replay() {
    let mut log = Log::new();
    for hour in 1..4 {
        log.push(hour, |builder| record(builder, 1, &hour.to_string(), Outcome::Rated));
    }
    let mut state = PartitionState::default();
    let (prev, hash, first) = &log.segments[0];
    state.replay(first, *prev, *hash).unwrap();
    let (prev, hash, third) = &log.segments[2];
    assert!(matches!(state.replay(third, *prev, *hash), Err(ReplayError::Gap { .. })));
    let (_, hash, second) = &log.segments[1];
    let elsewhere = SegmentHash([9; 32]);
    assert!(matches!(state.replay(second, elsewhere, *hash), Err(ReplayError::Chain(_))));
}

#[test]
fn p26_logged_time_never_goes_back_and_a_backfill_keeps_its_floor() {
    let first = LoggedTime::default().advance(Timestamp(100), 10, None);
    assert_eq!((first.now, first.floor), (Timestamp(100), Timestamp(90)));
    let clock_went_back = first.advance(Timestamp(50), 10, None);
    assert_eq!(clock_went_back, first);
    let longer_horizon = first.advance(Timestamp(101), 90, None);
    assert_eq!(longer_horizon.floor, Timestamp(90), "what was refused stays refused");
    let backfill = LoggedTime::default().advance(Timestamp(100), 10, Some(Timestamp(5)));
    assert_eq!(backfill.floor, Timestamp(5));
}

#[test]
fn an_account_is_opened_once_and_the_same_again_is_no_change() {
    let mut state = PartitionState::default();
    let account = AccountNumber(7);
    let open = Change::Opened(settings("UTC"));
    let subscribe = Change::Subscribed(subscription("p", 0));
    assert!(matches!(state.judge(account, &subscribe), AccountChange::Refused(_)));
    assert_eq!(state.judge(account, &open), AccountChange::Changes);
    state.change(account, &open);
    assert_eq!(state.judge(account, &open), AccountChange::Already);
    let elsewhere = Change::Opened(settings("Asia/Kolkata"));
    assert!(matches!(state.judge(account, &elsewhere), AccountChange::Refused(_)));
    state.change(account, &subscribe);
    assert_eq!(state.judge(account, &subscribe), AccountChange::Already);
    let overlapping = Change::Subscribed(subscription("p", 5));
    assert!(matches!(state.judge(account, &overlapping), AccountChange::Refused(_)));
    let cancel = |at_us| Change::Cancelled(Cancellation { plan_id: "p".to_owned(), at_us });
    assert_eq!(state.judge(account, &cancel(9)), AccountChange::Changes);
    state.change(account, &cancel(9));
    assert_eq!(state.judge(account, &cancel(9)), AccountChange::Already);
    let again = Change::Subscribed(subscription("p", 9));
    assert_eq!(state.judge(account, &again), AccountChange::Changes);
}

/// A release that does not know a kind of change does not skip it: its state would differ (I4).
#[test]
fn i4_an_entry_of_an_unknown_kind_stops_a_replay() {
    let sealed = |until_us| {
        let mut builder = SegmentBuilder::new();
        let end = EndMove { plan_id: "p".to_owned(), from_us: 5, until_us };
        builder.push_entry(AccountNumber(7), Change::EndMoved(end));
        let context = SealContext {
            partition: PartitionId(1),
            segment: SegmentNumber(1),
            epoch: Epoch::stored(1),
            prev_hash: SegmentHash::default(),
            now: Timestamp(0),
            floor: Timestamp(0),
            catalogue_version: 0,
        };
        builder.seal(&context).unwrap().body.to_vec()
    };
    let replayed = |body: Vec<u8>| {
        let segment = Segment::decode(&body.into()).unwrap();
        PartitionState::default().replay(&segment, SegmentHash::default(), SegmentHash([9; 32]))
    };
    let known = sealed(5);
    assert_eq!(replayed(known.clone()), Ok(()));
    // The key of field 14 as one of field 15.
    let (known_key, unknown_key) = ([14 << 3 | 2, 21, 10, 1, b'p'], 15 << 3 | 2);
    let place = known.windows(5).position(|bytes| bytes == known_key).unwrap();
    let mut unknown = known;
    unknown[place] = unknown_key;
    let why = replayed(unknown).unwrap_err().to_string();
    assert!(why.contains("a newer program wrote it"), "{why}");
}

#[test]
fn a_subscription_that_is_cancelled_at_its_start_never_began() {
    let mut state = PartitionState::default();
    let account = AccountNumber(7);
    state.change(account, &Change::Opened(settings("UTC")));
    state.change(account, &Change::Subscribed(subscription("p", 5_000_000)));
    let cancel = |at_us| Change::Cancelled(Cancellation { plan_id: "p".to_owned(), at_us });
    let AccountChange::Refused(why) = state.judge(account, &cancel(4_000_000)) else { panic!() };
    let command = "turnpike account cancel 7 --plan p --at 1970-01-01T00:00:05Z";
    assert!(why.contains(command), "{why}");
    let logged = state.as_logged(account, cancel(5_000_000));
    assert!(matches!(&logged, Change::EndMoved(end) if end.until_us == 5_000_000), "{logged:?}");
    assert_eq!(state.judge(account, &logged), AccountChange::Changes);
    state.change(account, &logged);
    let again = state.as_logged(account, cancel(5_000_000));
    assert_eq!(state.judge(account, &again), AccountChange::Already);
    let in_force = |state: &PartitionState, at| {
        let profile = state.profiles().get(state.account(account).unwrap().profile).unwrap();
        profile.subscriptions_at(Timestamp(at)).count()
    };
    assert_eq!(in_force(&state, 5_000_000), 0);
    let AccountChange::Refused(why) = state.judge(account, &cancel(9_000_000)) else { panic!() };
    assert!(why.contains("no subscription to p"), "{why}");
    // Another subscription may begin at any time, also earlier.
    let earlier = Change::Subscribed(subscription("p", 2_000_000));
    assert_eq!(state.judge(account, &earlier), AccountChange::Changes);
    state.change(account, &earlier);
    assert_eq!([1_999_999, 2_000_000, 5_000_000].map(|at| in_force(&state, at)), [0, 1, 1]);
}

/// Each refusal names a command that is then taken.
#[test]
fn a_refused_subscription_names_what_is_in_force_and_the_command_that_makes_room() {
    let mut state = PartitionState::default();
    let account = AccountNumber(7);
    state.change(account, &Change::Opened(settings("UTC")));
    state.change(account, &Change::Subscribed(subscription("p", 5_000_000)));
    let why = |state: &PartitionState, new| match state.judge(account, &Change::Subscribed(new)) {
        AccountChange::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    let cancel = |at_us| Change::Cancelled(Cancellation { plan_id: "p".to_owned(), at_us });
    // One that begins later: it never begins.
    let earlier = why(&state, subscription("p", 2_000_000));
    let command = "turnpike account cancel 7 --plan p --at 1970-01-01T00:00:05Z";
    let words = [command, "1970-01-01T00:00:05Z on"];
    assert!(words.iter().all(|word| earlier.contains(word)), "{earlier}");
    assert_eq!(state.judge(account, &cancel(5_000_000)), AccountChange::Changes);
    // One that is in force: it ends there.
    let later = why(&state, subscription("p", 8_000_000));
    let command = "turnpike account cancel 7 --plan p --at 1970-01-01T00:00:08Z";
    assert!(later.contains(command), "{later}");
    state.change(account, &cancel(8_000_000));
    let from_there = Change::Subscribed(subscription("p", 8_000_000));
    assert_eq!(state.judge(account, &from_there), AccountChange::Changes);
}

#[test]
fn plans_6_the_plan_in_force_depends_on_the_instant() {
    let mut state = PartitionState::default();
    let account = AccountNumber(7);
    let india = Settings { from_us: 50, ..settings("Asia/Kolkata") };
    for change in [
        Change::Opened(settings("UTC")),
        Change::SettingsChanged(india),
        Change::Subscribed(subscription("p", 10)),
        Change::Cancelled(Cancellation { plan_id: "p".to_owned(), at_us: 20 }),
    ] {
        state.change(account, &change);
    }
    let profile = state.profiles().get(state.account(account).unwrap().profile).unwrap();
    let plans = |at| profile.subscriptions_at(Timestamp(at)).count();
    assert_eq!([9, 10, 19, 20].map(plans), [0, 1, 1, 0]);
    let zone = |at| profile.settings_at(Timestamp(at)).unwrap().zone.clone();
    assert_eq!([49, 50].map(zone), ["UTC", "Asia/Kolkata"]);
}

#[test]
fn p35_the_key_of_a_suspended_record_outlives_the_horizon() {
    let mut log = Log::new();
    log.push(1, |builder| {
        record(builder, 1, "waits", Outcome::Suspended(SuspenseReason::NoPlan));
    });
    for hour in 2..20 {
        log.push(hour, |builder| record(builder, 1, &hour.to_string(), Outcome::Rated));
    }
    let mut state = PartitionState::default();
    log.replay(&mut state).unwrap();
    state.sweep();
    let key = WaitingKey {
        account: AccountNumber(1),
        identity: String::new(),
        record_id: "waits".to_owned(),
    };
    assert_eq!(state.suspense().get(&key).unwrap().location.segment(), SegmentNumber(1));
    assert!(state.keys().len() < 19, "the horizon has passed the others");
}

#[test]
fn mutants_are_caught() {
    all_caught(&[
        (Check::ReplayGap, "i3_a_gap_or_a_broken_chain_stops_a_replay", "Gap"),
        (Check::ReplayChain, "i3_a_gap_or_a_broken_chain_stops_a_replay", "Chain"),
    ]);
}

/// An earlier release applied settings from `i64::MAX` on, and refused every change after it.
#[test]
fn settings_that_begin_beyond_the_range_of_dates_can_be_corrected() {
    use turnpike_types::dates::DATE_END;
    let account = AccountNumber(7);
    for beyond in [DATE_END.0, i64::MAX] {
        let mut state = PartitionState::default();
        let opened = settings("UTC");
        state.change(account, &Change::Opened(opened.clone()));
        let never = Settings { from_us: beyond, cycle_day: 28, ..opened.clone() };
        state.change(account, &Change::SettingsChanged(never.clone()));
        let again = state.as_logged(account, Change::SettingsChanged(never.clone()));
        assert_eq!(
            state.judge(account, &again),
            AccountChange::Already,
            "a retry is answered as before"
        );
        let fixed = Settings { from_us: 5, cycle_day: 15, ..opened.clone() };
        let amended = state.judge_amendment(account, 5, |base, earlier| {
            assert_eq!((base, earlier), (&opened, &opened));
            Ok(fixed.clone())
        });
        let corrected = Change::SettingsCorrected(fixed.clone());
        assert_eq!(amended, (AccountChange::Changes, Some(corrected.clone())));
        let logged = state.as_logged(account, Change::SettingsChanged(fixed.clone()));
        assert_eq!(logged, corrected);
        assert_eq!(state.judge(account, &logged), AccountChange::Changes);
        state.change(account, &logged);
        let profile = state.profiles().get(state.account(account).unwrap().profile).unwrap();
        assert_eq!(profile.settings, [opened.clone(), fixed.clone()], "sorted by start");
        let again = state.as_logged(account, Change::SettingsChanged(fixed));
        assert_eq!(state.judge(account, &again), AccountChange::Already);
        let later = Change::SettingsChanged(Settings { from_us: 9, ..opened });
        assert_eq!(state.as_logged(account, later.clone()), later, "nothing is left to correct");
        assert_eq!(state.judge(account, &later), AccountChange::Changes);
    }
}
