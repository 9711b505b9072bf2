//! Claims: one, which ends what blocks it (P3), and many at once, which wait for nobody (P20).

use std::time::Duration;

use sqlx::query_as;
use turnpike_types::PartitionId;

use super::lanes::{Failure, StatementAs};
use super::{LOCK_LIMIT, PostgresDatabase};
use crate::rules::{self, FLAPS_HALVE_US};
use crate::sql::errors::{corrupt, is_lock_timeout};
use crate::sql::rows::{ClaimedTuple, claimed, partition_id, stored, stored_partition};
use crate::{Claim, ClaimOutcome, Claimed, StoreError, StoreResult};

const CLAIM: &str = include_str!("claim.sql");
const CLAIM_MANY: &str = include_str!("claim_many.sql");
const END_BLOCKERS: &str = include_str!("end_blockers.sql");

/// How often a blocked claim looks for what blocks it.
const END_BLOCKERS_EVERY: Duration = Duration::from_millis(50);

/// partition, epoch in the snapshot, is it locked; where it was won: epoch, next_segment, last_hash
type OutcomeTuple = (i64, Option<i64>, bool, Option<i64>, Option<i64>, Option<Vec<u8>>);

impl PostgresDatabase {
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

    pub(super) async fn claim_all(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        const DOING: &str = "claim many";
        rules::check_claims(claims)?;
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        // Without a turn: it holds one connection, and waits for no second one.
        let lease = self.claims.lease(DOING, LOCK_LIMIT).await?;
        let rows = lease.fetch_all(statement_of_many(claims)).await?;
        if rows.len() != claims.len() {
            return Err(corrupt(DOING, format!("{} answers to {}", rows.len(), claims.len())));
        }
        rows.into_iter().zip(claims).map(|(row, claim)| outcome(row, claim, DOING)).collect()
    }
}

fn outcome(row: OutcomeTuple, claim: &Claim, doing: &'static str) -> StoreResult<ClaimOutcome> {
    let (id, epoch_seen, is_locked, epoch, next, last_hash) = row;
    if let (Some(epoch), Some(next), Some(last_hash)) = (epoch, next, last_hash) {
        return claimed(&(epoch, next, last_hash), doing).map(ClaimOutcome::Won);
    }
    let Some(epoch_seen) = epoch_seen else {
        return Err(rules::no_partition(partition_id(id, doing)?));
    };
    // An epoch only grows: where it has moved on, it does not matter who holds the row.
    let has_moved = epoch_seen != stored(claim.seen.number());
    Ok(if is_locked || has_moved { ClaimOutcome::Lost } else { ClaimOutcome::Busy })
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

fn statement_of_many(claims: &[Claim]) -> StatementAs<'static, OutcomeTuple> {
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
