//! Heartbeats, releases, barriers, and claims: of one partition, which ends backends that block it
//! (P3), and of many at once, which waits for no row (P20).

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{query, query_as};
use tokio::time::Instant;
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, SegmentNumber, Timestamp};

use super::blockers::Blockers;
use super::connections::{Statement, StatementAs};
use super::database::{BEAT_LIMIT, LOCK_LIMIT, NO_PARTITION, PostgresDatabase};
use super::log::append_to_no_partition;
use crate::log::Fence;
use crate::ownership::{FLAPS_HALVE_US, check_claims, superseded};
use crate::sql::ownership::{self, ClaimedTuple, claimed};
use crate::sql::packed::{pack_following, pack_serving};
use crate::sql::values::{loaded, stored, stored_partition};
use crate::{
    Claim, ClaimOutcome, Claimed, HeartbeatReply, NodeBeat, OwnerToken, OwnershipStore, StoreError,
    StoreResult,
};

const HEARTBEAT: &str = include_str!("heartbeat.sql");
const CLAIM: &str = include_str!("claim.sql");
const CLAIM_MANY: &str = include_str!("claim_many.sql");
const END_BLOCKERS: &str = include_str!("end_blockers.sql");

/// The number of connections for appends that are opened ahead of their use.
const APPENDS_WARM: usize = 4;
/// The interval at which a waiting claim looks for the backends that block it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A row that `claim_many.sql` returns. For a claim that won: partition, true, epoch, next_segment,
/// last_hash. For a partition that exists: partition, whether it was locked, its epoch in the
/// snapshot.
type AnswerTuple = (i64, bool, i64, Option<i64>, Option<Vec<u8>>);

#[async_trait]
impl OwnershipStore for PostgresDatabase {
    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        let statement = query_as::<_, (bool, Option<i64>, i64, i64)>(HEARTBEAT)
            .bind(&beat.node.0)
            .bind(stored(beat.incarnation.0))
            .bind(stored(beat.counter))
            .bind(&beat.address)
            .bind(beat.draining)
            .bind(pack_serving(&beat.serving))
            .bind(pack_following(&beat.following));
        let lease = self.beats.lease("heartbeat", BEAT_LIMIT).await?;
        let (written, before, now, version) = lease.fetch_one(statement).await?;
        if !written && before != Some(stored(beat.incarnation.0)) {
            return Err(superseded(&beat.node));
        }
        // A node that writes heartbeats may have to take over partitions, so each heartbeat opens
        // one more connection ahead of its use.
        self.claims.warm(2, claims_of_no_partition);
        self.log.warm(APPENDS_WARM, append_to_no_partition);
        Ok(HeartbeatReply { now: Timestamp(now), catalogue_version: loaded(version) })
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        const DOING: &str = "claim";
        let _turn = self.claim_turns.acquire().await.map_err(|_| StoreError::Unavailable {
            doing: DOING,
            cause: "the database is being closed".to_owned(),
        })?;
        let rows = self.claim_against_blockers(claim).await?;
        match rows.first() {
            Some(row) => claimed(row, DOING).map(Some),
            // The epoch has changed, unless the partition does not exist, which is an error.
            None => self.fence_of(claim.partition, DOING).await.map(|_| None),
        }
    }

    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        const DOING: &str = "claim many";
        check_claims(claims)?;
        // No permit of `claim_turns` is needed: the call uses one connection and no second one.
        let lease = self.claims.lease(DOING, LOCK_LIMIT).await?;
        let rows = lease.fetch_all(statement_of_many(claims)).await?;
        let mut outcomes: HashMap<i64, ClaimOutcome> = HashMap::with_capacity(claims.len());
        let seen: HashMap<i64, i64> = claims
            .iter()
            .map(|claim| (stored_partition(claim.partition), stored(claim.seen.number())))
            .collect();
        for (id, is_locked, epoch, next, last_hash) in rows {
            if let (Some(next), Some(last_hash)) = (next, last_hash) {
                let won = claimed(&(epoch, next, last_hash), DOING)?;
                outcomes.insert(id, ClaimOutcome::Won(won));
                continue;
            }
            // An epoch only grows. If it has changed, the claim has lost, whether or not another
            // statement holds the row.
            let has_moved = seen.get(&id) != Some(&epoch);
            let other =
                if is_locked || has_moved { ClaimOutcome::Lost } else { ClaimOutcome::Busy };
            outcomes.entry(id).or_insert(other);
        }
        let outcome_of = |claim: &Claim| {
            let outcome = outcomes.get(&stored_partition(claim.partition)).copied();
            outcome.ok_or_else(|| StoreError::no_partition(claim.partition))
        };
        claims.iter().map(outcome_of).collect()
    }

    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        ownership::release(&mut self.log.autocommit(LOCK_LIMIT), partition, epoch, claim, to).await
    }

    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        ownership::barrier(&mut self.log.autocommit(LOCK_LIMIT), held).await
    }
}

impl PostgresDatabase {
    /// Claims, and ends backends that block the claim for `CLAIM_LOCK_LIMIT` or longer (P3).
    async fn claim_against_blockers(&self, claim: &Claim) -> StoreResult<Vec<ClaimedTuple>> {
        let mut lease = self.claims.lease("claim", LOCK_LIMIT).await?;
        let pid = lease.backend_pid().await?;
        let rows = lease.fetch_all(statement(claim));
        tokio::pin!(rows);
        let mut blockers = Blockers::default();
        loop {
            // Dropping an unfinished search for blockers closes the connection of the search. The
            // claim continues, and is awaited to its end.
            tokio::select! {
                rows = &mut rows => return rows,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            tokio::select! {
                rows = &mut rows => return rows,
                looked = self.look(pid, claim.partition, &mut blockers) => {
                    // The claim may still succeed, so a failed search for blockers does not abandon
                    // it.
                    if let Err(error) = looked {
                        let partition = claim.partition;
                        tracing::warn!(%partition, %error, "the sessions that block a claim could not be determined");
                    }
                }
            }
        }
    }

    /// Finds the backends that block the backend `waiting`, and ends those that have blocked it for
    /// `CLAIM_LOCK_LIMIT` or longer.
    async fn look(
        &self,
        waiting: i32,
        partition: PartitionId,
        blockers: &mut Blockers,
    ) -> StoreResult<()> {
        let lease = self.claims.lease("end the blockers of a claim", LOCK_LIMIT).await?;
        let (pids, began): (Vec<i32>, Vec<i64>) = blockers.overdue(Instant::now()).unzip();
        let statement = query_as(END_BLOCKERS).bind(waiting).bind(pids).bind(began);
        let found: Vec<(i32, i64, bool)> = lease.fetch_all(statement).await?;
        for (pid, _, _) in found.iter().filter(|(_, _, is_ended)| *is_ended) {
            tracing::warn!(%partition, pid, "ended a backend that blocked a claim");
        }
        blockers.note(Instant::now(), found.into_iter().map(|(pid, began, _)| (pid, began)));
        Ok(())
    }

    /// The fence, and the segment of the newest published checkpoint.
    ///
    /// # Errors
    /// `Refused` when the partition does not exist.
    pub(super) async fn fence_of(
        &self,
        partition: PartitionId,
        doing: &'static str,
    ) -> StoreResult<(Fence, Option<SegmentNumber>)> {
        ownership::fence_of(&mut self.log.autocommit(BEAT_LIMIT), partition, doing).await
    }
}

/// Claims of a partition that does not exist. Running them on a new connection prepares the
/// statements.
fn claims_of_no_partition() -> Vec<Statement<'static>> {
    const NOTHING: &[u8] = &[];
    let one = query(CLAIM)
        .bind(NO_PARTITION)
        .bind(0_i64)
        .bind("")
        .bind(0_i64)
        .bind(NOTHING)
        .bind(false)
        .bind(FLAPS_HALVE_US);
    let many = query(CLAIM_MANY)
        .bind(Vec::<i64>::new())
        .bind(Vec::<i64>::new())
        .bind(Vec::<String>::new())
        .bind(Vec::<i64>::new())
        .bind(Vec::<Vec<u8>>::new())
        .bind(Vec::<bool>::new())
        .bind(FLAPS_HALVE_US);
    vec![one, many]
}

fn statement(claim: &Claim) -> StatementAs<'_, ClaimedTuple> {
    query_as(CLAIM)
        .bind(stored_partition(claim.partition))
        .bind(stored(claim.seen.number()))
        .bind(&claim.node.0)
        .bind(stored(claim.incarnation.0))
        .bind(&claim.claim.0[..])
        .bind(claim.forced)
        .bind(FLAPS_HALVE_US)
}

fn statement_of_many(claims: &[Claim]) -> StatementAs<'static, AnswerTuple> {
    fn column<T>(claims: &[Claim], of: impl Fn(&Claim) -> T) -> Vec<T> {
        claims.iter().map(of).collect()
    }
    query_as(CLAIM_MANY)
        .bind(column(claims, |claim| stored_partition(claim.partition)))
        .bind(column(claims, |claim| stored(claim.seen.number())))
        .bind(column(claims, |claim| claim.node.0.clone()))
        .bind(column(claims, |claim| stored(claim.incarnation.0)))
        .bind(column(claims, |claim| claim.claim.0.to_vec()))
        .bind(column(claims, |claim| claim.forced))
        .bind(FLAPS_HALVE_US)
}
