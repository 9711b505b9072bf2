//! Assertion of an internal invariant, where code relies on it.

use std::fmt;

/// A result that is never an error, or an option that is never empty, unless this program has a
/// fault.
///
/// For values that were made by the same process only. What comes from outside the process, such as
/// input, stored data or another process, must end in an error instead: a panic would repeat after
/// each restart.
pub trait Must<T> {
    /// Returns the value. `why` states why there is always one.
    ///
    /// # Panics
    /// There is none, which is a fault of this program. An owner that panics is replaced by one
    /// with a higher epoch.
    fn must(self, why: &str) -> T;
}

impl<T> Must<T> for Option<T> {
    #[inline]
    #[track_caller]
    fn must(self, why: &str) -> T {
        match self {
            Some(value) => value,
            None => broken(why, &"no value"),
        }
    }
}

impl<T, E: fmt::Debug> Must<T> for Result<T, E> {
    #[inline]
    #[track_caller]
    fn must(self, why: &str) -> T {
        match self {
            Ok(value) => value,
            Err(error) => broken(why, &error),
        }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn broken(why: &str, found: &dyn fmt::Debug) -> ! {
    panic!("broken invariant: {why} (found: {found:?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_must_be_there_is_returned() {
        assert_eq!(Some(3).must("three was put in"), 3);
        assert_eq!(Ok::<_, String>(4).must("four is no error"), 4);
    }

    #[test]
    #[should_panic = "broken invariant: an even count was checked (found: \"odd\")"]
    fn a_broken_invariant_panics_with_its_statement_and_the_error() {
        Err::<u8, _>("odd").must("an even count was checked");
    }
}
