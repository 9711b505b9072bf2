//! A row of the bindings, and the key under which the bindings of an identity are found.

use turnpike_types::{Identity, Timestamp};

use crate::Binding;

/// The key of an identity: its canonical spelling. Text that the present rules do not accept as an
/// identity is its own key, because an older release may have bound it.
pub(crate) fn key_of(identity: &str) -> String {
    Identity::parse(identity).map_or_else(|_| identity.to_owned(), String::from)
}

/// A row: a binding, and the instants at which the database recorded and withdrew it. Look-ups
/// between these two instants found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BindingRow {
    pub(crate) binding: Binding,
    /// The instant of the recording; [`Timestamp::MIN`] for a row of an older release.
    pub(crate) recorded: Timestamp,
    /// The instant at which a later change took this interval away from the account;
    /// [`Timestamp::MAX`] for a binding in force.
    pub(crate) withdrawn: Timestamp,
}

impl BindingRow {
    /// A binding in force from `recorded` on.
    pub(crate) const fn recorded(binding: Binding, recorded: Timestamp) -> Self {
        Self { binding, recorded, withdrawn: Timestamp::MAX }
    }

    /// The value of the column recorded_us: NULL for a row of an older release.
    pub(crate) fn stored_recorded(&self) -> Option<i64> {
        (self.recorded != Timestamp::MIN).then_some(self.recorded.micros())
    }

    pub(super) fn is_in_force(&self) -> bool {
        self.withdrawn == Timestamp::MAX
    }
}

impl std::ops::Deref for BindingRow {
    type Target = Binding;

    fn deref(&self) -> &Binding {
        &self.binding
    }
}
