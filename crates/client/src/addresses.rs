//! Which addresses of fronts a client uses: nothing is sent without TLS by mistake.

use std::net::IpAddr;

use tonic::transport::Uri;

use crate::error::ClientError;

/// Where a client connects without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// To its own machine only.
    OwnMachine,
    /// To every machine. An attacker on the network in between can read and change the traffic unnoticed.
    Everywhere,
}

impl Plaintext {
    /// Refuses addresses that are not those of fronts, or where the requests would be sent without TLS
    /// although that is not allowed. Addresses with and without TLS are never mixed: else an attacker that
    /// blocks one front could move the client to a connection without TLS.
    ///
    /// # Errors
    /// As described, with the address.
    pub fn check(self, urls: &[String]) -> Result<(), ClientError> {
        urls.iter().try_for_each(|url| host(url).map(drop))?;
        let Some(plain) = urls.iter().find(|url| !is_secure(url)) else { return Ok(()) };
        if let Some(secure) = urls.iter().find(|url| is_secure(url)) {
            let (secure, plain) = (secure.clone(), plain.clone());
            return Err(ClientError::MixedAddresses { secure, plain });
        }
        match self {
            Self::Everywhere => Ok(()),
            Self::OwnMachine => match urls.iter().find(|url| !is_near(url)) {
                Some(far) => Err(ClientError::Plaintext { url: far.clone() }),
                None => Ok(()),
            },
        }
    }
}

/// Refuses an address at which others could read a token on its way.
pub(crate) fn check_private(url: &str) -> Result<(), ClientError> {
    host(url)?;
    if is_secure(url) || is_near(url) {
        return Ok(());
    }
    Err(ClientError::TokenInClear { url: url.to_owned() })
}

pub(crate) fn is_secure(url: &str) -> bool {
    url.starts_with("https://")
}

fn is_near(url: &str) -> bool {
    let Ok(host) = host(url) else { return false };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn host(url: &str) -> Result<String, ClientError> {
    let wrong = || ClientError::BadAddress { url: url.to_owned() };
    if !url.starts_with("http://") && !is_secure(url) {
        return Err(wrong());
    }
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    uri.host().map(str::to_owned).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn urls(words: &str) -> Vec<String> {
        words.split(' ').map(str::to_owned).collect()
    }

    const FAR: [&str; 6] = [
        "http://192.0.2.7:7070",
        "http://front.example.net:7070",
        "http://localhost.example.net:7070",
        "http://localhost@front.example.net:7070",
        "http://127.1:7070",
        "http://[2001:db8::1]:7070",
    ];

    #[test]
    fn another_machine_is_reached_without_tls_only_when_that_is_asked_for() {
        for far in FAR {
            let all = urls(&format!("http://127.0.0.1:1 {far}"));
            let error = Plaintext::OwnMachine.check(&all).unwrap_err();
            assert!(matches!(&error, ClientError::Plaintext { url } if url == far), "{error}");
            Plaintext::Everywhere.check(&all).unwrap();
            check_private(far).unwrap_err();
        }
        let near = urls("http://127.0.0.1:1 http://127.9.9.9:1 http://[::1]:1 http://localhost:1");
        Plaintext::OwnMachine.check(&near).unwrap();
        Plaintext::OwnMachine.check(&urls("https://192.0.2.7:1 https://a.example.net:1")).unwrap();
    }

    #[test]
    fn addresses_with_and_without_tls_are_never_mixed() {
        for mixed in ["https://192.0.2.7:1 http://192.0.2.8:1", "http://127.0.0.1:1 https://a:1"] {
            for plaintext in [Plaintext::OwnMachine, Plaintext::Everywhere] {
                let error = plaintext.check(&urls(mixed)).unwrap_err();
                assert!(matches!(error, ClientError::MixedAddresses { .. }), "{error}");
            }
        }
    }

    #[test]
    fn what_is_no_address_of_a_front_is_refused() {
        for bad in ["host:1", "ftp://a:1", "http://", "http://a b"] {
            let error = Plaintext::Everywhere.check(&[bad.to_owned()]).unwrap_err();
            assert!(matches!(error, ClientError::BadAddress { .. }), "{bad}: {error}");
        }
    }
}
