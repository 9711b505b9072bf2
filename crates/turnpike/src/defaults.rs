//! The defaults of settings that several commands share.

use std::time::Duration;

/// The listening address of a front.
pub(crate) const FRONT_LISTEN: &str = "127.0.0.1:7070";
/// The listening address of a node.
pub(crate) const NODE_LISTEN: &str = "127.0.0.1:7071";
/// The address at which commands reach a front.
pub(crate) const FRONT_URL: &str = "http://127.0.0.1:7070";
/// The same, when TLS is configured.
pub(crate) const FRONT_URL_TLS: &str = "https://127.0.0.1:7070";
/// How long a command waits while the cluster makes no progress.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// The acceptance horizon of a new partition.
pub(crate) const HORIZON: Duration = Duration::from_secs(35 * 86_400);
