//! Helpers for the cases: owners that claim and append, a check of the hash chain, and
//! pseudo-random numbers from a seed.

use bytes::Bytes;
use turnpike_store::{
    AppendOutcome, AppendSegment, Claim, Claimed, Member, OwnerToken, PartitionSpec,
    SegmentPosition, SegmentRow, SharedDatabase, StoreResult,
};
use turnpike_types::limits::HORIZON_DEFAULT_US;
use turnpike_types::{
    AccountRange, ClaimId, Epoch, Incarnation, NodeName, PartitionId, Priority, SegmentHash,
    SegmentNumber,
};

/// A partition with the members `a` (priority 2) and `b` (priority 1).
pub fn spec(id: u32, first: u64, last: u64) -> PartitionSpec {
    PartitionSpec {
        id: PartitionId(id),
        range: AccountRange::new(first, last).unwrap(),
        horizon_us: HORIZON_DEFAULT_US,
        accept_since: None,
        members: vec![member("a", 2), member("b", 1)],
    }
}

/// A member of a partition.
pub fn member(node: &str, priority: u32) -> Member {
    Member { node: NodeName(node.to_owned()), priority: Priority(priority) }
}

/// A claim of partition `id` for `node`, which has read the epoch `seen`; not forced.
pub fn claim(id: u32, seen: Epoch, node: &str, dice: &mut Dice) -> Claim {
    Claim {
        partition: PartitionId(id),
        seen,
        node: NodeName(node.to_owned()),
        incarnation: Incarnation(dice.roll()),
        claim: dice.claim(),
        forced: false,
    }
}

/// Pseudo-random numbers, the same for the same seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    /// The next pseudo-random number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A pseudo-random number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    /// A pseudo-random hash.
    pub fn hash(&mut self) -> SegmentHash {
        let mut hash = [0; 32];
        for chunk in hash.chunks_mut(8) {
            chunk.copy_from_slice(&self.roll().to_be_bytes());
        }
        SegmentHash(hash)
    }

    /// A pseudo-random claim id.
    pub fn claim(&mut self) -> ClaimId {
        ClaimId((u128::from(self.roll()) << 64 | u128::from(self.roll())).to_be_bytes())
    }
}

/// A node that has claimed a partition, with the end of the log as it knows it.
#[derive(Clone, Debug)]
pub struct TestOwner {
    /// The partition.
    pub partition: PartitionId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The id of the owner's claim.
    pub claim: ClaimId,
    /// The end of the log as the owner knows it; the next append goes here.
    pub position: SegmentPosition,
}

impl TestOwner {
    /// The owner's fencing token and position.
    pub fn held(&self) -> OwnerToken {
        let Self { partition, epoch, claim, position } = *self;
        OwnerToken { partition, epoch, claim, position }
    }

    /// Claims partition `id` for `node`, which has read the epoch `seen`; `None` if that is stale.
    pub async fn try_claim(
        db: &dyn SharedDatabase,
        id: u32,
        seen: Epoch,
        node: &str,
        dice: &mut Dice,
    ) -> StoreResult<Option<Self>> {
        let claim = claim(id, seen, node, dice);
        let won = db.claim(&claim).await?;
        Ok(won.map(|Claimed { epoch, position }| Self {
            partition: claim.partition,
            epoch,
            claim: claim.claim,
            position,
        }))
    }

    /// Claims partition `id` at the present epoch, and retries until the claim wins.
    pub async fn claim_now(db: &dyn SharedDatabase, id: u32, node: &str, dice: &mut Dice) -> Self {
        loop {
            let seen = epoch_of(db, id).await;
            if let Some(owner) = Self::try_claim(db, id, seen, node, dice).await.unwrap() {
                return owner;
            }
        }
    }

    /// An append of `body` at the owner's position.
    pub fn next_append(&self, body: Bytes, dice: &mut Dice) -> AppendSegment {
        AppendSegment {
            partition: self.partition,
            epoch: self.epoch,
            claim: self.claim,
            segment: self.position.next,
            prev_hash: self.position.last_hash,
            hash: dice.hash(),
            has_postings: false,
            body,
        }
    }

    /// Appends `body`; after a commit the owner's position moves.
    pub async fn append(
        &mut self,
        db: &dyn SharedDatabase,
        body: impl Into<Bytes>,
        dice: &mut Dice,
    ) -> StoreResult<AppendOutcome> {
        let append = self.next_append(body.into(), dice);
        let outcome = db.append(&append).await?;
        if outcome == AppendOutcome::Committed {
            self.position = SegmentPosition { next: append.segment.next(), last_hash: append.hash };
        }
        Ok(outcome)
    }
}

/// The present epoch of partition `id`.
pub(crate) async fn epoch_of(db: &dyn SharedDatabase, id: u32) -> Epoch {
    let seen = db.observe().await.unwrap();
    let row = seen.partitions.iter().find(|row| row.spec.id == PartitionId(id));
    row.expect("the partition was created").epoch
}

/// The whole log of a partition.
pub async fn read_all(db: &dyn SharedDatabase, id: u32) -> Vec<SegmentRow> {
    let mut rows: Vec<SegmentRow> = Vec::new();
    loop {
        let after = rows.last().map_or(SegmentNumber(0), |row| row.segment);
        let more = db.read_segments(PartitionId(id), after, 1 << 20).await.unwrap();
        if more.is_empty() {
            return rows;
        }
        rows.extend(more);
    }
}

/// Checks I3: segment numbers have no gap, epochs never decrease, and each segment holds the hash
/// of its predecessor. Returns the end of the chain.
pub fn check_chain(rows: &[SegmentRow]) -> SegmentPosition {
    let mut position =
        SegmentPosition { next: SegmentNumber(1), last_hash: SegmentHash::default() };
    let mut epoch = Epoch::UNOWNED;
    for row in rows {
        assert_eq!(row.segment, position.next, "a gap in the log");
        assert_eq!(row.prev_hash, position.last_hash, "the chain is broken at {}", row.segment);
        assert!(row.epoch >= epoch, "the epoch regresses at {}", row.segment);
        epoch = row.epoch;
        position = SegmentPosition { next: row.segment.next(), last_hash: row.hash };
    }
    position
}
