//! Identities, and the accounts that hold them (P28).

pub(crate) mod bindings;
mod first;
pub(crate) mod row;

use async_trait::async_trait;
use turnpike_types::limits::IDENTITY_BYTES_MAX;
use turnpike_types::{AccountNumber, Timestamp};

use crate::{StoreError, StoreResult};

/// Bindings of identities to accounts, and look-ups of them.
#[async_trait]
pub trait IdentityStore: Send + Sync + 'static {
    /// Adds bindings to the history; each succeeds or fails by itself, and outcomes are in the
    /// order of `bindings`. Two spellings of an identity denote the same one
    /// ([`turnpike_types::Identity`]).
    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>>;

    /// Changes which accounts hold identities, in order. Each change succeeds or fails as a whole
    /// and independently of the others; outcomes are in the order of `changes`.
    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>>;

    /// The histories of `identities`, in that order, and the histories of the prefixes that contain
    /// an address. The cost is at most one look-up per identity and per bound prefix length.
    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<IdentityHistory>>;

    /// The version of the bindings and [`BindingsMark::guided_through`], read together. The version
    /// differs after each change that may invalidate an account found earlier by
    /// [`guide`](Self::guide): a binding that ends, a bound prefix, a bound address within a
    /// prefix.
    async fn bindings_mark(&self) -> StoreResult<BindingsMark>;

    /// Moves [`BindingsMark::guided_through`] forward to the database's clock, never back. Returns
    /// whether it was moved. If a change of bindings is in flight, the call waits for the change,
    /// or moves nothing.
    async fn advance_guided_through(&self) -> StoreResult<bool>;

    /// The bindings of an account, sorted by identity and start, at most `most`.
    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>>;
}

/// A binding of an identity to an account for an interval (P28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `ip:…`, `user:…`, `tel:…`. Rows of older releases keep the spelling that was typed.
    pub identity: String,
    /// The account that holds the identity.
    pub account: AccountNumber,
    /// The start of the interval, inclusive.
    pub from: Timestamp,
    /// The end of the interval, exclusive; [`Timestamp::MAX`] while no end is known.
    pub until: Timestamp,
}

/// The outcome of adding a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindOutcome {
    /// The binding was added to the history.
    Bound,
    /// The account already holds the identity for the whole interval.
    Already,
    /// This binding already holds the identity for part of the interval.
    Taken(Binding),
    /// The identity has the maximum number of bindings, those that were taken away included.
    Full,
}

/// A change of the account that holds an identity for an interval (P28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebinding {
    /// Binds the identity to the account if no other account holds it for part of the interval.
    Bind(Binding),
    /// Binds the identity to the account; existing bindings lose their part of the interval.
    Move {
        /// The account, the identity and the interval.
        binding: Binding,
        /// Before this instant the history is final: a change of it is refused.
        final_before: Timestamp,
    },
    /// Takes the identity from the account for the interval.
    Release {
        /// The account, the identity and the interval.
        binding: Binding,
        /// Before this instant the history is final: a change of it is refused.
        final_before: Timestamp,
    },
}

impl Rebinding {
    /// The account, the identity and the interval.
    pub const fn binding(&self) -> &Binding {
        match self {
            Self::Bind(binding) | Self::Move { binding, .. } | Self::Release { binding, .. } => {
                binding
            }
        }
    }
}

/// The outcome of a [`Rebinding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebindOutcome {
    /// The change was made. It removed these parts of bindings, all within the interval asked for.
    Changed(Vec<Binding>),
    /// The history already has the requested state.
    Already,
    /// This binding already holds the identity for part of the interval.
    Taken(Binding),
    /// The account does not hold the identity in the interval. Names the binding of the account
    /// that does, if any.
    NotHeld(Option<Binding>),
    /// The change would take a final instant from this binding.
    Final(Binding),
    /// The identity has the maximum number of bindings, those that were taken away included.
    Full,
}

/// The state of the bindings that a front compares before it uses an earlier look-up (P28).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindingsMark {
    /// Differs after each change that may invalidate an account that a look-up returned.
    pub version: u64,
    /// An instant of the database's clock, which never goes back. Look-ups that are made after this
    /// value was read are valid for records that start up to a fixed time after this instant. Every
    /// change that `version` does not include is recorded at this instant or later.
    pub guided_through: Timestamp,
}

/// An identity's whole history, sorted by `from`; empty if the identity was never bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityHistory {
    /// The identity's own bindings. Their intervals do not overlap.
    pub bindings: Vec<Binding>,
    /// For an address or a prefix: the histories of the bound prefixes that contain it, longest
    /// prefix first.
    pub prefixes: Vec<Vec<Binding>>,
    /// The intervals for which look-ups once found one account, and later another account or none;
    /// each with the account that was found first. A record that starts in such an interval may
    /// have been rated for that account. The intervals are sorted and do not overlap.
    pub first_holders: Vec<Binding>,
}

impl IdentityHistory {
    /// The account that the identity was bound to at `start`: by a binding of its own, else by the
    /// longest prefix.
    pub fn bound_at(&self, start: Timestamp) -> Option<AccountNumber> {
        let mut prefixes = self.prefixes.iter();
        holder(&self.bindings, start)
            .or_else(|| prefixes.find_map(|longest_first| holder(longest_first, start)))
    }

    /// The first holder (the account that look-ups returned first) at `start`, if the identity has
    /// moved to another account since records with this start were first accepted.
    pub fn first_holder_at(&self, start: Timestamp) -> Option<AccountNumber> {
        holder(&self.first_holders, start)
    }
}

/// The account whose binding is in force at `start`. The bindings are sorted by start and do not
/// overlap.
fn holder(bindings: &[Binding], start: Timestamp) -> Option<AccountNumber> {
    let after = bindings.partition_point(|binding| binding.from <= start);
    let binding = bindings.get(after.checked_sub(1)?)?;
    (start < binding.until).then_some(binding.account)
}

/// Refuses bindings that are never valid, before any of them is written.
///
/// # Errors
/// `Refused`, naming the first such binding.
pub(crate) fn check_bindings<'a>(
    bindings: impl IntoIterator<Item = &'a Binding>,
) -> StoreResult<()> {
    for binding in bindings {
        let length = binding.identity.len();
        let why = if length == 0 || length > IDENTITY_BYTES_MAX {
            format!("an identity has 1 to {IDENTITY_BYTES_MAX} bytes, not {length}")
        } else if binding.identity.contains('\0') {
            "an identity holds no NUL".to_owned()
        } else if binding.from >= binding.until {
            format!("its interval {}..{} is empty", binding.from.micros(), binding.until.micros())
        } else if binding.account.0 == 0 {
            "account 0 stands for no account".to_owned()
        } else {
            continue;
        };
        return Err(StoreError::Refused(format!("binding of {:?}: {why}", binding.identity)));
    }
    Ok(())
}
