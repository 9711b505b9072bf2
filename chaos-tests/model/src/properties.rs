//! The properties that must hold in every state, and the conditions that some state must fulfil.
//!
//! The ids are those of the invariants (I1 to I7) and of the rules of the protocol (P1 to P38).

use stateright::Property;

use crate::database::{Position, Segment};
use crate::model::{Action, Protocol, State};
use crate::node::Role;
use crate::outside::count_in;

/// Every acknowledged record is in the log exactly once.
pub const I1: &str = "I1 an acknowledged record is in the log exactly once";
/// No record is in the log twice.
pub const I2: &str = "I2 no record twice in the log";
/// The log has consecutive segment numbers, epochs that never decrease, one claim for each epoch,
/// and an unbroken chain of hashes.
pub const I3: &str = "I3 the log is one chain";
/// Each outcome in the log equals the outcome that a replay of the log before it gives.
pub const I4: &str = "I4 a replay of the log gives its outcomes";
/// A retry gets the same outcome as the first sending, which is the outcome in the log.
pub const I5: &str = "I5 one outcome for a record";
/// An answer includes everything that was acknowledged before its question was sent, and nothing
/// uncommitted. So it cannot come from an owner that was superseded before the question.
pub const I6: &str = "I6 an answer is not older than its question";
/// No front forwards an answer after an answer of a higher epoch.
pub const I6_FRONT: &str = "I6 epochs never decrease at a front";
/// The feed contains only committed segments.
pub const P6: &str = "P6 the feed has only committed segments";
/// A consumer gets an error when the history that it followed is lost.
pub const P18: &str = "P18 a consumer gets an error when its history is lost";
/// Once faults stop, any single remaining node can become the owner and serve a record.
pub const I7: &str = "I7 any single remaining node serves";

/// Some state must fulfil this, so that the other properties are not vacuous.
pub const ALL_SERVED: &str = "every record is acknowledged";
/// Some state must have an owner that appended after an earlier owner did.
pub const TAKEN_OVER: &str = "a second epoch appends after the first";
/// Some state must have a statement in flight whose sender has given up.
pub const LATE: &str = "a statement is late";

/// The properties that a configuration is checked for.
pub fn of(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always(I1, |_, state: &State| acknowledged_once(state)),
        Property::always(I2, |protocol: &Protocol, state: &State| {
            protocol.record_ids().all(|record| count_in(&state.database.log, record) <= 1)
        }),
        Property::always(I3, |_, state: &State| is_chain(state)),
        Property::always(I4, |_, state: &State| {
            let rated = state.database.log.iter().flat_map(|segment| &segment.rated);
            (0u8..).zip(rated).all(|(before, rated)| rated.place == before)
        }),
        Property::always(I5, |_, state: &State| one_outcome(state)),
        Property::always(I6, |_, state: &State| {
            !state.outside.shown_stale && !state.outside.shown_uncommitted
        }),
        Property::always(I6_FRONT, |_, state: &State| !state.outside.epoch_fell),
        Property::sometimes(ALL_SERVED, |protocol: &Protocol, state: &State| {
            protocol.record_ids().count() == state.outside.acknowledged().count_ones() as usize
        }),
    ];
    if protocol.records > 1 {
        all.push(Property::sometimes(TAKEN_OVER, |_, state: &State| {
            let mut log = state.database.log.iter();
            log.next().is_some_and(|first| log.any(|later| later.epoch > first.epoch))
        }));
    }
    if protocol.faults > 0 {
        let is_late = |_: &Protocol, state: &State| state.sent.iter().any(|sent| !sent.awaited);
        all.push(Property::sometimes(LATE, is_late));
    }
    if protocol.has_consumer {
        all.push(Property::always(P18, |_, state: &State| !state.consumer.misled));
        if protocol.failovers == 0 {
            let is_in = |_: &Protocol, state: &State| state.consumer.is_in(&state.database.log);
            all.push(Property::always(P6, is_in));
        }
    }
    if protocol.checks_healing {
        all.push(Property::always(I7, heals));
    }
    all
}

fn acknowledged_once(state: &State) -> bool {
    let told = (0u8..).zip(&state.outside.outcomes).filter(|&(_, &outcomes)| outcomes != 0);
    let mut counts = told.map(|(record, _)| count_in(&state.database.log, record));
    counts.all(|count| count == 1)
}

fn one_outcome(state: &State) -> bool {
    let mut logged = state.database.log.iter().flat_map(|segment| &segment.rated);
    let told = |record: u8| state.outside.outcomes[usize::from(record)];
    logged.all(|rated| told(rated.record) & !(1 << rated.place) == 0)
        && state.outside.outcomes.iter().all(|told| told.count_ones() <= 1)
}

fn is_chain(state: &State) -> bool {
    let log = &state.database.log;
    let follows = |(at, segment): (usize, &Segment)| {
        let before = &log[..at];
        let Position { next, last_hash } = Position::end_of(before);
        let continues = before.last().is_none_or(|last| {
            last.epoch < segment.epoch || (last.epoch, last.claim) == (segment.epoch, segment.claim)
        });
        segment.number == next && segment.prev_hash == last_hash && continues
    };
    log.iter().enumerate().all(follows) && state.database.row.position == Position::end_of(log)
}

/// Whether each node, if it is the only one left from this state on, becomes the owner and serves a
/// record. No further fault occurs, and late statements arrive. (The real system adds a limit of 5
/// s.)
fn heals(protocol: &Protocol, state: &State) -> bool {
    (0..protocol.nodes).all(|node| heals_alone(protocol, state.clone(), node))
}

/// The maximum number of steps until the node serves. It is enough for three claims: one that fails
/// because of a late claim, one after which the replica is discarded, and one that succeeds.
const HEALING_STEPS_MAX: usize = 24;

fn heals_alone(protocol: &Protocol, mut state: State, at: usize) -> bool {
    state.outside.outcomes[0] = 0;
    for _ in 0..HEALING_STEPS_MAX {
        let action = if !state.replies.is_empty() {
            Action::Deliver(0)
        } else if !state.answers.is_empty() {
            Action::Hear(0)
        } else if !state.sent.is_empty() {
            Action::CarryOut(0)
        } else {
            match &state.nodes[at].role {
                // The claim was carried out, but its answer was lost.
                Role::Claiming => Action::GiveUp(at),
                Role::Standby => Action::Claim(at),
                Role::Claimed { .. } => Action::Recover(at),
                Role::Owner(owner) if owner.in_flight.is_some() => Action::GiveUp(at),
                Role::Owner(owner) if !owner.open.is_empty() => Action::Send(at),
                Role::Owner(_) if state.outside.outcomes[0] != 0 => return true,
                Role::Owner(_) => Action::Submit(0, at),
            }
        };
        state.step(&action, protocol);
    }
    false
}

impl Protocol {
    fn record_ids(&self) -> impl Iterator<Item = u8> {
        0..self.records as u8
    }
}
