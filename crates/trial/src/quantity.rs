//! Quantities as a plan's author would have written them.

use turnpike_plan::Unit;

/// Time in seconds, octets in bytes, anything else as it is counted.
pub(crate) fn shown(base: i128, unit: Unit) -> String {
    match unit {
        Unit::Microsecond => {
            let sign = if base < 0 { "-" } else { "" };
            let (whole, part) = (base.unsigned_abs() / 1_000_000, base.unsigned_abs() % 1_000_000);
            let part = format!(".{part:06}");
            format!("{sign}{whole}{} s", part.trim_end_matches('0').trim_end_matches('.'))
        }
        Unit::Byte => format!("{base} B"),
        Unit::One => base.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shown_in_seconds_and_octets_in_bytes() {
        assert_eq!(shown(3_600_000_001, Unit::Microsecond), "3600.000001 s");
        assert_eq!(shown(-7_200_000_000, Unit::Microsecond), "-7200 s");
        assert_eq!(shown(5, Unit::Byte), "5 B");
        assert_eq!(shown(-5, Unit::One), "-5");
    }
}
