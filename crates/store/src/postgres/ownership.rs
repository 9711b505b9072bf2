//! Who owns what: heartbeats, observations, claims.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{query, query_as};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, Timestamp};

use super::lanes::{Failure, Lease, StatementAs};
use super::{BEAT_LIMIT, BULK_LIMIT, LOCK_LIMIT, PostgresDatabase};
use crate::rules::{self, Fence};
use crate::sql::errors::{corrupt, is_lock_timeout};
use crate::sql::rows::{
    ClaimedTuple, FenceTuple, NodeTuple, ObservedTuple, claimed, fence, loaded, node_row,
    pack_serving, partition_row, stored, stored_partition,
};
use crate::sql::statements;
use crate::sql::topology::{Specs, specs};
use crate::{Claim, Claimed, HeartbeatReply, NodeBeat, Observation, StoreError, StoreResult};

const CLAIM: &str = include_str!("claim.sql");
const END_BLOCKERS: &str = include_str!("end_blockers.sql");
const HEARTBEAT: &str = include_str!("heartbeat.sql");
const OBSERVE: &str = include_str!("observe.sql");

/// How often a blocked claim looks for what blocks it.
const END_BLOCKERS_EVERY: Duration = Duration::from_millis(50);

impl PostgresDatabase {
    pub(super) async fn beat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        let statement = query_as::<_, (bool, Option<i64>, i64, i64)>(HEARTBEAT)
            .bind(&beat.node.0)
            .bind(stored(beat.incarnation.0))
            .bind(stored(beat.counter))
            .bind(&beat.address)
            .bind(beat.draining)
            .bind(pack_serving(&beat.serving));
        let lease = self.beats.lease("heartbeat", BEAT_LIMIT).await?;
        let (written, before, now, version) = lease.fetch_one(statement).await?;
        if !written && before != Some(stored(beat.incarnation.0)) {
            return Err(rules::superseded(&beat.node));
        }
        Ok(HeartbeatReply { now: Timestamp(now), catalogue_version: loaded(version) })
    }

    pub(super) async fn observe_all(&self) -> StoreResult<Observation> {
        const DOING: &str = "observe";
        let lease = self.observer.lease(DOING, BEAT_LIMIT).await?;
        let nodes: Vec<NodeTuple> = lease.fetch_all(query_as(statements::NODES)).await?;
        let lease = self.observer.lease(DOING, BEAT_LIMIT).await?;
        let rows: Vec<ObservedTuple> = lease.fetch_all(query_as(OBSERVE)).await?;
        let &(now, version, topology, ..) =
            rows.first().ok_or_else(|| corrupt(DOING, "the store's row is missing"))?;
        let specs = self.specs_of(topology).await?;
        let partition = |row| partition_row(row, |id| specs.get(&id).cloned(), DOING).transpose();
        Ok(Observation {
            nodes: nodes.into_iter().map(|row| node_row(row, DOING)).collect::<Result<_, _>>()?,
            partitions: rows.into_iter().filter_map(partition).collect::<Result<_, _>>()?,
            catalogue_version: loaded(version),
            now: Timestamp(now),
        })
    }

    async fn specs_of(&self, topology: i64) -> StoreResult<Specs> {
        const DOING: &str = "read the topology";
        if let Some(kept) = self.specs.get(topology) {
            return Ok(kept);
        }
        // Specs first: a partition created in between has members and no spec yet, and is left
        // out; the topology number has moved by then, and the next observation reads again.
        let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
        let rows = lease.fetch_all(query_as(statements::SPECS)).await?;
        let lease = self.bulk.lease(DOING, BULK_LIMIT).await?;
        let members = lease.fetch_all(query_as(statements::MEMBERS)).await?;
        let specs = Arc::new(specs(rows, members, DOING)?);
        self.specs.put(topology, &specs);
        Ok(specs)
    }

    pub(super) async fn claim_one(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        const DOING: &str = "claim";
        let _turn = self.claim_turns.acquire().await.map_err(|_| StoreError::Unavailable {
            doing: DOING,
            cause: "the database is being closed".to_owned(),
        })?;
        let lease = self.claims.lease(DOING, LOCK_LIMIT).await?;
        let rows = match lease.try_fetch_all(statement(claim)).await {
            Err(Failure::Sqlx(error)) if is_lock_timeout(&error) => {
                self.claim_against_blockers(claim).await?
            }
            rows => rows.map_err(|failure| failure.classify(DOING))?,
        };
        match rows.first() {
            Some(row) => claimed(row, DOING).map(Some),
            // Did the epoch move on, or is there no such partition?
            None => self.fence_of(claim.partition, DOING).await.map(|_| None),
        }
    }

    /// Claims again, and ends what blocks it meanwhile (P3).
    async fn claim_against_blockers(&self, claim: &Claim) -> StoreResult<Vec<ClaimedTuple>> {
        const DOING: &str = "claim, ending what blocks it";
        let mut lease = self.claims.lease(DOING, LOCK_LIMIT).await?;
        let pid = lease.backend_pid().await?;
        let rows = lease.fetch_all(statement(claim));
        tokio::pin!(rows);
        loop {
            // A statement of `end_blockers` that is dropped half way closes its connection; the
            // claim itself is awaited to its end.
            tokio::select! {
                rows = &mut rows => return rows,
                () = tokio::time::sleep(END_BLOCKERS_EVERY) => {}
            }
            tokio::select! {
                rows = &mut rows => return rows,
                ended = self.end_blockers(pid, claim.partition) => ended?,
            }
        }
    }

    async fn end_blockers(&self, waiting: i32, partition: PartitionId) -> StoreResult<()> {
        let lease = self.claims.lease("end what blocks a claim", LOCK_LIMIT).await?;
        let ended: Vec<(i32, bool)> = lease.fetch_all(query_as(END_BLOCKERS).bind(waiting)).await?;
        for (pid, ended) in ended {
            tracing::warn!(%partition, pid, ended, "ended a backend that blocked a claim");
        }
        Ok(())
    }

    /// # Errors
    /// `Refused` when there is no such partition.
    pub(super) async fn fence_of(
        &self,
        partition: PartitionId,
        doing: &'static str,
    ) -> StoreResult<(Fence, Option<turnpike_types::SegmentNumber>)> {
        let statement =
            query_as::<_, FenceTuple>(statements::FENCE).bind(stored_partition(partition));
        let lease: Lease = self.log.lease(doing, BEAT_LIMIT).await?;
        match lease.fetch_optional(statement).await? {
            Some(row) => fence(&row, doing),
            None => Err(rules::no_partition(partition)),
        }
    }

    pub(super) async fn release_one(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let statement = query(statements::RELEASE)
            .bind(stored_partition(partition))
            .bind(stored(epoch.number()))
            .bind(&claim.0[..])
            .bind(to.map(|node| node.0.as_str()));
        let lease = self.log.lease("release", LOCK_LIMIT).await?;
        Ok(lease.execute(statement).await? == 1)
    }

    pub(super) async fn write_barrier(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
    ) -> StoreResult<bool> {
        let statement = query(statements::BARRIER)
            .bind(stored_partition(partition))
            .bind(stored(epoch.number()))
            .bind(&claim.0[..]);
        let lease = self.log.lease("barrier", LOCK_LIMIT).await?;
        Ok(lease.execute(statement).await? == 1)
    }
}

fn statement(claim: &Claim) -> StatementAs<'_, ClaimedTuple> {
    query_as(CLAIM)
        .bind(stored_partition(claim.partition))
        .bind(stored(claim.seen.number()))
        .bind(&claim.node.0)
        .bind(stored(claim.incarnation.0))
        .bind(&claim.claim.0[..])
}
