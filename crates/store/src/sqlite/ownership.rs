//! Heartbeats, claims, releases, barriers. Claims, one or many, are one transaction under the file's
//! write lock.

use std::fmt::Write;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, Timestamp};

use super::database::SqliteDatabase;
use super::writer::Urgency;
use crate::ownership::{FLAPS_HALVE_US, check_claims, superseded};
use crate::sql::errors::classify;
use crate::sql::ownership::{self, claimed};
use crate::sql::packed::{pack_following, pack_serving};
use crate::sql::values::{loaded, stored, stored_partition};
use crate::{
    Claim, ClaimOutcome, Claimed, HeartbeatReply, NodeBeat, OwnerToken, OwnershipStore, StoreError,
    StoreResult,
};

const HEARTBEAT: &str = include_str!("heartbeat.sql");
const CLAIM_MANY: &str = include_str!("claim_many.sql");
const CLAIMED: &str = include_str!("claimed.sql");

const CLAIMING: &str = "claim";

/// Columns: partition, whether the claim won, epoch, next_segment, last_hash.
type LeftTuple = (i64, bool, i64, i64, Vec<u8>);

#[async_trait]
impl OwnershipStore for SqliteDatabase {
    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        const DOING: &str = "heartbeat";
        let now = (self.clock)();
        let beat = beat.clone();
        let catalogue_version = self
            .writer
            .write(Urgency::Heartbeat, DOING, move |c| Box::pin(write_beat(c, beat, now)))
            .await?;
        Ok(HeartbeatReply { now, catalogue_version })
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        let outcomes = self.claim_many(std::slice::from_ref(claim)).await?;
        Ok(outcomes.into_iter().find_map(|outcome| match outcome {
            ClaimOutcome::Won(claimed) => Some(claimed),
            ClaimOutcome::Lost | ClaimOutcome::Busy => None,
        }))
    }

    /// The write lock covers the whole file, so that no single row is ever busy.
    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        check_claims(claims)?;
        let (claims, clock) = (claims.to_vec(), self.clock.clone());
        self.writer
            .write(Urgency::Normal, CLAIMING, move |c| {
                Box::pin(async move { write_claims(c, claims, clock()).await })
            })
            .await
    }

    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let to = to.cloned();
        self.writer
            .write(Urgency::Normal, "release", move |c| {
                Box::pin(async move {
                    ownership::release(c, partition, epoch, claim, to.as_ref()).await
                })
            })
            .await
    }

    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        let held = *held;
        self.writer
            .write(Urgency::Normal, "barrier", move |c| {
                Box::pin(async move { ownership::barrier(c, &held).await })
            })
            .await
    }
}

/// Writes the heartbeat. Returns the catalogue's version.
async fn write_beat(
    connection: &mut SqliteConnection,
    beat: NodeBeat,
    now: Timestamp,
) -> StoreResult<u64> {
    const DOING: &str = "heartbeat";
    let failed = |error: sqlx::Error| classify(DOING, &error);
    let incarnation = stored(beat.incarnation.0);
    let seen =
        "INSERT INTO incarnations (node, incarnation) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let is_new = query(seen)
        .bind(&beat.node.0)
        .bind(incarnation)
        .execute(&mut *connection)
        .await
        .map_err(failed)?
        .rows_affected()
        == 1;
    query(HEARTBEAT)
        .bind(&beat.node.0)
        .bind(incarnation)
        .bind(stored(beat.counter))
        .bind(&beat.address)
        .bind(beat.draining)
        .bind(pack_serving(&beat.serving))
        .bind(pack_following(&beat.following))
        .bind(now.micros())
        .bind(is_new)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let reply = "SELECT n.incarnation, s.catalogue_version FROM nodes n, store s WHERE n.node = $1";
    let (newest, version): (i64, i64) =
        query_as(reply).bind(&beat.node.0).fetch_one(connection).await.map_err(failed)?;
    if newest != incarnation {
        return Err(superseded(&beat.node));
    }
    Ok(loaded(version))
}

async fn write_claims(
    connection: &mut SqliteConnection,
    claims: Vec<Claim>,
    now: Timestamp,
) -> StoreResult<Vec<ClaimOutcome>> {
    let list = json(&claims);
    query(CLAIM_MANY)
        .bind(&list)
        .bind(now.micros())
        .bind(FLAPS_HALVE_US)
        .execute(&mut *connection)
        .await
        .map_err(|error| classify(CLAIMING, &error))?;
    let left: Vec<LeftTuple> = query_as(CLAIMED)
        .bind(&list)
        .fetch_all(connection)
        .await
        .map_err(|error| classify(CLAIMING, &error))?;
    let mut left = left.into_iter();
    let outcome_of = |claim: &Claim| match left.next() {
        Some((id, is_ours, epoch, next, last_hash)) if id == stored_partition(claim.partition) => {
            match is_ours {
                true => claimed(&(epoch, next, last_hash), CLAIMING).map(ClaimOutcome::Won),
                false => Ok(ClaimOutcome::Lost),
            }
        }
        // The partition does not exist. The error rolls back the other claims of the call.
        _ => Err(StoreError::no_partition(claim.partition)),
    };
    claims.iter().map(outcome_of).collect()
}

/// The claims in the form that `claim_many.sql` reads. They are numbers and hex digits, so that no
/// character needs an escape.
fn json(claims: &[Claim]) -> String {
    let mut list = String::from("[");
    for claim in claims {
        let (id, seen) = (stored_partition(claim.partition), stored(claim.seen.number()));
        let (incarnation, forced) = (stored(claim.incarnation.0), i32::from(claim.forced));
        let comma = if list.len() == 1 { "" } else { "," };
        // Writing to a string can't fail.
        let _ = write!(list, "{comma}[{id},{seen},\"");
        for byte in claim.node.0.bytes() {
            // As above.
            let _ = write!(list, "{byte:02x}");
        }
        // As above.
        let _ = write!(list, "\",{incarnation},\"{}\",{forced}]", claim.claim);
    }
    list.push(']');
    list
}
