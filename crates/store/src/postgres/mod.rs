//! The shared database on PostgreSQL (sqlx), or on a server with its wire protocol, its locks and
//! its durability.
//!
//! ```text
//!  session.rs      opening: session settings, durability checks, migrations
//!  servers.rs      connects to the server that accepts writes
//!  warnings.rs     detects the server's warnings: commits that may not be replicated
//!  connections.rs  connection pools by purpose: beats | observer | claims | log | bulk
//!  ownership.rs    heartbeat, observe, release, barrier
//!  claims.rs       claim, one or many
//!  operator_requests.rs  pins, draining, forgetting nodes
//!  segments.rs     append, read
//!  checkpoints.rs  parts, manifests, pruning
//!  bindings.rs     identities
//!  catalogue.rs    partitions, plans, consumers
//!  *.sql           the longer statements
//! ```
//!
//! Each call is one autocommit statement, or several that are correct in any interleaving with
//! other calls. The two transactions (creating partitions, binding identities) write no row that an
//! append needs.
//!
//! A cancelled wait for synchronous replication (for instance by `pg_cancel_backend`) is reported
//! as an unknown outcome (P2, P19), although PostgreSQL only warns. So is the end of a backend.

mod bindings;
mod catalogue;
mod checkpoints;
mod claims;
mod connections;
mod operator_requests;
mod ownership;
mod segments;
mod servers;
mod session;
mod warnings;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::query_as;
use tokio::sync::Semaphore;
use turnpike_types::{AccountNumber, ClaimId, Epoch, NodeName, PartitionId, SegmentNumber};

use self::connections::{Broken, DedicatedPool};
use crate::sql::rows::loaded;
use crate::sql::statements;
use crate::sql::topology::SpecCache;
use crate::{
    AppendOutcome, AppendSegment, BindOutcome, Binding, BindingsMark, CatalogueEntry,
    CatalogueHead, CatalogueKind, CheckpointManifest, CheckpointPart, Claim, ClaimOutcome, Claimed,
    Consumer, CursorAck, HeartbeatReply, IdentityHistory, NodeBeat, Observation, OpenOptions,
    OwnerToken, PartitionSpec, PinOutcome, Publish, PublishOutcome, RebindOutcome, Rebinding,
    SegmentRow, SharedDatabase, StoreIncarnation, StoreResult,
};

/// Time limit of a heartbeat and of an observation: four heartbeat intervals of the default length
/// (P21). A later answer has no use.
const BEAT_LIMIT: Duration = Duration::from_secs(1);
/// Time limit of an append. Past it the outcome is unknown, and the owner claims again (P2).
const APPEND_LIMIT: Duration = Duration::from_secs(4);
/// Time limit of calls that move many bytes or that no request waits for.
const BULK_LIMIT: Duration = Duration::from_secs(30);
/// The time for which a backend may block a claim before the claim ends it (P3): about ten times as
/// long as an append or the commit of a claim takes.
const CLAIM_LOCK_LIMIT: Duration = Duration::from_millis(400);
/// Time limit of a wait for a lock, and of a claim, a release or a barrier.
const LOCK_LIMIT: Duration = Duration::from_secs(3);

/// A number that no partition has.
const NO_PARTITION: i64 = -1;

/// The most connections of a process, by default. Connections are opened on demand.
const CONNECTIONS_DEFAULT: usize = 16;
/// The number of connections for appends that are opened ahead of their use.
const APPENDS_WARM: usize = 4;
/// The fewest connections of a process: one for each purpose, and two for claims. One of the two
/// runs the claim; the other one finds and ends the backends that block it.
const CONNECTIONS_MIN: usize = 6;

/// The shared database on PostgreSQL.
pub struct PostgresDatabase {
    beats: Arc<DedicatedPool>,
    observer: Arc<DedicatedPool>,
    claims: Arc<DedicatedPool>,
    /// Limits the number of concurrent claims, because each may need two connections of the pool
    /// for claims.
    claim_turns: Semaphore,
    log: Arc<DedicatedPool>,
    bulk: Arc<DedicatedPool>,
    specs: SpecCache,
}

impl PostgresDatabase {
    /// Opens the database at `url` and brings its schema up to date.
    ///
    /// # Errors
    /// As [`crate::open`].
    pub async fn open(url: &str, options: &OpenOptions) -> StoreResult<Self> {
        let servers = session::servers(url)?;
        session::prepare(url, &servers).await?;
        let connections = match usize::try_from(options.connections_max).unwrap_or(usize::MAX) {
            0 => CONNECTIONS_DEFAULT,
            some => some.max(CONNECTIONS_MIN),
        };
        let claims = if connections < 12 { 2 } else { 4 };
        let bulk = (connections / 4).max(1);
        let log = connections - 2 - claims - bulk;
        let broken = Broken::default();
        let pool = |statement, lock, connections_max| {
            let servers = session::limited(&servers, statement, lock);
            DedicatedPool::new(servers, connections_max, broken.clone())
        };
        Ok(Self {
            beats: pool(BEAT_LIMIT, LOCK_LIMIT, 1),
            observer: pool(BEAT_LIMIT, LOCK_LIMIT, 1),
            claims: pool(LOCK_LIMIT, LOCK_LIMIT, claims),
            claim_turns: Semaphore::new(claims / 2),
            log: pool(APPEND_LIMIT, LOCK_LIMIT, log),
            bulk: pool(BULK_LIMIT, LOCK_LIMIT, bulk),
            specs: SpecCache::default(),
        })
    }
}

#[async_trait]
impl SharedDatabase for PostgresDatabase {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        let lease = self.observer.lease("incarnation", BEAT_LIMIT).await?;
        let (incarnation,) = lease.fetch_one(query_as(statements::INCARNATION)).await?;
        Ok(StoreIncarnation(loaded(incarnation)))
    }

    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        self.create_all(partitions).await
    }

    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        let reply = self.beat(beat).await?;
        // A node that writes heartbeats may have to take over partitions, so each heartbeat opens
        // one more connection ahead of its use.
        self.claims.warm(2, claims::claims_of_no_partition);
        self.log.warm(APPENDS_WARM, segments::to_nothing);
        Ok(reply)
    }

    async fn observe(&self) -> StoreResult<Observation> {
        self.observe_all().await
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        self.claim_one(claim).await
    }

    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        self.claim_all(claims).await
    }

    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        self.release_one(partition, epoch, claim, to).await
    }

    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        self.write_barrier(held).await
    }

    async fn pin(
        &self,
        partition: PartitionId,
        pin: Option<(&NodeName, Duration)>,
    ) -> StoreResult<PinOutcome> {
        self.pin_one(partition, pin).await
    }

    async fn set_drained(&self, node: &NodeName, drained: bool) -> StoreResult<bool> {
        self.drain_one(node, drained).await
    }

    async fn forget_node(&self, node: &NodeName) -> StoreResult<bool> {
        self.forget_one(node).await
    }

    async fn append(&self, append: &AppendSegment) -> StoreResult<AppendOutcome> {
        self.append_one(append).await
    }

    async fn read_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        bytes_max: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        self.read_tail(partition, after, bytes_max).await
    }

    async fn posting_segments(
        &self,
        partition: PartitionId,
        after: SegmentNumber,
        most: usize,
    ) -> StoreResult<Vec<SegmentRow>> {
        self.read_postings(partition, after, most).await
    }

    async fn put_checkpoint_part(
        &self,
        partition: PartitionId,
        part: &CheckpointPart,
    ) -> StoreResult<()> {
        self.put_part(partition, part).await
    }

    async fn publish_checkpoint(
        &self,
        manifest: &CheckpointManifest,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        self.publish_manifest(manifest, epoch, claim).await
    }

    async fn checkpoints(&self, partition: PartitionId) -> StoreResult<Vec<CheckpointManifest>> {
        self.manifests(partition).await
    }

    async fn checkpoint_part(
        &self,
        partition: PartitionId,
        name: &str,
    ) -> StoreResult<Option<Bytes>> {
        self.part(partition, name).await
    }

    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        self.publish_version(publish).await
    }

    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>> {
        self.catalogue_after(after, most).await
    }

    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        self.heads_after(kind, id, after).await
    }

    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        self.bind_all(bindings).await
    }

    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<IdentityHistory>> {
        self.histories(identities).await
    }

    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>> {
        self.rebind_all(changes).await
    }

    async fn bindings_mark(&self) -> StoreResult<BindingsMark> {
        self.mark_of_bindings().await
    }

    async fn advance_guided_through(&self) -> StoreResult<bool> {
        self.advance_mark().await
    }

    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>> {
        self.bindings_of_account(account, most).await
    }

    async fn register_consumer(&self, name: &str) -> StoreResult<()> {
        self.register(name).await
    }

    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        self.cursors(name).await
    }

    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        self.move_cursor(from, to).await
    }
}
