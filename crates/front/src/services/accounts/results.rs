//! The results of account commands, in words for the client.

use turnpike_proto::account::v1::{AccountOutcome, AccountResult};
use turnpike_store::{BindOutcome, Binding, RebindOutcome, Rebinding};
use turnpike_types::Timestamp;
use turnpike_types::limits::{IDENTITY_BINDINGS_MAX, IDENTITY_RELEASES_MAX};

/// How many former holders an answer names at most.
const NAMED_MAX: usize = 10;

/// The command has no effect, because its effect is there already.
pub(crate) fn already() -> AccountResult {
    AccountResult { outcome: AccountOutcome::Already.into(), message: String::new() }
}

pub(crate) fn refused(message: String) -> AccountResult {
    AccountResult { outcome: AccountOutcome::Refused.into(), message }
}

/// The command has no durable answer: send it again.
pub(crate) fn retry(message: String) -> AccountResult {
    AccountResult { outcome: AccountOutcome::Retry.into(), message }
}

pub(crate) fn set(results: &mut [AccountResult], index: usize, result: AccountResult) {
    if let Some(place) = results.get_mut(index) {
        *place = result;
    }
}

/// Merges the outcome of a binding into the result of its command.
pub(crate) fn bound(result: &mut AccountResult, binding: &Binding, outcome: &BindOutcome) {
    match outcome {
        BindOutcome::Already => {}
        BindOutcome::Bound => {
            if result.outcome() == AccountOutcome::Already {
                result.outcome = AccountOutcome::Applied.into();
            }
        }
        BindOutcome::Full => {
            *result = refused(format!("the account is changed, but {}", full(&binding.identity)));
        }
        BindOutcome::Taken(by) => {
            *result = refused(format!(
                "the account is changed, but {} is not bound: {}, since a moment ago. Bind it for \
                 another interval, or move it (turnpike account bind --move), then send the rest \
                 again",
                binding.identity,
                held(by)
            ));
        }
    }
}

/// The result for a command that requested a change of bindings.
pub(crate) fn changed(asked: &Rebinding, outcome: &RebindOutcome) -> AccountResult {
    let Binding { identity, account, .. } = asked.binding();
    match outcome {
        RebindOutcome::Already => already(),
        RebindOutcome::Changed(taken) => AccountResult {
            outcome: AccountOutcome::Applied.into(),
            message: message(identity, taken),
        },
        RebindOutcome::Taken(by) => refused(format!(
            "{identity} is not bound: {}. Choose another interval, or move it (--move)",
            held(by)
        )),
        RebindOutcome::Full => refused(match asked {
            Rebinding::Release { .. } => format!(
                "{identity} is not released: it has {} bindings, those that were taken away included, \
                 and no identity may have more. Release it for one long interval instead of many \
                 short ones",
                IDENTITY_BINDINGS_MAX + IDENTITY_RELEASES_MAX
            ),
            Rebinding::Bind(_) | Rebinding::Move { .. } => full(identity),
        }),
        RebindOutcome::NotHeld(None) => refused(format!(
            "account {account} does not hold {identity} in that interval, and no other account \
             does: turnpike account show lists its bindings"
        )),
        RebindOutcome::NotHeld(Some(by)) => refused(format!(
            "account {account} does not hold {identity} in that interval: {}",
            held(by)
        )),
        RebindOutcome::Final(by) => {
            let final_before = match asked {
                Rebinding::Move { final_before, .. } | Rebinding::Release { final_before, .. } => {
                    instant(*final_before)
                }
                // A binding takes nothing from another account, so it is never refused as final.
                Rebinding::Bind(_) => "that time".to_owned(),
            };
            refused(format!(
                "{}: bindings before {final_before}, the acceptance horizon, are final. Choose a \
                 later instant",
                held(by)
            ))
        }
    }
}

/// A sentence that names the accounts that lost the identity, and the intervals.
fn message(identity: &str, taken: &[Binding]) -> String {
    let mut words: Vec<String> = taken
        .iter()
        .take(NAMED_MAX)
        .map(|part| {
            format!("account {} no longer holds {identity} {}", part.account, interval(part))
        })
        .collect();
    if taken.len() > NAMED_MAX {
        words.push(format!("and {} more intervals", taken.len() - NAMED_MAX));
    }
    if !words.is_empty() {
        words.push("records that are already rated stay with their account".to_owned());
    }
    words.join("; ")
}

/// Describes a binding: `account 5 holds ip:192.0.2.1 from 2026-11-01T00:00:00Z on`.
pub(crate) fn held(by: &Binding) -> String {
    format!("account {} holds {} {}", by.account, by.identity, interval(by))
}

/// Why an identity is not bound, and what to do.
pub(crate) fn full(identity: &str) -> String {
    format!(
        "{identity} is not bound: it has {IDENTITY_BINDINGS_MAX} bindings, those that were taken away \
         included, and no identity may have more. Bind another identity, such as a prefix that \
         contains the address; this one can only be released"
    )
}

fn interval(binding: &Binding) -> String {
    match (binding.from, binding.until) {
        (Timestamp::MIN, Timestamp::MAX) => "at all times".to_owned(),
        (Timestamp::MIN, until) => format!("until {}", instant(until)),
        (from, Timestamp::MAX) => format!("from {} on", instant(from)),
        (from, until) => format!("from {} until {}", instant(from), instant(until)),
    }
}

fn instant(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(instant) => instant.to_string(),
        Err(_) => format!("{} us", at.0),
    }
}
