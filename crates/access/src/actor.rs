//! Who sent a request.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::Extensions;
use turnpike_listen::{ClientKey, Peer, network};

use crate::request_id;

/// Who sent a request, for the audit log. An extension of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The principal's name, such as `spiffe://...` or `token:NAME`; `anonymous` without
    /// authentication.
    pub principal: String,
    /// The address of the client.
    pub address: String,
    /// The id of the request, from the client's header `x-request-id` if it is valid, else made here.
    pub request_id: String,
}

/// The principal of a request without authentication.
pub const ANONYMOUS: &str = "anonymous";

impl Actor {
    /// The actor of a request. A request that passed no layer that sets it is anonymous.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        Self::of_extensions(request.extensions())
    }

    /// The actor of a request with these extensions.
    pub(crate) fn of_extensions(extensions: &Extensions) -> Self {
        if let Some(actor) = extensions.get::<Self>() {
            return actor.clone();
        }
        let address = extensions.get::<Peer>().map(|peer| peer.address.to_string());
        Self {
            principal: ANONYMOUS.to_owned(),
            address: address.unwrap_or_else(|| "unknown".to_owned()),
            request_id: request_id::current().unwrap_or_else(|| "none".to_owned()),
        }
    }

    /// The name by which the sender's share is counted: the principal, or without one the address
    /// without its port, for IPv6 that of the network.
    fn share_name(&self) -> Cow<'_, str> {
        if self.principal != ANONYMOUS {
            return Cow::Borrowed(&self.principal);
        }
        match self.address.parse::<SocketAddr>() {
            Ok(address) => Cow::Owned(network(address.ip()).to_string()),
            Err(_) => Cow::Borrowed(&self.address),
        }
    }

    /// The key under which the sender's share is counted.
    pub fn client_key(&self) -> ClientKey {
        ClientKey::of(&self.share_name())
    }

    /// The user of this machine who runs the program.
    pub fn local() -> Self {
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        Self {
            principal: user.map_or_else(|| "local".to_owned(), |user| format!("local:{user}")),
            address: "local".to_owned(),
            request_id: request_id::made(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(principal: &str, address: &str) -> String {
        let actor = Actor {
            principal: principal.to_owned(),
            address: address.to_owned(),
            request_id: "r".to_owned(),
        };
        actor.share_name().into_owned()
    }

    /// One host has 2^64 addresses of IPv6.
    #[test]
    fn a_client_without_a_name_is_its_address_or_its_ipv6_network() {
        assert_eq!(share("token:a", "192.0.2.7:4000"), "token:a");
        assert_eq!(share(ANONYMOUS, "192.0.2.7:4000"), "192.0.2.7");
        assert_eq!(share(ANONYMOUS, "[::ffff:192.0.2.7]:1"), "192.0.2.7");
        let hosts = ["[2001:db8:1:2::1]:7", "[2001:db8:1:2:9999::5]:8"];
        assert_eq!(hosts.map(|host| share(ANONYMOUS, host)), ["2001:db8:1:2::"; 2]);
        assert_eq!(share(ANONYMOUS, "[2001:db8:1:3::1]:7"), "2001:db8:1:3::");
        assert_eq!(share(ANONYMOUS, "unknown"), "unknown");
    }
}
