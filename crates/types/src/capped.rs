//! Conversion of counts to narrower integers, where "at least so many" is a right answer.

/// `count` as another integer type; the largest value of that type if `count` exceeds it.
///
/// For limits, sizes and durations only. A position or an amount must be converted exactly.
pub fn capped<T: Largest>(count: impl TryInto<T> + Count) -> T {
    match count.try_into() {
        Ok(count) => count,
        // A count is not negative, so it can only be too large.
        Err(_) => T::LARGEST,
    }
}

/// An unsigned integer.
pub trait Count {}

/// An integer type with a largest value.
pub trait Largest {
    /// The largest value.
    const LARGEST: Self;
}

macro_rules! counts {
    ($($integer:ident)+) => { $(impl Count for $integer {})+ };
}

macro_rules! largest {
    ($($integer:ident)+) => {
        $(impl Largest for $integer {
            const LARGEST: Self = Self::MAX;
        })+
    };
}

counts!(u32 u64 u128 usize);
largest!(u32 u64 i64 usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_does_not_fit_becomes_the_largest_value() {
        assert_eq!(capped::<u32>(7usize), 7);
        assert_eq!(capped::<u32>(1u64 << 32), u32::MAX);
        assert_eq!(capped::<i64>(u128::MAX), i64::MAX);
    }
}
