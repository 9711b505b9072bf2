//! Heartbeats, claims, releases and barriers in memory.

use std::sync::Arc;

use async_trait::async_trait;
use turnpike_mutants::{Check, off};
use turnpike_types::{ClaimId, Epoch, NodeName, PartitionId, Timestamp};

use super::database::MemoryDatabase;
use super::state::{Node, Partition, State};
use crate::ownership::{check_claims, decayed_flaps, superseded};
use crate::{
    Claim, ClaimOutcome, Claimed, HeartbeatReply, NodeBeat, NodeRow, OwnerToken, OwnershipStore,
    StoreError, StoreResult,
};

#[async_trait]
impl OwnershipStore for MemoryDatabase {
    async fn heartbeat(&self, beat: &NodeBeat) -> StoreResult<HeartbeatReply> {
        let now = self.now();
        self.state().heartbeat(beat, now)
    }

    async fn claim(&self, claim: &Claim) -> StoreResult<Option<Claimed>> {
        let _row = self.row_lock(claim.partition).await?;
        let now = self.now();
        self.state().claim(claim, now)
    }

    async fn claim_many(&self, claims: &[Claim]) -> StoreResult<Vec<ClaimOutcome>> {
        check_claims(claims)?;
        let now = self.now();
        let mut state = self.state();
        for claim in claims {
            state.partition(claim.partition)?;
        }
        // No call waits for a row while it holds the lock of the state, so the order of claims can
        // cause no deadlock.
        let mut claim_one = |claim: &Claim| {
            let partition = state.partition(claim.partition)?;
            if !partition.is_at(claim.seen) {
                return Ok(ClaimOutcome::Lost);
            }
            let lock = Arc::clone(&partition.lock);
            let row = lock.try_lock();
            if row.is_err() && !off(Check::BusyRow) {
                return Ok(ClaimOutcome::Busy);
            }
            Ok(state.claim(claim, now)?.map_or(ClaimOutcome::Lost, ClaimOutcome::Won))
        };
        claims.iter().map(&mut claim_one).collect()
    }

    async fn release(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let Ok(_row) = self.row_lock(partition).await else {
            return Ok(false);
        };
        self.state().release(partition, epoch, claim, to)
    }

    async fn barrier(&self, held: &OwnerToken) -> StoreResult<bool> {
        let Ok(_row) = self.row_lock(held.partition).await else {
            return Ok(false);
        };
        let state = self.state();
        Ok(state.partition(held.partition)?.is_held(held))
    }
}

impl Partition {
    fn is_held(&self, held: &OwnerToken) -> bool {
        (self.is_owned_by(held.epoch, held.claim) || off(Check::BarrierOwner))
            && (self.row.next == held.position || off(Check::BarrierPosition))
    }

    fn is_at(&self, epoch: Epoch) -> bool {
        self.row.epoch == epoch || off(Check::ClaimSeen)
    }
}

impl State {
    fn heartbeat(&mut self, beat: &NodeBeat, now: Timestamp) -> StoreResult<HeartbeatReply> {
        let is_new = self.starts.insert((beat.node.clone(), beat.incarnation));
        let old = self.nodes.get(&beat.node).map(|node| &node.row);
        match old {
            // A heartbeat that arrives after a later one changes nothing.
            Some(old)
                if old.beat.incarnation == beat.incarnation && old.beat.counter >= beat.counter => {
            }
            Some(old)
                if old.beat.incarnation != beat.incarnation
                    && !is_new
                    && !off(Check::Superseded) =>
            {
                return Err(superseded(&beat.node));
            }
            _ => {
                let drain_asked = old.is_some_and(|old| old.drain_asked);
                let row = NodeRow { beat: beat.clone().sorted(), beat_at: now, drain_asked };
                self.nodes.insert(beat.node.clone(), Node { row, forgotten: false });
            }
        }
        Ok(HeartbeatReply { now, catalogue_version: self.catalogue_version() })
    }

    fn claim(&mut self, claim: &Claim, now: Timestamp) -> StoreResult<Option<Claimed>> {
        let Partition { row, flapped_at, .. } = self.partition_mut(claim.partition)?;
        if row.epoch != claim.seen && !off(Check::ClaimSeen) {
            return Ok(None);
        }
        let Some(epoch) = row.epoch.next() else {
            return Err(StoreError::Refused(format!(
                "partition {}: the epoch can't grow any further",
                claim.partition
            )));
        };
        if claim.forced && row.owner.is_some() && !off(Check::Flaps) {
            row.flaps = decayed_flaps(row.flaps, *flapped_at, now).saturating_add(1);
            *flapped_at = now;
        }
        row.epoch = epoch;
        row.owner = Some((claim.node.clone(), claim.incarnation));
        row.claim = claim.claim;
        row.released_to = None;
        Ok(Some(Claimed { epoch, position: row.next }))
    }

    fn release(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        claim: ClaimId,
        to: Option<&NodeName>,
    ) -> StoreResult<bool> {
        let partition = self.partition_mut(partition)?;
        if !partition.is_owned_by(epoch, claim) {
            return Ok(false);
        }
        partition.row.released_to = to.cloned();
        if to.is_none() {
            partition.row.owner = None;
        }
        Ok(true)
    }
}
