//! The front: a stateless gateway between clients and rating nodes. Any number of fronts run side
//! by side.
//!
//! ```text
//!  client --IngestBatch--> ingest/   one file for each stage of a batch: admit, resolve identities
//!                             |      to accounts, split by partition, send in order, merge the
//!                             |      answers. The words of a refusal: ingest/refusal.rs
//!                             v
//!                          routing/  the account of an identity, the partition of an account, the
//!                             ^  |   owner of a partition: where it is, and the search for it
//!                             |  v
//!                             |  rating nodes, connected by a Dial
//!                             |
//!  client --other requests--> services/   accounts/, catalogue/, suspense/, cluster.rs.
//!                                         The words of a refused command:
//!                                         services/accounts/results.rs
//!
//!  core.rs      the state that all services share;  error.rs  errors and their gRPC codes
//!  config.rs    limits and durations;  chance.rs  jitter;  gauges.rs  counts of what is open
//!  health.rs    readiness: whether the front knows the routes of the partitions
//! ```
//!
//! Invariants:
//! - A batch is acknowledged only when each of its records has a durable answer (I1). Every batch
//!   that was read is answered, with RETRY if there is no other answer.
//! - Records of one account are sent in the order of their client stream, whatever is refused or
//!   sent again (P30).
//! - An answer under an epoch below the highest one seen is not passed on to the client (P17, I6).
//! - Of a record, only the account, identity and start are decoded.
//! - Memory is bounded: by admitted bytes, by batches for each stream, and by the window of each
//!   sender.
//!
//! Not guaranteed: that a record is sent to a node only once (the node deduplicates), and any order
//! between streams or after a RETRY. A front that cannot reach an owner sends through another
//! member if one can relay (P16).
//!
//! Time comes from tokio, randomness from a seeded generator, and the network from a [`Dial`]. A
//! simulation replaces all three.

mod chance;
mod config;
mod core;
mod error;
mod gauges;
mod health;
mod ingest;
mod quotas;
mod routing;
mod services;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turnpike_access::audit::{AuditApi, AuditLog};
use turnpike_listen::Budget;
use turnpike_proto::account::v1::account_service_server::AccountServiceServer;
use turnpike_proto::audit::v1::audit_service_server::AuditServiceServer;
use turnpike_proto::cluster::v1::cluster_service_server::ClusterServiceServer;
use turnpike_proto::ingest::v1::ingest_service_server::IngestServiceServer;
use turnpike_proto::plan::v1::plan_service_server::PlanServiceServer;
use turnpike_proto::suspense::v1::suspense_service_server::SuspenseServiceServer;
use turnpike_store::SharedDatabase;
use turnpike_types::limits::MESSAGE_BYTES_MAX;

pub use config::FrontConfig;
pub use error::FrontError;
pub use health::FrontHealth;
pub use ingest::service::Ingest;
pub use services::accounts::service::AccountsApi;
pub use services::catalogue::plans::Plans;
pub use services::cluster::ClusterApi;
pub use services::suspense::service::SuspenseApi;
pub use turnpike_proto::dial::{Dial, DialError};

use crate::chance::Chance;
use crate::core::Core;
use crate::routing::guiding::Guide;
use crate::routing::nodes::Nodes;
use crate::routing::owners::Owners;
use crate::routing::routes::watch_routes;
use crate::services::suspense::lists::SuspenseLists;

/// A running front. If it is dropped without [`FrontServer::shutdown`], it abandons outstanding
/// work and answers its clients RETRY.
pub struct FrontServer {
    core: Arc<Core>,
    ingest: Ingest,
    lists: SuspenseLists,
}

macro_rules! servers {
    ($self:ident; $($(#[$doc:meta])* $name:ident: $server:ident<$service:ident> = $new:expr;)+) => {
        $($(#[$doc])*
        pub fn $name(&$self) -> $server<$service> {
            $server::new($new)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        })+
    };
}

impl FrontServer {
    /// Starts a front inside the current tokio runtime. The database need not be reachable yet:
    /// until its first read, requests are answered with a retry.
    ///
    /// # Errors
    /// [`FrontError::Config`] when a setting can't work.
    pub fn start(
        config: FrontConfig,
        db: Arc<dyn SharedDatabase>,
        dial: Dial,
    ) -> Result<Self, FrontError> {
        config.check()?;
        let tasks = TaskTracker::new();
        let abort = CancellationToken::new();
        let (routes, watcher) = watch_routes(config.clone(), Arc::clone(&db), abort.clone());
        let chance = Chance::new(config.seed);
        let owners = Owners {
            config: config.clone(),
            routes: routes.clone(),
            nodes: Nodes::new(dial, config.node_window_bytes),
            chance: chance.clone(),
            abort: abort.clone(),
        };
        let core = Arc::new(Core {
            guide: Guide::new(db.clone(), config.guide_cache_bytes).following(routes.clone()),
            routes,
            owners,
            chance,
            tasks,
            gate: CancellationToken::new(),
            abort,
            audit: AuditLog::start(Arc::clone(&db), config.seed),
            config,
            db,
        });
        // Not tracked by `tasks`: routes are read for as long as any work is outstanding.
        tokio::spawn(watcher);
        let lists = SuspenseLists::new(Budget::unlimited());
        Ok(Self { ingest: Ingest::new(Arc::clone(&core)), core, lists })
    }

    /// The same front, whose lists take room in `budget`.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.lists = SuspenseLists::new(budget);
        self
    }

    /// The readiness of this front. The value stays usable after the front has stopped.
    pub fn health(&self) -> FrontHealth {
        FrontHealth {
            routes: self.core.routes.clone(),
            gate: self.core.gate.clone(),
            // One read of the routes may take as long as the suspicion time.
            stale_after: self.core.config.suspicion() * 2,
        }
    }

    /// Waits until the routes have been read for the first time.
    pub async fn ready(&self) {
        let mut routes = self.core.routes.subscribe();
        // The watcher ends only at shutdown.
        let _ = routes.wait_for(|table| table.generation > 0).await;
    }

    servers! { self;
        /// Ingests usage records.
        ingest: IngestServiceServer<Ingest> = self.ingest.clone();
        /// Accounts.
        accounts: AccountServiceServer<AccountsApi> = AccountsApi::new(Arc::clone(&self.core));
        /// The catalogue of price plans and reference tables.
        plans: PlanServiceServer<Plans> = Plans::new(Arc::clone(&self.core));
        /// The state of the cluster.
        cluster: ClusterServiceServer<ClusterApi> = ClusterApi::new(Arc::clone(&self.core));
        /// Records in suspense, which can't be rated yet.
        suspense: SuspenseServiceServer<SuspenseApi> = SuspenseApi::new(self.ingest.clone(), self.lists.clone());
    }

    /// The audit log.
    pub fn audit(&self) -> AuditServiceServer<AuditApi> {
        AuditApi::server(Arc::clone(&self.core.db))
    }

    /// The writer of the audit log, for other services of the process.
    pub fn audit_log(&self) -> AuditLog {
        self.core.audit.clone()
    }

    /// A task that reads the use of quotas and the size of the audit log each minute, for metrics. It
    /// ends when the front stops.
    pub fn watch_quotas(&self) -> impl Future<Output = ()> + Send + use<> {
        quotas::watch(Arc::clone(&self.core.db), self.core.gate.clone())
    }

    /// Closes the gate, drains and stops: accepts no new requests, waits for outstanding answers
    /// (at most 20 heartbeat intervals), then answers RETRY for the rest.
    pub async fn shutdown(&self) {
        self.core.gate.cancel();
        self.core.tasks.close();
        let settled = async { tokio::join!(self.core.tasks.wait(), self.core.audit.settled()) };
        let drained = tokio::time::timeout(self.core.config.drain(), settled).await;
        self.core.abort.cancel();
        if drained.is_err() {
            tracing::warn!(
                "shutdown: some batches have no durable answer; they are answered RETRY"
            );
            tokio::join!(self.core.tasks.wait(), self.core.audit.settled());
        }
    }
}

impl Drop for FrontServer {
    fn drop(&mut self) {
        self.core.gate.cancel();
        self.core.abort.cancel();
    }
}
