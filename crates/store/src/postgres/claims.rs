//! Claims: one, which ends what blocks it (P3), and many at once, which wait for nobody (P20).

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{query, query_as};
use turnpike_types::PartitionId;

use super::lanes::{Failure, Statement, StatementAs};
use super::{LOCK_LIMIT, NO_PARTITION, PostgresDatabase};
use crate::rules::{self, FLAPS_HALVE_US};
use crate::sql::errors::is_lock_timeout;
use crate::sql::rows::{ClaimedTuple, claimed, stored, stored_partition};
use crate::{Claim, ClaimOutcome, Claimed, StoreError, StoreResult};

const CLAIM: &str = include_str!("claim.sql");
const CLAIM_MANY: &str = include_str!("claim_many.sql");
const END_BLOCKERS: &str = include_str!("end_blockers.sql");

/// How often a blocked claim looks for what blocks it.
const END_BLOCKERS_EVERY: Duration = Duration::from_millis(50);

/// Of a won one: partition, true, epoch, next_segment, last_hash. Of one that is there: partition,
/// is it locked, the epoch in the snapshot.
type AnswerTuple = (i64, bool, i64, Option<i64>, Option<Vec<u8>>);

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
        // Without a turn: it holds one connection, and waits for no second one.
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
            // An epoch only grows: where it has moved on, it does not matter who holds the row.
            let has_moved = seen.get(&id) != Some(&epoch);
            let other =
                if is_locked || has_moved { ClaimOutcome::Lost } else { ClaimOutcome::Busy };
            outcomes.entry(id).or_insert(other);
        }
        let outcome_of = |claim: &Claim| {
            let outcome = outcomes.get(&stored_partition(claim.partition)).copied();
            outcome.ok_or_else(|| rules::no_partition(claim.partition))
        };
        claims.iter().map(outcome_of).collect()
    }
}

/// Claims of nothing, for connections to come.
pub(super) fn of_nothing() -> Vec<Statement<'static>> {
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
