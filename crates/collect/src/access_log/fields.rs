//! Parsers of the single fields of a log line.

use jiff::fmt::strtime;
use turnpike_types::Timestamp;

/// The notation of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// `[17/May/2015:10:05:03 +0000]`
    Bracketed,
    /// Seconds since 1970-01-01T00:00:00Z.
    Seconds,
    Millis,
    Micros,
}

impl Time {
    /// The longest text of a time, in bytes.
    pub(super) const BYTES_MAX: usize = 40;

    /// The notation that `%{NAME}t` specifies; `None` if this reader does not support `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.strip_prefix("begin:").unwrap_or(name) {
            "sec" => Some(Self::Seconds),
            "msec" => Some(Self::Millis),
            "usec" => Some(Self::Micros),
            _ => None,
        }
    }

    /// The instant of `text`; `None` if it is not a time in this notation.
    pub(super) fn read(self, text: &str) -> Option<Timestamp> {
        let micros = match self {
            Self::Bracketed => {
                let time = text.strip_prefix('[')?.strip_suffix(']')?;
                let time = strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).ok()?;
                return Some(Timestamp(time.to_timestamp().ok()?.as_microsecond()));
            }
            Self::Seconds => 1_000_000,
            Self::Millis => 1_000,
            Self::Micros => 1,
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let count: i64 = digits.then(|| text.parse().ok())??;
        count.checked_mul(micros).map(Timestamp)
    }
}

/// A status of three digits; `None` for other text.
pub(super) fn status(text: &str) -> Option<u16> {
    let is_status = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_status.then(|| text.parse().ok())?
}

/// A size in octets; `-` means 0. `None` for other text.
pub(super) fn size(text: &str) -> Option<i64> {
    match text {
        "-" => Some(0),
        _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok()
        }
        _ => None,
    }
}
