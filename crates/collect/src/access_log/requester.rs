//! Conversion of the client in a log line to the identity that is charged.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::fault::{Problem, shown};

/// The identity of a client: `ip:ADDRESS`, or `user:NAME` for a host name if `hostnames` is set.
///
/// # Errors
/// The word is neither an address nor an accepted host name. It may be a virtual host or damaged,
/// so no identity is derived from it.
pub(super) fn identity(word: &str, hostnames: bool) -> Result<String, Problem> {
    if let Some(address) = address(word) {
        return Ok(format!("ip:{address}"));
    }
    if hostnames && is_host_name(word) {
        return crate::fields::checked_identity("host", &format!("user:{word}"));
    }
    let problem = format!("the client {} is not an address", shown(word));
    let remedy = match is_host_name(word) && !hostnames {
        true => {
            "if the server logs host names (HostnameLookups On), give --hostnames and --format; if \
            this is a virtual host, give the --format of the log"
        }
        false => "give the --format of the log (see turnpike collect access-log --help)",
    };
    Err(Problem::field("host", problem, remedy))
}

/// An address in canonical form: without port, zone and brackets. An IPv4-mapped IPv6 address
/// becomes an IPv4 address. `None` if the word is not an address.
pub(super) fn address(word: &str) -> Option<IpAddr> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(SocketAddr::V4(socket)) = word.parse::<SocketAddr>() {
        return Some(IpAddr::V4(*socket.ip()));
    }
    let inner = match word.strip_prefix('[') {
        Some(bracketed) => {
            let (inner, port) = bracketed.split_once(']')?;
            let is_port = port.is_empty()
                || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
            is_port.then_some(inner)?
        }
        None => word,
    };
    // The zone names a network interface of the server, so it is not part of the client.
    let inner = match inner.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => address,
        _ => inner,
    };
    inner.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
}

/// Whether the word can be a host name of DNS. A last label without letters is not accepted, so an
/// address or a damaged address is not a host name.
fn is_host_name(word: &str) -> bool {
    let labels = word.strip_suffix('.').unwrap_or(word);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = labels.rsplit('.').next().unwrap_or_default();
    labels.len() <= 253
        && labels.split('.').all(is_label)
        && last.bytes().any(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_identity_however_it_is_written() {
        for (word, expected) in [
            ("192.0.2.9", "ip:192.0.2.9"),
            ("192.0.2.9:50001", "ip:192.0.2.9"),
            ("2001:DB8:0::1", "ip:2001:db8::1"),
            ("[2001:db8::1]", "ip:2001:db8::1"),
            ("[2001:db8::1]:443", "ip:2001:db8::1"),
            ("fe80::1%eth1", "ip:fe80::1"),
            ("[fe80::1%25eth1]:80", "ip:fe80::1"),
            ("::ffff:192.0.2.7", "ip:192.0.2.7"),
            ("[::ffff:192.0.2.7]:8080", "ip:192.0.2.7"),
        ] {
            assert_eq!(identity(word, false).unwrap(), expected);
            assert_eq!(identity(word, true).unwrap(), expected);
        }
    }

    #[test]
    fn only_an_address_becomes_an_identity() {
        for word in [
            "www.example.net:443",
            "-",
            "",
            "192.0.2.300",
            "192.0.2",
            "192.0.02.1",
            "203.0.113.7,",
            "[2001:db8::1",
            "[2001:db8::1]:99999",
            "[2001:db8::1]x",
            "fe80::1%",
            "192.0.2.9:x",
            "\u{feff}192.0.2.1",
            "\u{1}92.0.2.1",
            "unix:",
            "a/b",
            "über.example",
            "x:y",
            "%h",
            "192.0.2.1%eth0",
        ] {
            assert!(identity(word, false).is_err(), "{word}");
            assert!(identity(word, true).is_err(), "{word}");
        }
    }

    #[test]
    fn host_names_are_accepted_on_request() {
        for word in ["proxy.example.net", "localhost", "a-b.example.", "10.host"] {
            let wrong = identity(word, false).unwrap_err().at("a.log", 1).to_string();
            assert!(wrong.contains("--hostnames"), "{wrong}");
            assert_eq!(identity(word, true).unwrap(), format!("user:{word}"));
        }
    }
}
