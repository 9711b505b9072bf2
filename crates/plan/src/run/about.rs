//! What a refusal is about: the measure, attribute, number or table that a primitive misses.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use turnpike_types::{Detail, SuspenseReason};

use super::{Attribute, Run, TableRef};

/// The last refusal's detail. Written only when something is refused, so that a record that can be
/// rated costs nothing more; behind a lock because primitives refuse through a shared [`Run`].
#[derive(Debug, Default)]
pub(crate) struct About(Mutex<Option<(SuspenseReason, Detail)>>);

impl About {
    /// Forgets the refusal of the record before.
    #[inline]
    pub(crate) fn clear(&mut self) {
        let about = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if about.is_some() {
            *about = None;
        }
    }

    /// Remembers what a refusal is about; gives the reason back.
    #[cold]
    pub(crate) fn note(&self, reason: SuspenseReason, about: fmt::Arguments<'_>) -> SuspenseReason {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some((reason, Detail::new(about)));
        reason
    }

    /// The detail of this reason. A refusal that a primitive caught, and did without, is not it.
    pub(crate) fn detail(&self, reason: SuspenseReason) -> Detail {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_reason = place.as_ref().filter(|(noted, _)| *noted == reason);
        of_reason.map(|(_, detail)| detail.clone()).unwrap_or(Detail::NONE)
    }
}

impl Run<'_> {
    /// Refuses the record, and says what the reason is about.
    #[cold]
    pub(crate) fn refuse(
        &self,
        reason: SuspenseReason,
        about: fmt::Arguments<'_>,
    ) -> SuspenseReason {
        self.scratch.about.note(reason, about)
    }

    /// Refuses the record because a table has no version in force, or one of another kind.
    #[cold]
    pub(crate) fn without_table(&self, table: TableRef) -> SuspenseReason {
        match self.code.tables.get(table.0) {
            Some(name) => {
                let (id, kind) = (&name.id, name.kind);
                self.refuse(SuspenseReason::NoTable, format_args!("{id} ({kind})"))
            }
            None => SuspenseReason::NoTable,
        }
    }

    /// Refuses the record because it, or its account, does not carry an attribute.
    #[cold]
    pub(crate) fn lacks(&self, attribute: &Attribute) -> SuspenseReason {
        self.refuse(SuspenseReason::MissingInput, format_args!("{}", Named(attribute)))
    }
}

/// An attribute as a plan names it.
pub(crate) struct Named<'a>(pub(crate) &'a Attribute);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Attribute::Record(name) => write!(f, "record.{name}"),
            Attribute::Account(name) => write!(f, "account.{name}"),
            Attribute::Told(_) => f.write_str("what another primitive finds"),
        }
    }
}
