//! Identities in canonical spelling. A usage record names an identity if its account is not known.
//! ```text
//!  ip:ADDRESS          2001:DB8:0:0::77 equals 2001:db8::77; ::ffff:192.0.2.1 equals 192.0.2.1
//!  ip:ADDRESS/LENGTH   all addresses of a prefix; /32 (IPv4) and /128 (IPv6) mean one address
//!  user:NAME           compared byte by byte, including case and spaces
//!  tel:NUMBER          digits with an optional leading +; separators are removed, and the (0)
//!                      behind a country code
//! ```
//!
//! Two identities are equal if and only if their canonical spellings ([`Identity::as_str`]) are
//! equal. Code must compare canonical spellings only.

use std::fmt;
use std::iter::successors;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::limits::IDENTITY_BYTES_MAX;
use crate::text::{has_control, shown};

const IPV4_BITS: u8 = 32;
const IPV6_BITS: u8 = 128;
/// The prefix length of `::ffff:0:0/96`, the IPv6 form of IPv4 addresses.
const MAPPED_BITS: u8 = 96;

/// The least length of an IPv4 prefix that may be bound.
const IPV4_BOUND_MIN: u8 = 8;
/// The least length of an IPv6 prefix that may be bound.
const IPV6_BOUND_MIN: u8 = 16;

/// An identity in canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    /// A prefix without host bits. With full length it is a single address.
    Ip(IpNet),
    User,
    Tel,
}

/// Text that is not an identity, with the problem and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct IdentityError {
    /// The problem, including the text.
    pub problem: String,
    /// The text to write instead.
    pub remedy: String,
}

fn wrong(problem: String, remedy: impl Into<String>) -> IdentityError {
    IdentityError { problem, remedy: remedy.into() }
}

impl Identity {
    /// Parses an identity in any spelling.
    ///
    /// # Errors
    /// [`IdentityError`] for a kind other than `ip:`, `user:` and `tel:`, an invalid address, an
    /// IPv6 zone, a prefix with host bits, a control character, a `(0)` in a number that does not
    /// follow `+` and the country code, or more than [`IDENTITY_BYTES_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text.len() > IDENTITY_BYTES_MAX {
            let problem = format!("an identity of {} bytes", text.len());
            return Err(wrong(problem, format!("write at most {IDENTITY_BYTES_MAX} bytes")));
        }
        match text.split_once(':') {
            Some(("ip", address)) => Ok(Self::of_prefix(prefix(text, address)?)),
            Some(("user", name)) => user(text, name),
            Some(("tel", number)) => tel(text, number),
            _ => Err(wrong(
                format!("{} is not an identity", shown(text)),
                "write ip:ADDRESS, ip:ADDRESS/LENGTH, user:NAME or tel:NUMBER",
            )),
        }
    }

    /// Parses an identity that is to be bound to an account. A prefix that holds a large part of all
    /// addresses is most likely an error, and its account would get usage of everybody whose
    /// address is not bound.
    ///
    /// # Errors
    /// As for [`Identity::parse`], for a prefix of less than 8 bits (IPv4) or 16 bits (IPv6), and for
    /// a number that begins with 00: with + it is another identity, and usage arrives under that.
    pub fn parse_bound(text: &str) -> Result<Self, IdentityError> {
        let identity = Self::parse(text)?;
        if let Some(number) = identity.text.strip_prefix("tel:00") {
            let problem =
                format!("{} begins with 00, which is dialled before a country code", shown(text));
            return Err(wrong(
                problem,
                format!(
                    "write tel:+{number}, and + in the usage records too: with 00 it is another number"
                ),
            ));
        }
        let Some((is_v4, length)) = identity.prefix_length() else { return Ok(identity) };
        let (family, min) = match is_v4 {
            true => ("IPv4", IPV4_BOUND_MIN),
            false => ("IPv6", IPV6_BOUND_MIN),
        };
        if length >= min {
            return Ok(identity);
        }
        let problem = format!("{} holds too many addresses for one account", shown(text));
        Err(wrong(problem, format!("write an {family} prefix of /{min} or longer")))
    }

    /// Parses the identity of one usage record: an address, not a prefix.
    ///
    /// # Errors
    /// As for [`Identity::parse`], and for a prefix.
    pub fn parse_single(text: &str) -> Result<Self, IdentityError> {
        let identity = Self::parse(text)?;
        if identity.is_prefix() {
            let problem = format!("{} names many addresses", shown(text));
            return Err(wrong(problem, "write the one address of the usage, without /LENGTH"));
        }
        Ok(identity)
    }

    /// The identity of an address.
    pub fn of_address(address: IpAddr) -> Self {
        Self::of_prefix(IpNet::from(address.to_canonical()))
    }

    fn of_prefix(prefix: IpNet) -> Self {
        let text = match is_address(&prefix) {
            true => format!("ip:{}", prefix.addr()),
            false => format!("ip:{prefix}"),
        };
        Self { text, kind: Kind::Ip(prefix) }
    }

    /// The canonical spelling.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is a prefix of more than one address.
    pub fn is_prefix(&self) -> bool {
        matches!(&self.kind, Kind::Ip(prefix) if !is_address(prefix))
    }

    /// Whether the prefix is IPv4, and its length; `None` if this is not a prefix.
    pub fn prefix_length(&self) -> Option<(bool, u8)> {
        match self.kind {
            Kind::Ip(prefix) if self.is_prefix() => Some((is_v4(&prefix), prefix.prefix_len())),
            _ => None,
        }
    }

    /// Whether this is an address or a prefix.
    pub const fn is_ip(&self) -> bool {
        matches!(self.kind, Kind::Ip(_))
    }

    /// The prefixes of the given lengths that contain this identity, longest first, excluding this
    /// identity itself. Empty if the identity is neither an address nor a prefix.
    pub fn prefixes(&self, lengths: PrefixLengths) -> impl Iterator<Item = Self> + use<> {
        let prefix = match self.kind {
            Kind::Ip(prefix) => Some(prefix),
            Kind::User | Kind::Tel => None,
        };
        successors(prefix, IpNet::supernet)
            .skip(1)
            .filter(move |outer| lengths.has(is_v4(outer), outer.prefix_len()))
            .map(Self::of_prefix)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.text
    }
}

fn is_address(prefix: &IpNet) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

const fn is_v4(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V4(_))
}

/// Parses the part after `ip:`.
fn prefix(text: &str, address: &str) -> Result<IpNet, IdentityError> {
    let (address, length) = match address.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (address, None),
    };
    let written: IpAddr = address.parse().map_err(|_| no_address(text, address))?;
    let Some(length) = length else { return Ok(IpNet::from(written.to_canonical())) };
    let digits = length.bytes().all(|byte| byte.is_ascii_digit()) && length.len() <= 3;
    let plain = digits && (length == "0" || !length.starts_with('0'));
    let length = length.parse().ok().filter(|_| plain);
    let prefix = length.and_then(|length| prefix_of(written, length)).ok_or_else(|| {
        let width = IpNet::from(written).max_prefix_len();
        wrong(format!("{} has no prefix length", shown(text)), format!("write /0 to /{width}"))
    })?;
    let cut = prefix.trunc();
    if cut == prefix {
        return Ok(cut);
    }
    Err(wrong(
        format!("{} has bits set after its prefix of {} bits", shown(text), prefix.prefix_len()),
        format!("write ip:{cut} for the prefix, or ip:{} for the address", prefix.addr()),
    ))
}

/// The prefix of this length of an address as it is written, with the host bits; `None` if the
/// length is greater than that of an address.
fn prefix_of(written: IpAddr, length: u8) -> Option<IpNet> {
    // In the IPv6 form of an IPv4 address, the length includes the 96 leading bits.
    let (address, length) = match (written.to_canonical(), length.checked_sub(MAPPED_BITS)) {
        (canonical @ IpAddr::V4(_), Some(length)) if written.is_ipv6() => (canonical, length),
        _ => (written, length),
    };
    IpNet::new(address, length).ok()
}

fn no_address(text: &str, address: &str) -> IdentityError {
    if address.contains('%') {
        let problem = format!("{} has a zone, which is valid on one host only", shown(text));
        return wrong(problem, "write the address without %ZONE");
    }
    wrong(
        format!("{} has no valid address", shown(text)),
        "write ip:192.0.2.1, ip:2001:db8::1 or a prefix such as ip:198.51.100.8/29; a name is user:NAME",
    )
}

fn user(text: &str, name: &str) -> Result<Identity, IdentityError> {
    if name.is_empty() {
        return Err(wrong(format!("{} names no user", shown(text)), "write user:NAME"));
    }
    if has_control(name) {
        let problem = format!("{} has a control character", shown(text));
        return Err(wrong(
            problem,
            "write the name without line breaks, tabs and other control characters",
        ));
    }
    Ok(Identity { text: text.to_owned(), kind: Kind::User })
}

fn tel(text: &str, number: &str) -> Result<Identity, IdentityError> {
    let (plus, digits) = match number.strip_prefix('+') {
        Some(digits) => ("+", digits),
        None => ("", number),
    };
    let is_separator = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')' | '/');
    if !digits.chars().all(|c| c.is_ascii_digit() || is_separator(c)) {
        return Err(wrong(
            format!("{} is not a telephone number", shown(text)),
            "write tel: and digits, with a + in front of an international number",
        ));
    }
    let digits = match digits.split_once("(0)") {
        Some((before, after)) if before.contains(|c: char| c.is_ascii_digit()) => {
            let code = digits_of(before);
            if plus.is_empty() || code.len() != country_code_length(&code) || after.contains("(0)")
            {
                return Err(wrong(
                    format!("{} has a (0) that does not follow +, country code", shown(text)),
                    "write the number with + and its country code, without (0): tel:+41441234567",
                ));
            }
            // The 0 is part of Italian numbers, also from abroad.
            let kept = if code == ITALY { "0" } else { "" };
            format!("{code}{kept}{}", digits_of(after))
        }
        _ => digits_of(digits),
    };
    if digits.is_empty() {
        return Err(wrong(format!("{} has no digits", shown(text)), "write tel:+41441234567"));
    }
    Ok(Identity { text: format!("tel:{plus}{digits}"), kind: Kind::Tel })
}

/// The country code of Italy.
const ITALY: &str = "39";

fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// The number of digits of the country code with which a number begins (ITU-T E.164).
fn country_code_length(digits: &str) -> usize {
    const TWO_DIGITS: &[&str] = &[
        "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46",
        "47", "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63",
        "64", "65", "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
    ];
    match digits.get(..2) {
        _ if digits.starts_with(['1', '7']) => 1,
        Some(code) if TWO_DIGITS.contains(&code) => 2,
        _ => 3,
    }
}

/// A set of prefix lengths, separate for IPv4 and IPv6: the lengths of the prefixes that must be
/// looked up for an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixLengths {
    v4: u32,
    v6: u128,
}

impl PrefixLengths {
    /// The empty set.
    pub const NONE: Self = Self { v4: 0, v6: 0 };
    /// All lengths shorter than an address.
    pub const ALL: Self = Self { v4: u32::MAX, v6: u128::MAX };

    /// Adds the length of the identity if it is a prefix.
    pub fn add(&mut self, identity: &Identity) {
        if let Some((is_v4, length)) = identity.prefix_length() {
            self.add_length(is_v4, length);
        }
    }

    /// Adds a length. The full length of an address is ignored.
    pub fn add_length(&mut self, is_v4: bool, length: u8) {
        if is_v4 && length < IPV4_BITS {
            self.v4 |= 1 << length;
        } else if !is_v4 && length < IPV6_BITS {
            self.v6 |= 1 << length;
        }
    }

    /// Whether no prefix of these lengths can contain the identity.
    pub fn is_empty_for(&self, identity: &Identity) -> bool {
        match identity.kind {
            Kind::Ip(IpNet::V4(_)) => self.v4 == 0,
            Kind::Ip(IpNet::V6(_)) => self.v6 == 0,
            Kind::User | Kind::Tel => true,
        }
    }

    const fn has(&self, is_v4: bool, length: u8) -> bool {
        if is_v4 { self.v4 >> length & 1 == 1 } else { self.v6 >> length & 1 == 1 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
