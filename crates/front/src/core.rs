//! The state that all services of a front share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Status};
use turnpike_access::Permit;
use turnpike_access::audit::AuditLog;
use turnpike_store::SharedDatabase;

use crate::chance::Chance;
use crate::routing::guiding::Guide;
use crate::routing::owners::Owners;
use crate::routing::routes::Routes;
use crate::{FrontConfig, FrontError};

pub(crate) struct Core {
    pub(crate) config: FrontConfig,
    pub(crate) db: Arc<dyn SharedDatabase>,
    /// The audit log: a change needs its entry.
    pub(crate) audit: AuditLog,
    pub(crate) routes: Routes,
    pub(crate) guide: Guide,
    pub(crate) owners: Owners,
    pub(crate) chance: Chance,
    /// Tasks that shutdown waits for.
    pub(crate) tasks: TaskTracker,
    /// Cancelled at shutdown: no new requests are accepted.
    pub(crate) gate: CancellationToken,
    /// Cancelled when the drain ends: outstanding work is answered RETRY.
    pub(crate) abort: CancellationToken,
}

impl Core {
    /// What the request may do.
    pub(crate) fn permit<T>(&self, request: &Request<T>) -> Result<Permit, Status> {
        self.config.guarded.permit(request.extensions())
    }

    /// Refuses a request once the front is shutting down.
    pub(crate) fn enter(&self) -> Result<(), FrontError> {
        if self.gate.is_cancelled() { Err(FrontError::ShuttingDown) } else { Ok(()) }
    }
}
