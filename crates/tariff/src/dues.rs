//! When to visit each account to book the charges that fall due without usage (P34).
//!
//! The instants up to which charges are booked are stored in variables of the account. This module
//! only keeps when to visit each account next, and computes it again when it was forgotten:
//!
//! ```text
//!  catalogue changed, takeover --> unvisited: all accounts for which something can fall due
//!  account changed ------------------> + this account
//!        |
//!        v    pop
//!     book what is due at logged time (P26) --> next: when to visit this account again
//!        ^                                         |
//!        +----- logged time reaches it <-----------+
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use turnpike_plan::{AccountState, Rated, StateEntry};
use turnpike_types::{AccountNumber, Posting, Suspension, Timestamp};

/// The most void entries of the heap that are tolerated, besides one for each account.
const VOID_ENTRIES: usize = 2_000;

/// When to visit an account next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// When the account's next charge falls due.
    pub(crate) charge: Timestamp,
    /// When the account's next cycle closes, in logged time.
    pub(crate) close: Timestamp,
    /// The charge that can't be booked. No later charge is booked.
    pub(crate) stuck: Option<(Timestamp, Suspension)>,
}

impl Next {
    fn at(&self) -> Timestamp {
        self.charge.min(self.close)
    }
}

/// When to visit each account.
#[derive(Debug, Default)]
pub struct Dues {
    next: HashMap<AccountNumber, Next>,
    /// The entries of `next` by time. An entry that differs from `next` is void.
    by_time: BinaryHeap<Reverse<(Timestamp, AccountNumber)>>,
    /// Accounts to visit as soon as possible, each once.
    unvisited: Vec<AccountNumber>,
    waiting: HashSet<AccountNumber>,
    /// Whether all accounts were listed since the catalogue changed.
    is_listed: bool,
}

impl Dues {
    /// Forgets everything, because the catalogue changed.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether a rated record changes when later charges fall due. Either the record moves the
    /// instant up to which charges are booked. Or the record brings the first amount of an
    /// alternative of an option in a cycle, so that the cycle must be closed later.
    pub fn is_moved_by(&self, rated: &Rated, state: &AccountState) -> bool {
        let has_tentative = || rated.lines.iter().any(|line| line.posting == Posting::Tentative);
        let begins = |change: &StateEntry| {
            state.get(change.variable, change.period).is_none_or(|before| before == 0)
        };
        rated.moves_dues || (has_tentative() && rated.changes.iter().any(begins))
    }

    /// When to visit the account next. `None`: as soon as possible.
    pub(crate) fn next(&self, account: AccountNumber) -> Option<&Next> {
        self.next.get(&account)
    }

    pub(crate) fn set(&mut self, account: AccountNumber, next: Next) {
        let (at, is_stuck) = (next.at(), next.stuck.is_some());
        self.next.insert(account, next);
        if is_stuck || at == Timestamp::MAX {
            return;
        }
        // If accounts change all the time, void entries accumulate, so the heap is rebuilt without
        // them.
        if self.by_time.len() > 2 * self.next.len() + VOID_ENTRIES {
            let held = self.next.iter().filter(|(_, next)| next.stuck.is_none());
            self.by_time = held.map(|(&account, next)| Reverse((next.at(), account))).collect();
        } else {
            self.by_time.push(Reverse((at, account)));
        }
    }

    /// Marks the account to be visited as soon as possible.
    pub fn visit(&mut self, account: AccountNumber) {
        self.next.remove(&account);
        if self.waiting.insert(account) {
            self.unvisited.push(account);
        }
    }

    /// Whether all accounts were listed since the last [`Dues::forget`].
    pub const fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Marks all accounts for which something can fall due to be visited, in ascending order.
    pub fn list(&mut self, mut accounts: Vec<AccountNumber>) {
        self.is_listed = true;
        // Sorted in descending order, since accounts are popped from the end.
        accounts.sort_unstable_by_key(|&number| Reverse(number));
        for account in accounts {
            self.visit(account);
        }
    }

    /// The next account to visit at logged time `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<AccountNumber> {
        if let Some(account) = self.unvisited.pop() {
            self.waiting.remove(&account);
            return Some(account);
        }
        while let Some(&Reverse((at, account))) = self.by_time.peek() {
            if at > now {
                return None;
            }
            self.by_time.pop();
            let is_held = |next: &Next| next.stuck.is_none() && next.at() == at;
            if self.next.get(&account).is_some_and(is_held) {
                return Some(account);
            }
        }
        None
    }
}
