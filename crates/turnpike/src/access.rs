//! Access control of a server: its settings, and the reader of grants.

use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_access::{Access, AccessConfig};
use turnpike_store::SharedDatabase;
use turnpike_store::memory::system_clock;

/// The name of a cluster that was given no other.
pub(crate) const CLUSTER_DEFAULT: &str = "turnpike";

/// The settings of access control for a listener without TLS.
fn config() -> AccessConfig {
    AccessConfig {
        cluster: CLUSTER_DEFAULT.to_owned(),
        is_tls: false,
        is_open_to_other_hosts: false,
    }
}

/// Access control of a front, which follows the grants in `database` from now on.
pub(crate) async fn of_front(database: &Arc<dyn SharedDatabase>, listen: SocketAddr) -> Access {
    let access = Access::of_front(config(), Arc::clone(database), system_clock());
    // A failure is repeated and logged by the task below; until a read succeeds, nothing is allowed.
    if let Err(error) = access.refresh().await {
        tracing::warn!(%error, "the grants of roles can't be read yet");
    }
    log(&access, listen);
    tokio::spawn(access.clone().keep_fresh());
    access
}

/// Access control of a node.
pub(crate) fn of_node(listen: SocketAddr) -> Access {
    let access = Access::of_node(config(), system_clock());
    log(&access, listen);
    access
}

fn log(access: &Access, listen: SocketAddr) {
    let state = access.state();
    if state.is_on() || listen.ip().to_canonical().is_loopback() {
        tracing::info!(access_control = %state, "access control");
    } else {
        tracing::warn!(
            access_control = %state,
            %listen,
            "clients on other machines are refused until TLS is configured or a role is granted"
        );
    }
}
