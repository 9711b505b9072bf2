//! A rater: its buffers, and the result of its last call. `rate.rs` rates records, `sweep.rs` books
//! charges that fall due without usage.

use turnpike_types::{Detail, SuspenseReason, UsageView};

use crate::machine::account::AccountContext;
use crate::machine::evaluation::event::Event;
use crate::machine::evaluation::scratch::Scratch;
use crate::machine::lines::ChargeLine;
use crate::machine::state::{AccountState, StateEntry};

/// The result of rating a record, or of booking a due event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rated {
    /// Charge lines, in topological order of their primitives, ties by document order, then by
    /// first unit (docs/plan-semantics.md section 3).
    pub lines: Vec<ChargeLine>,
    /// New values of changed variables, sorted by (variable, period), each once.
    pub changes: Vec<StateEntry>,
    /// Whether the record's billing cycle was already closed. If so, the record posts to the open
    /// cycle.
    pub late: bool,
    /// Whether a variable changed that determines the result of [`Rater::next_due`].
    pub moves_dues: bool,
}

/// Rates records. It holds only scratch space, so one rater serves any number of accounts and
/// plans. After the first records it does not allocate.
#[derive(Debug, Default)]
pub struct Rater {
    pub(crate) scratch: Scratch,
    pub(crate) rated: Rated,
}

/// The inputs of an evaluation by one plan, except the plan.
#[derive(Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) account: &'a AccountContext,
    pub(crate) state: &'a AccountState,
    pub(crate) record: &'a UsageView<'a>,
    pub(crate) event: &'a Event,
    /// As [`Evaluation::held`](crate::machine::code::Evaluation::held).
    pub(crate) held: &'a [(i64, i64)],
    pub(crate) now: i64,
}

impl Rater {
    /// A rater with empty scratch space.
    pub fn new() -> Self {
        Self::default()
    }

    /// The result of the last call; empty when it was refused.
    pub const fn last(&self) -> &Rated {
        &self.rated
    }

    /// The subject of the last refusal, if its reason is `reason`: the measure, attribute, number,
    /// table, type or currencies. [`Detail::NONE`] when the reason needs no detail.
    pub fn detail(&self, reason: SuspenseReason) -> Detail {
        self.scratch.about.detail(reason)
    }

    /// Clears the result, calls `rate` to fill it, and sorts the changes.
    #[inline]
    pub(crate) fn outcome(
        &mut self,
        rate: impl FnOnce(&mut Self) -> Result<(), SuspenseReason>,
    ) -> Result<&Rated, SuspenseReason> {
        self.rated.lines.clear();
        self.rated.changes.clear();
        self.rated.late = false;
        self.rated.moves_dues = false;
        self.scratch.about.clear();
        if let Err(reason) = rate(self) {
            self.rated.lines.clear();
            self.rated.changes.clear();
            return Err(reason);
        }
        let key = |change: &StateEntry| (change.variable, change.period);
        match self.rated.changes.as_mut_slice() {
            [] | [_] => {}
            [first, second] => {
                if key(second) < key(first) {
                    std::mem::swap(first, second);
                }
            }
            more => more.sort_unstable_by_key(key),
        }
        Ok(&self.rated)
    }
}
