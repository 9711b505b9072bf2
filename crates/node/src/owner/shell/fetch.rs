//! Reads a sender's log for postings, in a task beside the owner's.

use std::sync::Arc;

use turnpike_mutants::{Check, off};
use turnpike_segment::Segment;
use turnpike_segment::head::PostingCursor;
use turnpike_store::{SegmentRow, SharedDatabase, StoreError};
use turnpike_types::SegmentNumber;

use crate::owner::core::{Fetched, Scope, SenderSegment, page};

/// The maximum number of segments that one query of a fetch reads.
const FETCH_SEGMENTS: usize = 64;

/// Reads the sender's log after `from`.
pub(crate) async fn fetch(
    db: Arc<dyn SharedDatabase>,
    scope: Scope,
    from: PostingCursor,
) -> Fetched {
    match rows(db.as_ref(), &scope, &from).await {
        Ok(Ok(rows)) => match rows.iter().map(decoded).collect::<Result<Vec<_>, _>>() {
            Ok(segments) => page(&scope, from, segments).map_or(Fetched::Nothing, Fetched::Page),
            Err(why) => Fetched::Diverged { sender: scope.sender, why },
        },
        Ok(Err(why)) => Fetched::Diverged { sender: scope.sender, why },
        Err(error) => {
            tracing::warn!(%error, "a sender's postings could not be read: reading again soon");
            Fetched::Failed
        }
    }
}

fn decoded(row: &SegmentRow) -> Result<SenderSegment, String> {
    let segment = Segment::decode_checked(&row.body, row.prev_hash, row.hash)
        .map_err(|error| format!("segment {}: {error}", row.segment))?;
    Ok(SenderSegment { number: row.segment, hash: row.hash, segment })
}

/// The segments after the cursor. The cursor's own segment comes first, since some of its postings
/// may not be taken yet. An error says why the segments do not continue the cursor (P18).
async fn rows(
    db: &dyn SharedDatabase,
    scope: &Scope,
    from: &PostingCursor,
) -> Result<Result<Vec<SegmentRow>, String>, StoreError> {
    let sender = scope.sender;
    if from.segment == 0 {
        let rows = db.posting_segments(sender, SegmentNumber(0), FETCH_SEGMENTS).await?;
        return Ok(Ok(rows));
    }
    let before = SegmentNumber(from.segment - 1);
    let mut rows = db.posting_segments(sender, before, FETCH_SEGMENTS).await?;
    let same = |row: &SegmentRow| row.segment.0 == from.segment && row.hash.0[..] == from.hash[..];
    if !rows.first().is_some_and(same) {
        return Ok(Err(format!(
            "segment {} is missing or has another hash than when it was read",
            from.segment
        )));
    }
    if rows.len() == 1 && !off(Check::SegmentAlone) {
        // The cursor's segment may fill a page by itself: read the next page too.
        let at = SegmentNumber(from.segment);
        rows.extend(db.posting_segments(sender, at, FETCH_SEGMENTS).await?);
    }
    Ok(Ok(rows))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_segment::LineKind;
    use turnpike_segment::head::ComponentHead;
    use turnpike_segment::{NewLine, NewRecord, SealContext, SealedSegment, SegmentBuilder};
    use turnpike_store::memory::MemoryDatabase;
    use turnpike_store::{AppendOutcome, AppendSegment, Claim, POSTING_BYTES_MAX, PartitionSpec};
    use turnpike_types::{
        AccountNumber, AccountRange, Money, PartitionId, Posting, SegmentHash, Timestamp,
    };
    use turnpike_types::{ClaimId, Epoch, Incarnation, NodeName, Outcome, UsageView};

    use super::*;

    /// P18, P33: a cursor that is not in the sender's log ends the fetch with an error.
    #[tokio::test]
    async fn a_sender_with_another_history_is_noticed() {
        let db: Arc<dyn SharedDatabase> = Arc::new(MemoryDatabase::new());
        let range = AccountRange::new(1, 10).unwrap();
        let spec = PartitionSpec {
            id: PartitionId(1),
            range,
            horizon_us: 1,
            accept_since: None,
            members: Vec::new(),
        };
        db.create_partitions(&[spec]).await.unwrap();
        let fetched = async |segment| {
            let scope = Scope {
                sender: PartitionId(1),
                ours: range,
                is_own: false,
                ranges: Arc::default(),
            };
            let from = PostingCursor { sender: 1, segment, ordinal: 0, hash: vec![7; 32] };
            fetch(Arc::clone(&db), scope, from).await
        };
        assert!(matches!(fetched(5).await, Fetched::Diverged { sender: PartitionId(1), .. }));
        assert!(matches!(fetched(0).await, Fetched::Nothing));
    }

    #[test]
    fn mutants_are_caught() {
        let here = |test| format!("owner::shell::fetch::tests::{test}");
        turnpike_mutants::all_caught(&[(
            Check::SegmentAlone,
            &here("p33_a_segment_that_fills_a_page_by_itself_does_not_hide_those_behind_it"),
            "left: [(1, 1)]",
        )]);
    }

    /// A segment with one line for each element of `accounts`: posted to that account, or, for 0,
    /// not posted.
    fn sealed(context: &SealContext, accounts: &[u64], filler: &str) -> SealedSegment {
        let mut builder = SegmentBuilder::new();
        let usd = "USD".parse().unwrap();
        let head = ComponentHead {
            currency: "USD".to_owned(),
            kind: LineKind::Usage.number(),
            ..ComponentHead::default()
        };
        let component = builder.add_component(head, usd).unwrap();
        for (n, account) in accounts.iter().enumerate() {
            let attributes = [("filler", if n == 0 { filler } else { "" })];
            let view = UsageView {
                record_id: &format!("r{n}"),
                account: AccountNumber(1),
                usage_type: "octets",
                start: Timestamp(0),
                duration_us: 0,
                quantity: Some(1),
                measures: &[],
                attributes: &attributes,
            };
            let record = NewRecord { view, identity: "", outcome: Outcome::Rated };
            builder.push_record(&record).unwrap();
            builder.push_line(&NewLine {
                component,
                quantity: 1,
                first_unit: 0,
                period: i32::MIN,
                level_before: 0,
                level_after: 0,
                amount: Money::from_nanos(1).unwrap(),
                of: None,
                posting: match account {
                    0 => Posting::Account,
                    second => Posting::Second(AccountNumber(*second)),
                },
                row: None,
            });
        }
        builder.seal(context).unwrap()
    }

    /// Partition 1 with a log of segments made by [`sealed`], and the hashes of the segments.
    async fn log_of(
        segments: &[&[u64]],
        filler: &str,
    ) -> (Arc<dyn SharedDatabase>, AccountRange, Vec<SegmentHash>) {
        let db: Arc<dyn SharedDatabase> = Arc::new(MemoryDatabase::new());
        let range = AccountRange::new(1, 10).unwrap();
        let spec = PartitionSpec {
            id: PartitionId(1),
            range,
            horizon_us: 1,
            accept_since: None,
            members: Vec::new(),
        };
        db.create_partitions(&[spec]).await.unwrap();
        let claim = Claim {
            partition: PartitionId(1),
            seen: Epoch::UNOWNED,
            node: NodeName("a".to_owned()),
            incarnation: Incarnation(1),
            claim: ClaimId([1; 16]),
            forced: false,
        };
        let epoch = db.claim(&claim).await.unwrap().unwrap().epoch;
        let mut hashes = vec![SegmentHash::default()];
        for (accounts, segment) in segments.iter().zip(1u64..) {
            let prev_hash = *hashes.last().unwrap();
            let context = SealContext {
                partition: PartitionId(1),
                segment: SegmentNumber(segment),
                epoch,
                prev_hash,
                now: Timestamp(0),
                floor: Timestamp(0),
                catalogue_version: 0,
            };
            let sealed = sealed(&context, accounts, if segment == 1 { filler } else { "" });
            hashes.push(sealed.hash);
            let append = AppendSegment {
                partition: PartitionId(1),
                epoch,
                claim: claim.claim,
                segment: context.segment,
                prev_hash,
                hash: sealed.hash,
                has_postings: accounts.iter().any(|account| *account != 0),
                body: sealed.body,
            };
            assert_eq!(db.append(&append).await.unwrap(), AppendOutcome::Committed);
        }
        hashes.remove(0);
        (db, range, hashes)
    }

    /// The postings that a fetch from `from` returns, as (segment, row), and the cursor behind all
    /// of them.
    async fn taken(
        db: &Arc<dyn SharedDatabase>,
        ours: AccountRange,
        from: PostingCursor,
    ) -> (Vec<(u64, u32)>, Option<PostingCursor>) {
        let scope = Scope { sender: PartitionId(1), ours, is_own: false, ranges: Arc::default() };
        let mut page = match fetch(Arc::clone(db), scope, from).await {
            Fetched::Page(page) => page,
            Fetched::Nothing => return (Vec::new(), None),
            other => panic!("{other:?}"),
        };
        let mut taken = Vec::new();
        while let Some(line) = page.next() {
            let (_, segment, row) = line.place;
            assert!(ours.contains(line.account), "a posting of another partition was taken");
            taken.push((segment.0, row));
            page.step();
        }
        (taken, Some(page.cursor()))
    }

    /// From each cursor at which an owner may have stopped, the next owner takes the remaining
    /// postings, all and in order: the rest of that segment, and all later segments (P33).
    #[tokio::test]
    async fn p33_from_every_cursor_exactly_the_postings_behind_it_are_taken() {
        // Accounts 1 to 10 are the receiver's. Segment 2 has no posting; segment 5 has none to
        // these accounts.
        let segments: [&[u64]; 6] =
            [&[1, 0, 2, 30, 3], &[0], &[0, 30, 4], &[5, 6, 30], &[30, 30], &[7, 0, 30, 8, 9]];
        let (db, ours, hashes) = log_of(&segments, "").await;
        // The segment, ordinal, row and account of each posting.
        let mut postings: Vec<(u64, u32, u32, u64)> = Vec::new();
        for (accounts, segment) in segments.iter().zip(1u64..) {
            let rows = accounts.iter().zip(0u32..).filter(|(account, _)| **account != 0);
            postings.extend(
                rows.zip(0u32..).map(|((&account, row), ordinal)| (segment, ordinal, row, account)),
            );
        }
        assert_eq!(postings.len(), 15);
        let start = PostingCursor { sender: 1, ..PostingCursor::default() };
        let behind = postings.iter().map(|&(segment, ordinal, ..)| PostingCursor {
            sender: 1,
            segment,
            ordinal: ordinal + 1,
            hash: hashes[segment as usize - 1].0.to_vec(),
        });
        for (from, already) in std::iter::once(start).chain(behind).zip(0..) {
            let left = postings[already..].iter();
            let expected: Vec<(u64, u32)> = left
                .filter(|(.., account)| ours.contains(AccountNumber(*account)))
                .map(|&(segment, _, row, _)| (segment, row))
                .collect();
            let (found, cursor) = taken(&db, ours, from.clone()).await;
            assert_eq!(found, expected, "from {from:?}");
            let Some(cursor) = cursor else {
                assert_eq!(
                    already,
                    postings.len(),
                    "postings are left behind each cursor but the last"
                );
                continue;
            };
            assert_eq!((cursor.segment, cursor.ordinal), (6, 4), "behind the last posting");
            let (again, _) = taken(&db, ours, cursor).await;
            assert_eq!(again, [], "taken twice");
        }
    }

    /// More segments than one fetch reads: the next fetch continues behind the last one (P33).
    #[tokio::test]
    async fn p33_a_long_log_is_taken_page_by_page_without_a_gap() {
        let accounts = [1u64, 2];
        let segments = vec![&accounts[..]; 2 * FETCH_SEGMENTS + 3];
        let (db, ours, _) = log_of(&segments, "").await;
        let mut from = PostingCursor { sender: 1, ..PostingCursor::default() };
        let mut all = Vec::new();
        while let (page, Some(cursor)) = taken(&db, ours, from).await {
            all.extend(page);
            from = cursor;
        }
        let expected: Vec<(u64, u32)> =
            (1..=segments.len() as u64).flat_map(|segment| [(segment, 0), (segment, 1)]).collect();
        assert_eq!(all, expected);
    }

    /// A segment as large as a page does not hide the segments behind it, even if it was taken in
    /// part before (P33).
    #[tokio::test]
    async fn p33_a_segment_that_fills_a_page_by_itself_does_not_hide_those_behind_it() {
        // Random letters, so that compression does not shrink the segment.
        let mut seed = 1u64;
        let mut letter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b' ' + ((seed >> 40) % 95) as u8)
        };
        let filler: String = (0..POSTING_BYTES_MAX).map(|_| letter()).collect();
        let (db, ours, hashes) = log_of(&[&[1, 2], &[3], &[4]], &filler).await;
        let rows = db.posting_segments(PartitionId(1), SegmentNumber(0), FETCH_SEGMENTS).await;
        assert_eq!(rows.unwrap().len(), 1, "the first segment fills the page");
        let at =
            |ordinal| PostingCursor { sender: 1, segment: 1, ordinal, hash: hashes[0].0.to_vec() };
        assert_eq!(taken(&db, ours, at(1)).await.0, [(1, 1), (2, 0), (3, 0)]);
        assert_eq!(taken(&db, ours, at(2)).await.0, [(2, 0), (3, 0)]);
    }
}
