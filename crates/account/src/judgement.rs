//! The result of checking a change, and how its message writes an instant.

/// The result of checking a change of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// The change is valid and changes the account.
    Changes,
    /// The account is already in this state.
    Already,
    /// The change is refused, with the reason.
    Refused(String),
}

/// The text of an instant in a message.
pub(crate) fn instant(at_us: i64) -> String {
    match jiff::Timestamp::from_microsecond(at_us) {
        Ok(at) => at.to_string(),
        Err(_) => format!("{at_us} us"),
    }
}
