//! What became of a record, and what fell due.

use std::sync::Arc;

use jiff::civil::Date;
use turnpike_plan::{Component, Due, Line, ObjectCode, Rated, Zone};
use turnpike_types::{AccountNumber, Posting, SuspenseReason, Suspension, Timestamp};

use crate::timeline::{Stretch, Timeline};

/// What became of a record.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// Priced.
    Rated(Charges<'a>),
    /// It can't be rated; nothing of it is kept but that it was seen.
    Suspended(&'a Suspension),
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
    pub(crate) stretch: &'a Stretch,
    pub(crate) rated: &'a Rated,
}

/// Something that fell due without usage: a charge, the close of a cycle, an option.
#[derive(Clone, Debug)]
pub struct FellDue {
    /// Whose.
    pub account: AccountNumber,
    /// When.
    pub at: Timestamp,
    /// What it was, for people: `charge`, `close` or `option`.
    pub what: &'static str,
    timeline: Arc<Timeline>,
    stretch: usize,
    rated: Result<Rated, Suspension>,
}

/// One charge line with its receipt.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The account whose record it was, or to which it fell due.
    pub account: AccountNumber,
    /// The plan version that made it.
    pub code: &'a ObjectCode,
    /// What it is for.
    pub component: &'a Component,
    /// Units, amount, period and level; what it was made of; where it goes.
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

    /// The record's billing cycle was closed before: it posts to the open one.
    pub const fn is_late(&self) -> bool {
        self.rated.late
    }

    /// The zone of the account's days.
    pub const fn zone(&self) -> &'a Zone {
        &self.stretch.settings.zone
    }

    /// The lines in their order (docs/plan-semantics.md section 3).
    pub fn iter(&self) -> impl Iterator<Item = Charge<'a>> + use<'a> {
        let Self { account, stretch, rated } = *self;
        rated.lines.iter().filter_map(move |line| {
            let code = stretch.codes.get(usize::from(line.plan))?;
            let component = code.components().get(usize::from(line.component))?;
            Some(Charge { account, code, component, line })
        })
    }
}

impl Charge<'_> {
    /// The account whose balance it counts in; `None` when it counts in none.
    pub const fn posted_to(&self) -> Option<AccountNumber> {
        match self.line.posting {
            Posting::Account => Some(self.account),
            Posting::Second(account) => Some(account),
            Posting::Nobody | Posting::Replaced | Posting::Trial => None,
        }
    }

    /// Is it somebody's or nobody's, and neither replaced by other lines nor on trial?
    pub const fn stands(&self) -> bool {
        !matches!(self.line.posting, Posting::Replaced | Posting::Trial)
    }
}

impl FellDue {
    pub(crate) fn new(
        account: AccountNumber,
        due: &Due,
        timeline: Arc<Timeline>,
        rated: Result<Rated, Suspension>,
    ) -> Self {
        let (at, what, stretch) = (due.at, due.word(), due.stretch);
        Self { account, at, what, timeline, stretch, rated }
    }

    /// What it came to.
    ///
    /// # Errors
    /// Why it could not be booked; nothing more falls due to the account then.
    pub fn charges(&self) -> Result<Charges<'_>, Suspension> {
        match (&self.rated, self.timeline.stretches.get(self.stretch)) {
            (Ok(rated), Some(stretch)) => Ok(Charges { account: self.account, stretch, rated }),
            (Err(suspension), _) => Err(suspension.clone()),
            (Ok(_), None) => Err(SuspenseReason::NoPlan.into()),
        }
    }

    /// The account's local date when it fell due; of a close, the date on which the grace was over.
    pub fn date(&self) -> Date {
        let stretch = self.timeline.stretches.get(self.stretch);
        stretch.map_or(Date::MIN, |stretch| stretch.settings.zone.date_at(self.at))
    }

    /// Is there anything to tell?
    pub(crate) fn tells(&self) -> bool {
        self.rated.as_ref().map_or(true, |rated| !rated.lines.is_empty())
    }
}
