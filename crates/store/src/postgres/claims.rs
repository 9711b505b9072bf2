//! Claims: of one partition, which ends backends that block it (P3), and of many at once, which
//! waits for no row (P20).

use std::collections::HashMap;
use std::time::Duration;

use sqlx::{query, query_as};
use tokio::time::Instant;
use turnpike_types::PartitionId;

use super::connections::{Statement, StatementAs};
use super::{CLAIM_LOCK_LIMIT, LOCK_LIMIT, NO_PARTITION, PostgresDatabase};
use crate::rules::{self, FLAPS_HALVE_US};
use crate::sql::rows::{ClaimedTuple, claimed, stored, stored_partition};
use crate::{Claim, ClaimOutcome, Claimed, StoreError, StoreResult};

const CLAIM: &str = include_str!("claim.sql");
const CLAIM_MANY: &str = include_str!("claim_many.sql");
const END_BLOCKERS: &str = include_str!("end_blockers.sql");

/// The interval at which a waiting claim looks for the backends that block it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A backend in a transaction: its process id, and the begin of the transaction in microseconds
/// since 1970.
type BlockingBackend = (i32, i64);

/// A row that `claim_many.sql` returns. For a claim that won: partition, true, epoch, next_segment,
/// last_hash. For a partition that exists: partition, whether it was locked, its epoch in the
/// snapshot.
type AnswerTuple = (i64, bool, i64, Option<i64>, Option<Vec<u8>>);

impl PostgresDatabase {
    pub(super) async fn claim_one(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
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

    /// Claims, and ends backends that block the claim for [`CLAIM_LOCK_LIMIT`] or longer (P3).
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
    /// [`CLAIM_LOCK_LIMIT`] or longer.
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

    pub(super) async fn claim_all(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        const DOING: &str = "claim many";
        rules::check_claims(claims)?;
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
            outcome.ok_or_else(|| rules::no_partition(claim.partition))
        };
        claims.iter().map(outcome_of).collect()
    }
}

/// The backends that block one claim, each with the time at which it was first found.
#[derive(Debug, Default)]
struct Blockers {
    since: HashMap<BlockingBackend, Instant>,
}

impl Blockers {
    /// Stores the blockers that a search found, which ended at `now`. A blocker that the search did
    /// not find again is removed.
    fn note(&mut self, now: Instant, found: impl Iterator<Item = BlockingBackend>) {
        let since = |holder| (holder, self.since.get(&holder).copied().unwrap_or(now));
        self.since = found.map(since).collect();
    }

    /// The blockers that every search has found for [`CLAIM_LOCK_LIMIT`] or longer, as of `now`.
    fn overdue(&self, now: Instant) -> impl Iterator<Item = BlockingBackend> {
        let is_overdue = move |since: &Instant| now.duration_since(*since) >= CLAIM_LOCK_LIMIT;
        self.since.iter().filter(move |(_, since)| is_overdue(since)).map(|(&holder, _)| holder)
    }
}

/// Claims of a partition that does not exist. Running them on a new connection prepares the
/// statements.
pub(super) fn claims_of_no_partition() -> Vec<Statement<'static>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The backends that each search ends, given the time of each search in milliseconds and the
    /// backends that it finds.
    fn ended(looks: &[(u64, &[BlockingBackend])]) -> Vec<Vec<BlockingBackend>> {
        let start = Instant::now();
        let mut blockers = Blockers::default();
        let mut look = |&(ms, found): &(u64, &[BlockingBackend])| {
            let now = start + Duration::from_millis(ms);
            let overdue: Vec<BlockingBackend> = blockers.overdue(now).collect();
            blockers.note(now, found.iter().copied());
            found.iter().copied().filter(|holder| overdue.contains(holder)).collect()
        };
        looks.iter().map(&mut look).collect()
    }

    const STUCK: BlockingBackend = (1, 10);
    const OTHER: BlockingBackend = (2, 20);

    #[test]
    fn p3_a_blocker_of_a_claim_is_ended_after_the_whole_limit_and_not_before() {
        let looks = [(0, &[STUCK][..]), (50, &[STUCK]), (399, &[STUCK]), (400, &[STUCK])];
        assert_eq!(ended(&looks), [vec![], vec![], vec![], vec![STUCK]]);
    }

    /// A claim that waits for the row is not found as a blocker. Once it holds the row, it is
    /// found, and its time limit begins.
    #[test]
    fn p3_a_claimant_that_gets_the_row_later_is_not_ended_with_its_former_blocker() {
        let looks = [(0, &[STUCK][..]), (400, &[STUCK]), (450, &[OTHER]), (799, &[OTHER])];
        assert_eq!(ended(&looks), [vec![], vec![STUCK], vec![], vec![]]);
        // A backend that stays blocked after it got the row is ended after its own limit.
        let looks = [(0, &[STUCK][..]), (400, &[STUCK]), (450, &[OTHER]), (850, &[OTHER])];
        assert_eq!(ended(&looks)[3], [OTHER]);
    }

    /// The next transaction of the same backend counts as another blocker.
    #[test]
    fn p3_a_backend_that_began_another_transaction_is_given_its_time_again() {
        let next: BlockingBackend = (STUCK.0, 11);
        let looks = [(0, &[STUCK][..]), (350, &[next]), (700, &[next]), (750, &[next])];
        assert_eq!(ended(&looks), [vec![], vec![], vec![], vec![next]]);
        let gap = [(0, &[STUCK][..]), (200, &[]), (400, &[STUCK]), (799, &[STUCK])];
        assert_eq!(ended(&gap), [vec![], vec![], vec![], vec![]]);
    }
}
