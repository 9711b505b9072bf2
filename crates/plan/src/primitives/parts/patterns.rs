//! Patterns for texts of a record: `*.html`, `col_pc_add?*`, and for statuses `2xx|304`.

use std::str::Chars;

use crate::language::spec::{Value, ValueType};

/// The maximum length of a pattern, which bounds the cost of matching a record.
const PATTERN_BYTES_MAX: usize = 256;

/// A pattern: `*` matches any characters, `?` matches one.
pub(crate) const PATTERN: Value = Value::Of(&ValueType { name: "pattern", check });

/// Status patterns separated by `|`. In a pattern of three characters such as `4xx` or `40x`, `x`
/// matches any digit. Other patterns match as a [`PATTERN`] does.
pub(crate) const STATUS: Value = Value::Of(&ValueType {
    name: "status-pattern",
    check: |text| text.split('|').try_for_each(check),
});

fn check(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty: write * to match any text, or leave it out".to_owned());
    }
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("it has more than {PATTERN_BYTES_MAX} bytes: shorten it with *"));
    }
    Ok(())
}

/// Whether a text matches a [`PATTERN`].
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // The pattern after the last star, and the text that the star has not consumed.
    let mut star: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (mut next, mut rest) = (pattern.clone(), text.clone());
        match (next.next(), rest.next()) {
            (Some('*'), _) => {
                star = Some((next.clone(), text.clone()));
                pattern = next;
                continue;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern, text) = (next, rest);
                continue;
            }
            (None, None) => return true,
            (_, None) => return false,
            (_, Some(_)) => {}
        }
        // Backtrack: the star consumes one more character.
        let Some((after, taken)) = &mut star else { return false };
        taken.next();
        (pattern, text) = (after.clone(), taken.clone());
    }
}

/// Whether a text matches a [`STATUS`].
pub(crate) fn status_fits(pattern: &str, status: &str) -> bool {
    pattern.split('|').any(|one| class_fits(one, status).unwrap_or_else(|| fits(one, status)))
}

/// Matches patterns such as `4xx` and `40x`; `None` for other patterns.
fn class_fits(pattern: &str, status: &str) -> Option<bool> {
    let digit = |byte: u8| byte.is_ascii_digit();
    let [first, rest @ ..] = pattern.as_bytes() else { return None };
    if rest.len() != 2 || !digit(*first) || !rest.iter().all(|&byte| digit(byte) || byte == b'x') {
        return None;
    }
    let same = |(&wanted, found): (&u8, u8)| wanted == found || (wanted == b'x' && digit(found));
    Some(status.len() == 3 && pattern.as_bytes().iter().zip(status.bytes()).all(same))
}

/// Whether a status is a failure, that is, neither 2xx nor 3xx.
pub(crate) fn is_failed(status: &str) -> bool {
    !status_fits("2xx|3xx", status)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_matches_any_text_and_a_question_mark_one_character() {
        for (pattern, text) in [
            ("*", ""),
            ("col_pc_add*", "col_pc_add.d2w/input"),
            ("*/report", "col_login.d2w/report"),
            ("*a*b?", "xaabba b\u{e9}"),
            ("?", "\u{1f600}"),
            ("a*a", "aa"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("?", ""), ("a*a", "a"), ("A", "a"), ("*b", "ba"), ("a", "ab")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_status_fits_one_of_several_classes_numbers_or_patterns() {
        assert!(status_fits("2xx|304", "206") && status_fits("2xx|304", "304"));
        assert!(
            !status_fits("2xx|304", "301")
                && !status_fits("2xx", "20")
                && !status_fits("2xx", "2000")
        );
        assert!(status_fits("aborted|xx*", "xxl") && !status_fits("2xx", "2ab"));
        assert!(!is_failed("204") && !is_failed("302"));
        assert!(is_failed("404") && is_failed("") && is_failed("timeout") && is_failed("100"));
    }

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
            (['?', rest @ ..], [_, others @ ..]) => naive(rest, others),
            ([one, rest @ ..], [other, others @ ..]) => one == other && naive(rest, others),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_by_its_definition(pattern in "[ab?*]{0,8}", text in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(fits(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
        }
    }
}
