//! What became of a record.

use std::sync::Arc;

use turnpike_plan::{Component, Line, ObjectCode, Rated};
use turnpike_types::{AccountNumber, SuspenseReason};

/// What became of a record.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// Priced.
    Rated(Charges<'a>),
    /// It can't be rated; nothing of it is kept but that it was seen.
    Suspended(SuspenseReason),
    /// The same record came before, from this place.
    Duplicate(u64),
    /// Another record of the same account and id came before, from this place.
    Conflict(u64),
}

/// What was charged, for a record or because it fell due.
#[derive(Clone, Copy, Debug)]
pub struct Charges<'a> {
    pub(crate) account: AccountNumber,
    /// What the lines' plans are indexes into.
    pub(crate) codes: &'a [Arc<ObjectCode>],
    pub(crate) rated: &'a Rated,
}

/// One charge line with its receipt.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The account that it is posted to.
    pub account: AccountNumber,
    /// The plan version that made it.
    pub code: &'a ObjectCode,
    /// What it is for.
    pub component: &'a Component,
    /// Units, amount, period and level.
    pub line: &'a Line,
}

impl<'a> Charges<'a> {
    /// The account whose record it is; an identity was guided to it.
    pub const fn account(&self) -> AccountNumber {
        self.account
    }

    /// Lines and state changes as the evaluator gave them.
    pub const fn rated(&self) -> &'a Rated {
        self.rated
    }

    /// The lines in their order (PLANS section 3).
    pub fn iter(&self) -> impl Iterator<Item = Charge<'a>> + use<'a> {
        let Self { account, codes, rated } = *self;
        rated.lines.iter().filter_map(move |line| {
            let code = codes.get(usize::from(line.plan))?;
            let component = code.components().get(usize::from(line.component))?;
            Some(Charge { account, code, component, line })
        })
    }
}
