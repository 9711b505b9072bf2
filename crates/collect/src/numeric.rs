//! Numbers in a notation that is not accepted.

use crate::fault::{Problem, shown};

/// The fault of a number in a notation that is not accepted: with commas, with an exponent, or a
/// negative number written as unsigned. `None` for other text.
pub(crate) fn numeric(text: &str) -> Option<Problem> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let only = |allowed: &[u8]| text.bytes().all(|b| b.is_ascii_digit() || allowed.contains(&b));
    if digits == 0 {
        None
    } else if text.contains(',') && only(b",.+-") {
        Some(Problem::row(
            format!("{} has a comma, which can be a decimal or a thousands separator", shown(text)),
            "write digits without separators, and a point before decimals",
        ))
    } else if text.contains(['e', 'E']) && only(b"eE.+-") {
        Some(Problem::row(
            format!("{} has an exponent, so digits may be lost", shown(text)),
            "write all digits; in a spreadsheet, format the column as a number without decimals",
        ))
    } else if only(b"") && text.parse::<u64>().is_ok_and(|number| i64::try_from(number).is_err()) {
        Some(Problem::row(
            format!(
                "{} is too large; it may be a negative number written as unsigned",
                shown(text)
            ),
            "write a number up to 9223372036854775807, and fix the program that wrote it",
        ))
    } else {
        None
    }
}
