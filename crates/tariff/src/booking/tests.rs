//! The order and the limits of a sweep, with books that fail as told.

use std::cell::Cell;

use turnpike_types::Money;

use super::*;
use crate::catalogue::tests::catalogue_of;
use crate::codes::CodeCache;
use crate::notice::Tell;
use crate::profiles::Profile;
use crate::settings::{Settings, Subscription};

const ONE: AccountNumber = AccountNumber(1);
const DAY: i64 = 86_400_000_000;
/// 2016-01-01 in UTC.
const BEGIN: i64 = 1_451_606_400_000_000;

/// A fee of one dollar in advance, for each period.
fn fee(kind: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="fees" version="1" starts="2016-01-01" currency="USD">
  <graph>
    <{kind} id="fee" amount="1.00"/>
    <AccountFinalizer id="post" in="fee.charge"/>
  </graph>
</plan>"#
    )
}

/// The books of one account.
struct OneAccount {
    profiles: Profiles,
    state: AccountState,
    now: Timestamp,
    /// Whether a booked charge changes the state.
    keeps: bool,
    /// The most charges that the books take; then there is no room.
    room: usize,
    booked: Vec<(Timestamp, Money)>,
    stuck: Vec<(Timestamp, Suspension)>,
    looks: Cell<usize>,
}

impl Books for OneAccount {
    type Wait = &'static str;

    fn alive(&self) {
        self.looks.set(self.looks.get() + 1);
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    fn account(&self, account: AccountNumber) -> Option<AccountEntry<'_>> {
        (account == ONE).then_some(AccountEntry { profile: ProfileId(0), state: &self.state })
    }

    fn room(&self) -> Result<(), &'static str> {
        if self.booked.len() < self.room { Ok(()) } else { Err("no room") }
    }

    fn book(&mut self, falling: &FallingDue<'_>, rated: &Rated) -> Result<(), Stop<&'static str>> {
        self.booked.extend(rated.lines.iter().map(|line| (falling.due.at, line.amount)));
        if self.keeps {
            self.state.apply(&rated.changes);
        }
        Ok(())
    }

    fn stuck(&mut self, falling: &FallingDue<'_>, why: &Suspension) {
        self.stuck.push((falling.due.at, why.clone()));
    }
}

struct World {
    tariffs: Tariffs,
    rater: Rater,
    dues: Dues,
    books: OneAccount,
}

impl World {
    /// An account in UTC that is subscribed to the plan from its first version on.
    fn with(plan: &str) -> Self {
        let settings = Settings {
            from_us: i64::MIN,
            zone: "UTC".to_owned(),
            cycle_day: 1,
            currency: "USD".to_owned(),
            ..Settings::default()
        };
        let subscription = Subscription {
            plan_id: "fees".to_owned(),
            from_us: BEGIN,
            until_us: i64::MAX,
            ..Subscription::default()
        };
        let mut profiles = Profiles::default();
        profiles.intern(Profile { settings: vec![settings], subscriptions: vec![subscription] });
        let codes = CodeCache::new(10, Tell::new(|_| ()));
        Self {
            tariffs: Tariffs::new(Arc::new(catalogue_of(&[plan], [])), codes),
            rater: Rater::new(),
            dues: Dues::default(),
            books: OneAccount {
                profiles,
                state: AccountState::default(),
                now: Timestamp(BEGIN),
                keeps: true,
                room: usize::MAX,
                booked: Vec::new(),
                stuck: Vec::new(),
                looks: Cell::new(0),
            },
        }
    }

    fn sweep(&mut self) -> Sweep<'_, OneAccount> {
        let Self { tariffs, rater, dues, books } = self;
        Sweep { tariffs, rater, dues, books }
    }

    /// Advances logged time to this number of days after the start, and books what is due then.
    fn book_at(&mut self, days: i64) -> Result<(), Stop<&'static str>> {
        let at = Timestamp(BEGIN + days * DAY);
        self.books.now = at;
        self.sweep().book_due(ONE, at)
    }
}

/// Such a plan would be booked without end.
#[test]
fn a_charge_that_stays_due_after_it_was_booked_stops_the_account_after_a_hundred_times() {
    let mut world = World::with(&fee("MonthlyRecurringCharge"));
    world.books.keeps = false;
    let Err(Stop::Stuck(why)) = world.book_at(0) else { panic!("it must stop") };
    assert_eq!(why.reason, SuspenseReason::Overflow);
    assert_eq!(world.books.booked.len(), SAME_MAX + 1, "the first, and a hundred repetitions");
    assert_eq!(world.books.stuck.len(), 1);
    // No record that starts later is rated, and nothing more is booked.
    let again = world.sweep().book_before(ONE, Timestamp(BEGIN + DAY));
    assert!(matches!(again, Err(Stop::Stuck(_))), "{again:?}");
    assert!(world.sweep().book_before(ONE, Timestamp(BEGIN - DAY)).is_ok(), "an earlier record");
    assert_eq!(world.books.booked.len(), SAME_MAX + 1);
}

#[test]
fn other_work_runs_after_a_thousand_charges_and_then_the_rest_is_booked() {
    let mut world = World::with(&fee("WeeklyRecurringCharge"));
    let days = 7 * 1_500;
    let turn = world.book_at(days);
    assert!(matches!(turn, Err(Stop::Turn)), "{turn:?}");
    assert_eq!(world.books.booked.len(), TURN_DUES);
    assert!(world.books.looks.get() >= TURN_DUES, "each charge shows that the work goes on");
    world.book_at(days).unwrap();
    let booked: Vec<i64> = world.books.booked.iter().map(|(at, _)| at.0).collect();
    assert_eq!(booked[0], BEGIN);
    let weeks: Vec<i64> = booked[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(weeks.iter().all(|week| *week == 7 * DAY), "each week once, in order: {weeks:?}");
    assert!(booked.last().is_some_and(|last| BEGIN + (days - 7) * DAY < *last));
}

#[test]
fn without_room_the_charge_is_booked_later() {
    let mut world = World::with(&fee("MonthlyRecurringCharge"));
    world.books.room = 2;
    let full = world.book_at(70);
    assert!(matches!(full, Err(Stop::Wait("no room"))), "{full:?}");
    assert_eq!(world.books.booked.len(), 2);
    world.books.room = usize::MAX;
    world.sweep().book_before(ONE, Timestamp(BEGIN + 70 * DAY)).unwrap();
    assert_eq!(world.books.booked.len(), 3, "January, February and March");
    assert!(world.books.stuck.is_empty());
}

/// The dues know when to look again: at the next charge, and not before.
#[test]
fn an_account_is_visited_when_its_next_charge_falls_due() {
    let mut world = World::with(&fee("MonthlyRecurringCharge"));
    world.sweep().note_changed(ONE);
    assert_eq!(world.dues.pop(Timestamp(BEGIN)), Some(ONE));
    world.book_at(0).unwrap();
    assert_eq!(world.dues.pop(Timestamp(BEGIN + 31 * DAY - 1)), None);
    let looks = world.books.looks.get();
    world.sweep().book_before(ONE, Timestamp(BEGIN + 30 * DAY)).unwrap();
    assert_eq!(world.books.looks.get(), looks, "nothing was computed");
    assert_eq!(world.dues.pop(Timestamp(BEGIN + 31 * DAY)), Some(ONE));
    assert_eq!(world.books.booked.len(), 1);
}
