//! Who sent a request.

use http::Extensions;
use turnpike_listen::Peer;

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
    /// without its port.
    pub fn share_name(&self) -> &str {
        if self.principal != ANONYMOUS {
            return &self.principal;
        }
        self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host)
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
