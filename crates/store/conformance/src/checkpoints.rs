//! Parts and manifests of checkpoints (P22).

use bytes::Bytes;
use turnpike_store::{CheckpointManifest, CheckpointPart, SharedDatabase, StoreError};
use turnpike_types::{ClaimId, PartitionId, SegmentNumber};

use crate::{Dice, TestOwner, TestedStore, spec};

const P: PartitionId = PartitionId(1);

fn part(name: &str, segment: u64) -> CheckpointPart {
    let body = Bytes::from(format!("bytes of {name}"));
    CheckpointPart { name: name.to_owned(), segment: SegmentNumber(segment), body }
}

/// An owner after `segments` appends, and a manifest for each segment.
async fn log_of(
    db: &dyn SharedDatabase,
    segments: u64,
    dice: &mut Dice,
) -> (TestOwner, Vec<CheckpointManifest>) {
    let mut owner = TestOwner::claim_now(db, 1, "a", dice).await;
    let mut manifests = Vec::new();
    for n in 1..=segments {
        owner.append(db, "x", dice).await.unwrap();
        manifests.push(CheckpointManifest {
            partition: P,
            segment: SegmentNumber(n),
            hash: owner.position.last_hash,
            parts: Vec::new(),
            summary: Bytes::from(format!("summary {n}")),
        });
    }
    (owner, manifests)
}

/// Writing a part again with the same bytes is no error; other bytes are refused.
pub async fn a_part_is_written_once(s: &TestedStore) {
    let db = s.with_partition().await;
    db.put_checkpoint_part(P, &part("one", 1)).await.unwrap();
    s.view().await.put_checkpoint_part(P, &part("one", 1)).await.unwrap();
    let mut other = part("one", 1);
    other.body = Bytes::from_static(b"other");
    let refused = db.put_checkpoint_part(P, &other).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_eq!(db.checkpoint_part(P, "one").await.unwrap(), Some(part("one", 1).body));
    assert_eq!(db.checkpoint_part(P, "two").await.unwrap(), None);
    let nowhere = db.put_checkpoint_part(PartitionId(9), &part("one", 1)).await;
    assert!(matches!(nowhere, Err(StoreError::Refused(_))), "{nowhere:?}");
    let unlisted = db.put_checkpoint_part(P, &part("a\nb", 1)).await;
    assert!(matches!(unlisted, Err(StoreError::Refused(_))), "{unlisted:?}");
}

/// The fence compares the epoch and the claim.
pub async fn a_checkpoint_is_fenced(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(31));
    let (old, manifests) = log_of(&*db, 2, &mut dice).await;
    assert!(!db.publish_checkpoint(&manifests[0], old.epoch, ClaimId([9; 16])).await.unwrap());
    let new = TestOwner::claim_now(&*db, 1, "b", &mut dice).await;
    assert!(!db.publish_checkpoint(&manifests[1], old.epoch, old.claim).await.unwrap());
    assert!(db.checkpoints(P).await.unwrap().is_empty());
    assert!(db.publish_checkpoint(&manifests[1], new.epoch, new.claim).await.unwrap());
    assert_eq!(s.view().await.checkpoints(P).await.unwrap(), [manifests[1].clone()]);
}

/// Once the manifest of a segment is published, no manifest of that segment or of an earlier one is
/// published, even by concurrent calls.
pub async fn a_checkpoint_only_moves_forward(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(32));
    let (owner, manifests) = log_of(&*db, 6, &mut dice).await;
    let publish = async |n: usize| {
        db.publish_checkpoint(&manifests[n - 1], owner.epoch, owner.claim).await.unwrap()
    };
    assert!(publish(2).await);
    assert!(!publish(2).await);
    assert!(!publish(1).await);
    let together = futures::join!(publish(4), publish(3), publish(4));
    assert!(together.0 != together.2, "exactly one of two equal publications succeeds");
    let newest = db.checkpoints(P).await.unwrap();
    assert_eq!(newest[0].segment, SegmentNumber(4));
    assert!(publish(6).await);
    let kept: Vec<u64> = db.checkpoints(P).await.unwrap().iter().map(|m| m.segment.0).collect();
    assert_eq!(kept, [6, 4]);
}

/// A manifest is refused for a part that was not written, a segment that was not appended, or
/// another hash.
pub async fn a_manifest_with_missing_parts_is_refused(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(33));
    let (owner, manifests) = log_of(&*db, 2, &mut dice).await;
    db.put_checkpoint_part(P, &part("there", 1)).await.unwrap();
    let mut missing = manifests[0].clone();
    missing.parts = vec!["there".to_owned(), "gone".to_owned()];
    let mut ahead = manifests[1].clone();
    ahead.segment = SegmentNumber(3);
    let mut other = manifests[1].clone();
    other.hash = dice.hash();
    for (wrong, word) in [(missing, "gone"), (ahead, "appended"), (other, "hash")] {
        let refused = db.publish_checkpoint(&wrong, owner.epoch, owner.claim).await;
        match refused {
            Err(StoreError::Refused(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(db.checkpoints(P).await.unwrap().is_empty());
}

/// A manifest may name a part of an earlier checkpoint. A part that no retained manifest names is
/// deleted.
pub async fn two_manifests_and_their_parts_are_kept(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(34));
    let (owner, mut manifests) = log_of(&*db, 4, &mut dice).await;
    db.put_checkpoint_part(P, &part("run", 1)).await.unwrap();
    for n in 1..=4u64 {
        let state = format!("state-{n}");
        db.put_checkpoint_part(P, &part(&state, n)).await.unwrap();
        let manifest = &mut manifests[usize::try_from(n).unwrap() - 1];
        manifest.parts = vec![state, "run".to_owned()];
        assert!(db.publish_checkpoint(manifest, owner.epoch, owner.claim).await.unwrap());
    }
    let kept = s.view().await.checkpoints(P).await.unwrap();
    assert_eq!(kept, [manifests[3].clone(), manifests[2].clone()]);
    for (name, is_there) in [
        ("state-1", false),
        ("state-2", false),
        ("state-3", true),
        ("state-4", true),
        ("run", true),
    ] {
        let found = db.checkpoint_part(P, name).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{name}");
    }
}

/// The part is written before its manifest is published.
pub async fn a_part_of_a_manifest_to_come_is_not_pruned(s: &TestedStore) {
    let (db, mut dice) = (s.with_partition().await, Dice(35));
    let (owner, mut manifests) = log_of(&*db, 5, &mut dice).await;
    db.put_checkpoint_part(P, &part("early", 4)).await.unwrap();
    for n in 1..=3 {
        let manifest = &manifests[n - 1];
        assert!(db.publish_checkpoint(manifest, owner.epoch, owner.claim).await.unwrap());
    }
    manifests[3].parts = vec!["early".to_owned()];
    assert!(db.publish_checkpoint(&manifests[3], owner.epoch, owner.claim).await.unwrap());
    assert!(db.checkpoint_part(P, "early").await.unwrap().is_some());
}

/// Parts of the same name are separate in each partition, and so is pruning.
pub async fn p22_checkpoints_of_two_partitions_do_not_touch_each_other(s: &TestedStore) {
    let (db, mut dice) = (s.view().await, Dice(36));
    db.create_partitions(&[spec(1, 1, 10), spec(2, 11, 20)]).await.unwrap();
    let body = |id: u32, n: u64| Bytes::from(format!("{n} of partition {id}"));
    let mut kept = Vec::new();
    // Partition 1 has later checkpoints than partition 2; each has a part of the same name.
    for (id, segments, first) in [(1, 4, 1), (2, 1, 4)] {
        let mut owner = TestOwner::claim_now(&*db, id, "a", &mut dice).await;
        let mut manifests = Vec::new();
        for n in 1..=segments {
            owner.append(&*db, "x", &mut dice).await.unwrap();
            let name = format!("state-{}", first + n - 1);
            let part =
                CheckpointPart { name: name.clone(), segment: SegmentNumber(n), body: body(id, n) };
            db.put_checkpoint_part(PartitionId(id), &part).await.unwrap();
            let manifest = CheckpointManifest {
                partition: PartitionId(id),
                segment: SegmentNumber(n),
                hash: owner.position.last_hash,
                parts: vec![name],
                summary: Bytes::new(),
            };
            assert!(db.publish_checkpoint(&manifest, owner.epoch, owner.claim).await.unwrap());
            manifests.insert(0, manifest);
        }
        manifests.truncate(2);
        kept.push((id, manifests));
    }
    for (id, manifests) in kept {
        assert_eq!(db.checkpoints(PartitionId(id)).await.unwrap(), manifests);
        for manifest in manifests {
            let found = db.checkpoint_part(PartitionId(id), &manifest.parts[0]).await.unwrap();
            assert_eq!(found, Some(body(id, manifest.segment.0)), "partition {id}");
        }
    }
}

/// Writing a part under an existing name, but with another segment number, is refused.
pub async fn p22_a_part_of_another_segment_is_another_part(s: &TestedStore) {
    let db = s.with_partition().await;
    db.put_checkpoint_part(P, &part("one", 1)).await.unwrap();
    let refused = db.put_checkpoint_part(P, &part("one", 2)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
}
