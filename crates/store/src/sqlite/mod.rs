//! The shared database in one SQLite file (sqlx), which the processes of one machine share.
//!
//! ```text
//!  open.rs         the file's settings, migrations, connections
//!  writer.rs       the writing connection; heartbeats have priority
//!  ownership.rs    heartbeat, observe, release, barrier
//!  claims.rs       claim, one or many
//!  operator_requests.rs  pins, draining, forgetting nodes
//!  log.rs          append, read; checkpoints
//!  bindings.rs     identities
//!  catalogue.rs    partitions, plans, consumers
//!  *.sql           the longer statements
//! ```
//!
//! Every write is a transaction under the file's single write lock (P7). Not guaranteed: that other
//! processes can write while a process is frozen inside a write. Network file systems are not
//! supported.

mod bindings;
mod catalogue;
mod claims;
mod log;
mod open;
mod operator_requests;
mod ownership;
mod writer;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{FromRow, query_as};
use turnpike_types::{AccountNumber, ClaimId, Epoch, NodeName, PartitionId, SegmentNumber};

pub use self::open::SqliteOptions;
pub(crate) use self::open::place_of;
use self::writer::Writer;
use crate::memory::Clock;
use crate::sql::errors::{classify, corrupt};
use crate::sql::rows::loaded;
use crate::sql::statements;
use crate::sql::topology::SpecCache;
use crate::{
    AppendOutcome, AppendSegment, BindOutcome, Binding, BindingsMark, CatalogueEntry,
    CatalogueHead, CatalogueKind, CheckpointManifest, CheckpointPart, Claim, ClaimOutcome, Claimed,
    Consumer, CursorAck, HeartbeatReply, IdentityHistory, NodeBeat, Observation, OwnerToken,
    PartitionSpec, PinOutcome, Publish, PublishOutcome, RebindOutcome, Rebinding, SegmentRow,
    SharedDatabase, StoreIncarnation, StoreResult,
};

/// The shared database in a SQLite file.
pub struct SqliteDatabase {
    readers: SqlitePool,
    writer: Writer,
    clock: Clock,
    specs: SpecCache,
}

type StatementAs<'q, T> =
    sqlx::query::QueryAs<'q, sqlx::Sqlite, T, <sqlx::Sqlite as sqlx::Database>::Arguments>;

impl SqliteDatabase {
    async fn fetch_all<T>(
        &self,
        doing: &'static str,
        statement: StatementAs<'_, T>,
    ) -> StoreResult<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        statement.fetch_all(&self.readers).await.map_err(|error| classify(doing, &error))
    }

    async fn fetch_optional<T>(
        &self,
        doing: &'static str,
        statement: StatementAs<'_, T>,
    ) -> StoreResult<Option<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        Ok(self.fetch_all(doing, statement).await?.pop())
    }
}

#[async_trait]
impl SharedDatabase for SqliteDatabase {
    async fn incarnation(&self) -> StoreResult<StoreIncarnation> {
        const DOING: &str = "incarnation";
        let row = self.fetch_optional(DOING, query_as(statements::INCARNATION)).await?;
        let (incarnation,) = row.ok_or_else(|| corrupt(DOING, "the store's row is missing"))?;
        Ok(StoreIncarnation(loaded(incarnation)))
    }

    async fn create_partitions(&self, partitions: &[PartitionSpec]) -> StoreResult<()> {
        self.create_all(partitions).await
    }

    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        self.beat(beat).await
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
