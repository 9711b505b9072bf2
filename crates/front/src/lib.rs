//! The front: stateless, any number of them side by side.
//!
//! ```text
//!  client --IngestBatch--> ingest.rs  admit (admission.rs), split (split.rs), guide (guiding.rs)
//!                              |
//!                              v   one lane a (client stream, partition)
//!                          lane.rs  numbers, window, goes back N (P30)
//!                              |
//!                              v   NodeService.Forward, through the Dial seam (dial.rs)
//!                          rating node --durable answer--> batch.rs  merge --BatchAck--> client
//!
//!  routes.rs    the partition map and liveness, read each heartbeat from the shared database
//!  owner.rs     one request to a partition's owner, wherever it moves
//!  accounts.rs, cluster.rs, suspense.rs    the other services
//!  bindings.rs  changes of bindings: bind, move, unbind
//!  subscribing.rs        may an account subscribe to a plan?
//!  plans.rs, tables.rs   what goes into the catalogue;  catalogue.rs   what both have in common
//!  health.rs    is the front ready
//!  examples.rs  a plan does what its own examples say, before it goes in
//! ```
//!
//! What holds:
//! - A batch is acknowledged only when each of its records has its durable answer (I1); every
//!   batch that was read is answered, RETRY if nothing better can be said.
//! - Records of one account leave in the order in which their stream brought them, whatever is
//!   refused or resent (P30).
//! - No answer under an epoch below the highest one seen is passed on (P17, I6).
//! - Nothing is decoded past a record's account, identity and start.
//! - Memory is bounded: by bytes admitted, by batches a stream, by the window of a lane.
//!
//! What is not promised: that a record is sent to a node once (deduplication is the node's); order
//! between streams, or after a RETRY. A front that cannot reach an owner sends through another
//! member, where one can (P16).
//!
//! Time is tokio's, chance a seeded generator, the network a [`Dial`]: a simulation replaces all.

mod accounts;
mod admission;
mod batch;
mod bindings;
mod catalogue;
mod cluster;
mod config;
mod core;
mod dial;
mod error;
mod examples;
mod gauges;
mod guiding;
mod health;
mod ingest;
mod lane;
mod owner;
mod plans;
mod routes;
mod split;
mod stall;
mod subscribing;
mod suspense;
mod tables;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turnpike_proto::account::v1::account_service_server::AccountServiceServer;
use turnpike_proto::cluster::v1::cluster_service_server::ClusterServiceServer;
use turnpike_proto::ingest::v1::ingest_service_server::IngestServiceServer;
use turnpike_proto::plan::v1::plan_service_server::PlanServiceServer;
use turnpike_proto::suspense::v1::suspense_service_server::SuspenseServiceServer;
use turnpike_store::SharedDatabase;
use turnpike_types::limits::MESSAGE_BYTES_MAX;

pub use accounts::Accounts;
pub use cluster::Cluster;
pub use config::FrontConfig;
pub use error::FrontError;
pub use health::Health;
pub use ingest::Ingest;
pub use plans::Plans;
pub use suspense::Suspense;
pub use turnpike_proto::dial::{Dial, DialError};

/// A running front. Dropped without [`Front::shutdown`], it gives up what is under way and says
/// so to its clients.
pub struct Front {
    core: Arc<core::Core>,
}

macro_rules! servers {
    ($($(#[$doc:meta])* $name:ident: $server:ident<$service:ident>;)+) => {
        $($(#[$doc])*
        pub fn $name(&self) -> $server<$service> {
            $server::new($service::new(Arc::clone(&self.core)))
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        })+
    };
}

impl Front {
    /// Starts a front inside the current tokio runtime. It need not reach the database yet: until
    /// it has, requests are answered "again".
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
        let (routes, watcher) =
            routes::watch_routes(config.clone(), Arc::clone(&db), abort.clone());
        let core = core::Core {
            routes: routes.clone(),
            nodes: dial::Nodes::new(dial),
            guide: guiding::Guide::new(Arc::clone(&db), config.guide_cache_bytes).following(routes),
            admission: admission::Admission::new(config.admitted_bytes_max),
            chance: core::Chance::new(config.seed),
            tasks,
            gate: CancellationToken::new(),
            abort,
            config,
            db,
        };
        // Not tracked: routes are read for as long as anything is under way.
        tokio::spawn(watcher);
        Ok(Self { core: Arc::new(core) })
    }

    /// Tells whether the front is ready, for as long as it is kept.
    pub fn health(&self) -> Health {
        Health {
            routes: self.core.routes.clone(),
            gate: self.core.gate.clone(),
            // Reading them once may take as long as a silence that is suspect.
            stale_after: self.core.config.suspicion() * 2,
        }
    }

    /// Waits until the routes were read for the first time.
    pub async fn ready(&self) {
        let mut routes = self.core.routes.subscribe();
        // The watcher ends at shutdown only.
        let _ = routes.wait_for(|table| table.generation > 0).await;
    }

    servers! {
        /// Usage records in.
        ingest: IngestServiceServer<Ingest>;
        /// Accounts.
        accounts: AccountServiceServer<Accounts>;
        /// The catalogue of price plans and reference tables.
        plans: PlanServiceServer<Plans>;
        /// The state of the cluster.
        cluster: ClusterServiceServer<Cluster>;
        /// Records that can't be rated yet.
        suspense: SuspenseServiceServer<Suspense>;
    }

    /// Gate, drain, release: takes nothing new, waits for what is under way (20 heartbeats at
    /// most), then answers RETRY for the rest.
    pub async fn shutdown(&self) {
        self.core.gate.cancel();
        self.core.tasks.close();
        let drained = tokio::time::timeout(self.core.config.drain(), self.core.tasks.wait()).await;
        self.core.abort.cancel();
        if drained.is_err() {
            tracing::warn!("shutdown: some batches have no durable answer; their clients resend");
            self.core.tasks.wait().await;
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.core.gate.cancel();
        self.core.abort.cancel();
    }
}
