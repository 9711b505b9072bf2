//! Who sent a request, for the audit log.

/// Who sent a request, for the audit log. An extension of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The principal's name, such as `spiffe://...` or `token:NAME`; `anonymous` without
    /// authentication.
    pub principal: String,
    /// The address of the client.
    pub address: String,
    /// The id of the request, from the client's header `x-request-id` if it is valid, else made
    /// here.
    pub request_id: String,
}
