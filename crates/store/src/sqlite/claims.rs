//! Claims: one or many, in one transaction under the file's write lock.

use std::fmt::Write;

use sqlx::sqlite::SqliteConnection;
use sqlx::{query, query_as};
use turnpike_types::Timestamp;

use super::SqliteDatabase;
use super::writer::Urgency;
use crate::rules::{self, FLAPS_HALVE_US};
use crate::sql::errors::classify;
use crate::sql::rows::{claimed, stored, stored_partition};
use crate::{Claim, ClaimOutcome, Claimed, StoreResult};

const CLAIM_MANY: &str = include_str!("claim_many.sql");
const CLAIMED: &str = include_str!("claimed.sql");

const DOING: &str = "claim";

/// Columns: partition, whether the claim won, epoch, next_segment, last_hash.
type LeftTuple = (i64, bool, i64, i64, Vec<u8>);

impl SqliteDatabase {
    pub(super) async fn claim_one(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        let outcomes = self.claim_all(std::slice::from_ref(claim)).await?;
        Ok(outcomes.into_iter().find_map(|outcome| match outcome {
            ClaimOutcome::Won(claimed) => Some(claimed),
            ClaimOutcome::Lost | ClaimOutcome::Busy => None,
        }))
    }

    /// The write lock covers the whole file, so that no single row is ever busy.
    pub(super) async fn claim_all(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        rules::check_claims(claims)?;
        let (claims, clock) = (claims.to_vec(), self.clock.clone());
        self.writer
            .write(Urgency::Normal, DOING, move |c| {
                Box::pin(async move { write_claims(c, claims, clock()).await })
            })
            .await
    }
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
        .map_err(|error| classify(DOING, &error))?;
    let left: Vec<LeftTuple> = query_as(CLAIMED)
        .bind(&list)
        .fetch_all(connection)
        .await
        .map_err(|error| classify(DOING, &error))?;
    let mut left = left.into_iter();
    let outcome_of = |claim: &Claim| match left.next() {
        Some((id, is_ours, epoch, next, last_hash)) if id == stored_partition(claim.partition) => {
            match is_ours {
                true => claimed(&(epoch, next, last_hash), DOING).map(ClaimOutcome::Won),
                false => Ok(ClaimOutcome::Lost),
            }
        }
        // The partition does not exist. The error rolls back the other claims of the call.
        _ => Err(rules::no_partition(claim.partition)),
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
        let _ = write!(list, "{comma}[{id},{seen},\"");
        for byte in claim.node.0.bytes() {
            let _ = write!(list, "{byte:02x}");
        }
        let _ = write!(list, "\",{incarnation},\"{}\",{forced}]", claim.claim);
    }
    list.push(']');
    list
}
