//! The detail of a refusal: the measure, attribute, number or table that a primitive did not find.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use turnpike_types::{Detail, SuspenseReason};

use super::places::Attribute;

/// The detail of the last refusal. It is written only on a refusal, so that it adds no cost to a
/// rated record. It is behind a lock because primitives refuse through a shared `Evaluation`.
#[derive(Debug, Default)]
pub(crate) struct LastRefusal(Mutex<Option<(SuspenseReason, Detail)>>);

impl LastRefusal {
    /// Clears the detail of the previous record.
    #[inline]
    pub(crate) fn clear(&mut self) {
        let about = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if about.is_some() {
            *about = None;
        }
    }

    /// Stores the detail of a refusal; returns the reason.
    #[cold]
    pub(crate) fn note(&self, reason: SuspenseReason, about: fmt::Arguments<'_>) -> SuspenseReason {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some((reason, Detail::new(about)));
        reason
    }

    /// The detail of a refusal with this reason. The stored detail may belong to an earlier refusal
    /// that a primitive handled.
    pub(crate) fn detail(&self, reason: SuspenseReason) -> Detail {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_reason = place.as_ref().filter(|(noted, _)| *noted == reason);
        of_reason.map(|(_, detail)| detail.clone()).unwrap_or(Detail::NONE)
    }
}

/// The name of an attribute as written in a plan.
pub(crate) struct Named<'a>(pub(crate) &'a Attribute);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Attribute::Record(name) => write!(f, "record.{name}"),
            Attribute::Account(name) => write!(f, "account.{name}"),
            Attribute::Derived(_) => f.write_str("an attribute that another primitive derives"),
        }
    }
}
