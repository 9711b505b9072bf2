//! Access control of a server: its settings, and the reader of grants.

use std::sync::Arc;

use turnpike_access::{Access, AccessConfig};
use turnpike_store::SharedDatabase;
use turnpike_store::memory::system_clock;

use crate::server::{Listener, ServerTransport};

/// The name of a cluster without certificates.
pub(crate) const CLUSTER_DEFAULT: &str = "turnpike";

/// The settings of access control for this listener. While a cluster changes to TLS, connections
/// without it are accepted too, so that access control is on only once a role was granted.
fn config(listener: &Listener) -> AccessConfig {
    let cluster = match &listener.transport {
        ServerTransport::Plaintext { .. } => None,
        ServerTransport::Tls { certificates, .. } => certificates.cluster(),
    };
    AccessConfig {
        cluster: cluster.unwrap_or(CLUSTER_DEFAULT).to_owned(),
        is_tls: listener.transport.requires_tls(),
        is_open_to_other_hosts: listener.transport.is_open(),
    }
}

/// Access control of a front, which follows the grants in `database` from now on.
pub(crate) async fn of_front(database: &Arc<dyn SharedDatabase>, listener: &Listener) -> Access {
    let access = Access::of_front(config(listener), Arc::clone(database), system_clock());
    // A failure is repeated and logged by the task below; until a read succeeds, nothing is allowed.
    if let Err(error) = access.refresh().await {
        tracing::warn!(%error, "the grants of roles can't be read yet");
    }
    tracing::info!(access_control = %access.state(), "access control");
    tokio::spawn(access.clone().keep_fresh());
    access
}

/// Access control of a node, which follows the revocations of certificates in `database` from now on.
pub(crate) async fn of_node(database: &Arc<dyn SharedDatabase>, listener: &Listener) -> Access {
    let access = Access::of_node(config(listener), Arc::clone(database), system_clock());
    if let Err(error) = access.refresh().await {
        tracing::warn!(%error, "the list of revoked certificates can't be read yet");
    }
    tracing::info!(access_control = %access.state(), "access control");
    tokio::spawn(access.clone().keep_fresh());
    access
}
