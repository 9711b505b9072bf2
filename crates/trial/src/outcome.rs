//! The outcomes of records, and due charges.

use std::sync::Arc;

use jiff::civil::Date;
use turnpike_plan::{ChargeLine, Component, Due, ObjectCode, Rated, Zone};
use turnpike_tariff::Tariff;
use turnpike_types::{AccountNumber, Posting, Suspension, Timestamp};

/// The outcome of a record.
#[derive(Clone, Copy, Debug)]
pub enum TrialOutcome<'a> {
    /// Rated, with these charges.
    Rated(Charges<'a>),
    /// The record can't be rated; only its deduplication key is kept, if its account is known.
    Suspended(&'a Suspension),
    /// The record repeats an earlier record; the value is the earlier record's `place` (see
    /// [`Trial::rate`](crate::Trial::rate)).
    Duplicate(u64),
    /// The account has an earlier record with the same id and other content; the value is the
    /// earlier record's `place`.
    Conflict(u64),
}

/// The charges of a record or of a due item.
#[derive(Clone, Copy, Debug)]
pub struct Charges<'a> {
    pub(crate) account: AccountNumber,
    /// The tariff whose plans the lines refer to by index.
    pub(crate) tariff: &'a Tariff,
    pub(crate) rated: &'a Rated,
}

/// An item that fell due without usage: a charge, the close of a cycle, an option.
#[derive(Clone, Debug)]
pub struct FellDue {
    /// The account.
    pub account: AccountNumber,
    /// The due instant.
    pub at: Timestamp,
    /// The kind of item: `charge`, `close` or `option`.
    pub what: &'static str,
    tariff: Arc<Tariff>,
    rated: Result<Rated, Suspension>,
}

/// One charge line with its receipt.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The account of the record or due item.
    pub account: AccountNumber,
    /// The plan version that produced the line.
    pub code: &'a ObjectCode,
    /// The component that the line charges for.
    pub component: &'a Component,
    /// Units, amount, period, level, source line and posting.
    pub line: &'a ChargeLine,
}

impl<'a> Charges<'a> {
    /// The account of the record, resolved from the identity if the record has one.
    pub const fn account(&self) -> AccountNumber {
        self.account
    }

    /// The lines and state changes from the evaluator.
    pub const fn rated(&self) -> &'a Rated {
        self.rated
    }

    /// Whether the record's billing cycle was already closed; its lines then post to the open
    /// cycle.
    pub const fn is_late(&self) -> bool {
        self.rated.late
    }

    /// The account's time zone.
    pub const fn zone(&self) -> &'a Zone {
        &self.tariff.context.zone
    }

    /// The lines in order (docs/plan-semantics.md section 3).
    pub fn iter(&self) -> impl Iterator<Item = Charge<'a>> + use<'a> {
        let Self { account, tariff, rated } = *self;
        rated.lines.iter().filter_map(move |line| {
            let code = &tariff.plans.get(usize::from(line.plan))?.code;
            let component = code.components().get(usize::from(line.component))?;
            Some(Charge { account, code, component, line })
        })
    }
}

impl Charge<'_> {
    /// The account whose balance includes the line; `None` if no balance does.
    pub const fn posted_to(&self) -> Option<AccountNumber> {
        match self.line.posting {
            Posting::Account => Some(self.account),
            Posting::Second(account) => Some(account),
            Posting::Nobody | Posting::Replaced | Posting::Tentative => None,
        }
    }

    /// Whether the posting is final, that is, neither replaced nor tentative.
    pub const fn stands(&self) -> bool {
        !matches!(self.line.posting, Posting::Replaced | Posting::Tentative)
    }
}

impl FellDue {
    pub(crate) fn new(
        account: AccountNumber,
        due: &Due,
        tariff: Arc<Tariff>,
        rated: Result<Rated, Suspension>,
    ) -> Self {
        let (at, what) = (due.at, due.word());
        Self { account, at, what, tariff, rated }
    }

    /// The charges of the item.
    ///
    /// # Errors
    /// The reason why the item can't be booked; then no further item of the account falls due.
    pub fn charges(&self) -> Result<Charges<'_>, Suspension> {
        match &self.rated {
            Ok(rated) => Ok(Charges { account: self.account, tariff: &self.tariff, rated }),
            Err(suspension) => Err(suspension.clone()),
        }
    }

    /// The account's local date at the due instant; for a close, the date on which the grace period
    /// ended.
    pub fn date(&self) -> Date {
        self.tariff.context.zone.date_at(self.at)
    }

    /// Whether the item has lines or an error to report.
    pub(crate) fn tells(&self) -> bool {
        !self.rated.as_ref().is_ok_and(|rated| rated.lines.is_empty())
    }
}
