//! The one rule for texts that enter from outside: names, ids, attributes and reasons.
//!
//! A legal text has at most as many bytes as its kind allows, and no control character: no NUL,
//! which PostgreSQL can't store, and no line break or tab, which would break a line of a log or of
//! a file. Texts are checked where they enter, and again by the owner of a partition.

use std::fmt;

/// A kind of text, and its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextKind {
    /// The kind in words, with an article, such as `a record id`.
    pub words: &'static str,
    /// The maximum length in bytes.
    pub bytes_max: usize,
}

/// The id of a record.
pub const RECORD_ID: TextKind = kind("a record id", crate::limits::RECORD_ID_BYTES_MAX);
/// A usage type.
pub const USAGE_TYPE: TextKind = kind("a usage type", crate::limits::USAGE_TYPE_BYTES_MAX);
/// An identity such as `ip:192.0.2.1`.
pub const IDENTITY: TextKind = kind("an identity", crate::limits::IDENTITY_BYTES_MAX);
/// The name of a source of records.
pub const SOURCE: TextKind = kind("a source's name", crate::limits::SOURCE_BYTES_MAX);
/// The name of an attribute, of a measure or of a plan's parameter.
pub const ATTRIBUTE_NAME: TextKind = kind("an attribute's name", 256);
/// The value of an attribute or of a plan's parameter. The size of the whole record or account
/// bounds it.
pub const ATTRIBUTE_VALUE: TextKind = kind("an attribute", crate::limits::RECORD_BYTES_MAX);
/// The id of a price plan.
pub const PLAN_ID: TextKind = kind("a plan's id", 128);
/// The id of a reference table.
pub const TABLE_ID: TextKind = kind("a table's id", 128);
/// The name of an option.
pub const OPTION: TextKind = kind("an option's name", 64);
/// The name of a consumer of the feed.
pub const CONSUMER: TextKind = kind("a consumer's name", 128);
/// The name of a node.
pub const NODE: TextKind = kind("a node's name", 128);
/// The name of a time zone.
pub const ZONE: TextKind = kind("a time zone's name", 64);
/// The word of a reason.
pub const REASON: TextKind = kind("a reason", 64);

const fn kind(words: &'static str, bytes_max: usize) -> TextKind {
    TextKind { words, bytes_max }
}

impl TextKind {
    /// Checks the length and the characters of `text`. An empty text is legal.
    ///
    /// # Errors
    /// [`TextError`], which shows at most the beginning of the text.
    pub fn check(self, text: &str) -> Result<(), TextError> {
        if self.is_legal(text) {
            return Ok(());
        }
        let problem = if text.len() > self.bytes_max {
            format!("has {} bytes: write at most {}", text.len(), self.bytes_max)
        } else {
            let found = text.char_indices().find(|(_, letter)| letter.is_control());
            let (at, letter) = found.map_or((0, '\0'), |(at, letter)| (at + 1, letter));
            format!(
                "has a control character (U+{:04X}) at byte {at}: write it without line breaks, tabs \
                 and other control characters",
                u32::from(letter)
            )
        };
        Err(TextError { kind: self, shown: shown(text), problem })
    }

    /// Whether [`check`](Self::check) accepts the text.
    pub fn is_legal(self, text: &str) -> bool {
        text.len() <= self.bytes_max && !has_control(text)
    }
}

/// Whether the text has a control character.
pub fn has_control(text: &str) -> bool {
    // Most texts are printable ASCII, and this is asked for each text of each record.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
    !is_plain && text.chars().any(char::is_control)
}

/// The beginning of a text, quoted, for a message.
pub fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let start: String = text.chars().take(CHARS_MAX).collect();
    if start.len() == text.len() { format!("{text:?}") } else { format!("{start:?}...") }
}

/// A text that is too long or has a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    kind: TextKind,
    shown: String,
    problem: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind.words, self.shown, self.problem)
    }
}

impl std::error::Error for TextError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_legal_up_to_its_bytes_and_without_control_characters() {
        for legal in ["", "a b", "é€🦀", &"x".repeat(128), &"é".repeat(64)] {
            assert_eq!(PLAN_ID.check(legal), Ok(()), "{legal}");
        }
        for (illegal, words) in [
            ("a\0b", "U+0000) at byte 2"),
            ("é\n", "U+000A) at byte 3"),
            ("\t", "U+0009) at byte 1"),
            ("\u{7f}", "U+007F"),
            ("\u{85}", "U+0085"),
            (&"x".repeat(129), "129 bytes: write at most 128"),
            (&"é".repeat(65), "130 bytes"),
        ] {
            let told = PLAN_ID.check(illegal).unwrap_err().to_string();
            assert!(told.contains(words) && told.starts_with("a plan's id \""), "{told}");
        }
    }

    #[test]
    fn a_message_shows_only_the_beginning_of_a_long_text() {
        let told = PLAN_ID.check(&"€".repeat(50_000)).unwrap_err().to_string();
        assert!(told.len() < 400, "{}", told.len());
        assert!(!shown("a\0\n").contains(['\0', '\n']));
    }
}
