//! The client that is responsible for the request that the present task works on. Its share of a node
//! counts, so the requests that a front sends to nodes for it name it.

use tokio::task::futures::TaskLocalFuture;
use tonic::metadata::{MetadataMap, MetadataValue};
use turnpike_proto::CLIENT;
use turnpike_shares::ClientKey;

tokio::task_local! {
    static CURRENT: ClientKey;
}

/// The client of the present task; [`ClientKey::NONE`] for work that no client asked for.
pub fn current() -> ClientKey {
    match CURRENT.try_with(|client| *client) {
        Ok(client) => client,
        Err(_outside_of_a_request) => ClientKey::NONE,
    }
}

/// `work`, for a request of `client`.
pub fn scope<F: Future>(client: ClientKey, work: F) -> TaskLocalFuture<ClientKey, F> {
    CURRENT.scope(client, work)
}

/// Adds the present client to the metadata of a call to a node.
pub fn add_to(metadata: &mut MetadataMap) {
    metadata.insert(CLIENT, MetadataValue::from(current().0));
}
