//! Checks what a front states about suspended records, before the owner acts on it (P35).
//!
//! ```text
//!  Forward, Reassign   "these records wait in partition P"  --> the owner of P: do they wait?
//!  Recycle             "this record moved to account A"     --> the bindings, or the decision: A?
//!                                                           --> the owner of A: is it taken?
//! ```
//!
//! A faulty front, or an intruder that reaches the port of a node, could otherwise have a record of
//! any age rated, or have an acknowledged record removed unrated.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::time::timeout;
use turnpike_proto::frame::{SubBatchFrame, SubBatchHead, push_record};
use turnpike_proto::node::v1::{
    Confirmation, NodeConfirmRequest, NodeConfirmResponse, Reassignment, RecycleKey,
    RecycleOutcome, Standing, Verdict,
};
use turnpike_proto::suspense::v1::SuspendedRecord;
use turnpike_proto::wire::{Fields, WireValue, put_number};
use turnpike_shares::ClientKey;
use turnpike_types::limits::{DECIDED_MAX, POSTING_USAGE_TYPE};
use turnpike_types::{AccountNumber, Detail, PartitionId, SuspenseReason, Timestamp};

use super::gates::{Asker, Gates, RequestOrigin};
use super::relay::relayed;
use crate::owner::Request;

/// The records in one request to an owner, which may load a segment for each and answers no other
/// request meanwhile.
const CHUNK: usize = 50;
const _: () = assert!(CHUNK <= DECIDED_MAX);

/// The most accounts that a record may name. A front appends at most three to that of the client.
const ACCOUNTS_MAX: usize = 4;

/// What becomes of a key whose record is said to have moved.
enum Moved {
    /// The key goes to the owner.
    Stands,
    /// The record stays in suspense.
    Stays,
    /// The key goes to the owner if the record is taken under this account in this partition.
    If(PartitionId, Bytes),
}

impl Gates {
    /// The sub-batch, without its statement that the records were recycled if they do not wait where
    /// it says; `None` if the owner there does not answer.
    pub(super) async fn checked(
        &self,
        head: SubBatchHead,
        frame: SubBatchFrame,
    ) -> Option<SubBatchFrame> {
        let mut records = Vec::new();
        if frame.walk(|record| records.push(record)).is_err() {
            // The owner refuses it.
            return Some(frame);
        }
        let client = ClientKey(head.client);
        if self.wait_in(client, (head.recycled_from, head.partition), &records).await? {
            return Some(frame);
        }
        let mut run = Vec::with_capacity(frame.body().len());
        records.iter().for_each(|record| push_record(&mut run, record));
        let head = SubBatchHead { recycled: false, recycled_from: 0, ..head };
        Some(SubBatchFrame::build(head, &run))
    }

    /// Whether each record waits in the suspense of partition `from`, under one of the accounts that
    /// it names, or under none. A record that was taken in partition `here` before, and has left that
    /// suspense since, gets its earlier answer in any case. `None` if an owner does not answer.
    pub(super) async fn wait_in(
        &self,
        client: ClientKey,
        (from, here): (u32, u32),
        records: &[&[u8]],
    ) -> Option<bool> {
        if from == 0 || records.len() > DECIDED_MAX {
            return Some(false);
        }
        let variants: Vec<Vec<Bytes>> = records.iter().map(|record| variants(record)).collect();
        let asked: Vec<Bytes> = variants.iter().flatten().cloned().collect();
        let known = self.confirmed(client, PartitionId(from), &asked).await?;
        let mut known = known.iter();
        let mut gone = Vec::new();
        for (record, variants) in records.iter().zip(&variants) {
            let of_record = known.by_ref().take(variants.len());
            if !of_record.fold(false, |any, one| any | one.waits) {
                gone.push(Bytes::copy_from_slice(record));
            }
        }
        if gone.is_empty() {
            return Some(true);
        }
        let known = self.confirmed(client, PartitionId(here), &gone).await?;
        Some(known.iter().all(|one| one.taken))
    }

    /// Whether records to decide wait where the front says, for a partition that is served here.
    ///
    /// # Errors
    /// The answer to the front when this node is not the owner, or another owner does not answer.
    pub(super) async fn recycled(
        &self,
        asker: Asker,
        (from, here): (u32, u32),
        records: &[Reassignment],
    ) -> Result<bool, Standing> {
        let partition = PartitionId(here);
        // While a claim is in progress, nobody can say yet whether the records wait there.
        if self.owner_queue(partition, asker.origin).await.is_none() {
            return Err(self.not_owner(partition));
        }
        let encoded: Vec<&[u8]> = records.iter().map(|one| &*one.record).collect();
        let wait = self.wait_in(asker.client, (from, here), &encoded).await;
        wait.ok_or_else(|| self.unconfirmed())
    }

    /// What the owner of the partition knows of the records; `None` if it does not answer. Each chunk
    /// has a time limit of its own: an owner may have to load a segment for each record.
    async fn confirmed(
        &self,
        client: ClientKey,
        partition: PartitionId,
        asked: &[Bytes],
    ) -> Option<Vec<Confirmation>> {
        let mut known = Vec::with_capacity(asked.len());
        for chunk in asked.chunks(CHUNK) {
            let request = NodeConfirmRequest { partition: partition.0, records: chunk.to_vec() };
            let asking = self.confirm_at_owner(client, request);
            let answer = timeout(self.config.admission() * 2, asking).await.ok()??;
            let is_done = answer.standing.is_some_and(|one| one.verdict() == Verdict::Done);
            if !is_done || answer.confirmations.len() != chunk.len() {
                return None;
            }
            known.extend(answer.confirmations);
        }
        Some(known)
    }

    async fn confirm_at_owner(
        &self,
        client: ClientKey,
        request: NodeConfirmRequest,
    ) -> Option<NodeConfirmResponse> {
        let partition = PartitionId(request.partition);
        if self.is_open(partition) {
            let asker = Asker { origin: RequestOrigin::Relayed, client };
            return Some(self.confirm(asker, request).await);
        }
        let address = Some(self.owner_address(partition)).filter(|one| !one.is_empty())?;
        let mut owner = self.client(&address)?;
        Some(owner.confirm(relayed(client, request)).await.ok()?.into_inner())
    }

    /// Answers another node.
    pub(super) async fn confirm(
        &self,
        asker: Asker,
        request: NodeConfirmRequest,
    ) -> NodeConfirmResponse {
        let NodeConfirmRequest { partition, records } = request;
        let room = records.iter().map(|record| record.len() + 64).sum();
        let asked = |reply| Request::Confirm { records, reply };
        let (standing, found) = self.ask(partition, asker, room, asked).await;
        // Without an answer of the owner there are no confirmations; the standing gives the reason.
        let confirmations = found.unwrap_or_default();
        NodeConfirmResponse { standing: Some(standing), confirmations }
    }

    /// For each key, the outcome if its record stays in suspense although the front says that it
    /// moved; `None` for a key that goes to the owner.
    ///
    /// # Errors
    /// The answer to the front when this node is not the owner, or when another owner or the
    /// database does not answer.
    pub(super) async fn not_moved(
        &self,
        partition: u32,
        asker: Asker,
        keys: &[RecycleKey],
    ) -> Result<Vec<Option<RecycleOutcome>>, Standing> {
        let mut outcomes = vec![None; keys.len()];
        let moved: Vec<usize> = (0..keys.len())
            .filter(|&at| keys.get(at).is_some_and(|key| key.moved_to_account != 0))
            .collect();
        if moved.is_empty() {
            return Ok(outcomes);
        }
        let asked: Vec<RecycleKey> = moved.iter().filter_map(|&at| keys.get(at)).cloned().collect();
        let mut records = Vec::with_capacity(asked.len());
        for chunk in asked.chunks(CHUNK) {
            let read = |reply| Request::ReadWaiting { keys: chunk.to_vec(), reply };
            let (standing, read) = self.ask(partition, asker, chunk.len() * 256, read).await;
            records.extend(read.ok_or(standing)?);
        }
        let judged = self.judged(PartitionId(partition), &asked, &records).await;
        let judged = judged.ok_or_else(|| self.unconfirmed())?;
        let mut by_partition: BTreeMap<PartitionId, Vec<(usize, Bytes)>> = BTreeMap::new();
        let mut stays = Vec::new();
        for (at, judged) in judged.into_iter().enumerate() {
            match judged {
                Moved::Stands => {}
                Moved::Stays => stays.push(at),
                Moved::If(to, record) => by_partition.entry(to).or_default().push((at, record)),
            }
        }
        for (to, waiting) in by_partition {
            let (places, asked): (Vec<usize>, Vec<Bytes>) = waiting.into_iter().unzip();
            let known =
                self.confirmed(asker.client, to, &asked).await.ok_or_else(|| self.unconfirmed())?;
            let unknown = places.into_iter().zip(known).filter(|(_, known)| !known.taken);
            stays.extend(unknown.map(|(at, _)| at));
        }
        for at in stays {
            let (Some(place), Some(Some(record))) = (moved.get(at), records.get(at)) else {
                continue;
            };
            tracing::warn!(
                partition,
                id = record.record_id,
                account = record.account_number,
                "a front says that a suspended record moved to another account, and it did not"
            );
            let (reason, detail) = (record.reason.clone(), record.detail.clone());
            if let Some(outcome) = outcomes.get_mut(*place) {
                *outcome = Some(RecycleOutcome { rated: false, reason, detail });
            }
        }
        Ok(outcomes)
    }

    /// Compares the accounts that records are said to have moved to with the bindings, the decisions
    /// and the ranges of partitions; `None` if the database does not answer.
    async fn judged(
        &self,
        home: PartitionId,
        keys: &[RecycleKey],
        records: &[Option<SuspendedRecord>],
    ) -> Option<Vec<Moved>> {
        let is_unguided = |record: &&SuspendedRecord| record.account_number == 0;
        let unguided = records.iter().flatten().filter(is_unguided);
        let mut identities: Vec<String> = unguided.map(|record| record.identity.clone()).collect();
        identities.sort_unstable();
        identities.dedup();
        let histories = match identities.as_slice() {
            [] => Vec::new(),
            some => match self.shared.db.guide(some).await {
                Ok(histories) => histories,
                Err(error) => {
                    tracing::warn!(%error, "records can't move: their identities can't be looked up");
                    return None;
                }
            },
        };
        let ranges = self.ranges();
        let of = |account: AccountNumber| {
            ranges.iter().find(|(_, range)| range.contains(account)).map(|(id, _)| *id)
        };
        let judge = |key: &RecycleKey, record: &Option<SuspendedRecord>| {
            // The owner finds no record at that revision.
            let Some(record) = record else { return Moved::Stands };
            let to = AccountNumber(key.moved_to_account);
            let belongs_to = if record.account_number == 0 {
                let place = identities.binary_search(&record.identity).ok();
                let history = place.and_then(|place| histories.get(place));
                let start = Timestamp(record.start_us);
                history.and_then(|one| one.first_holder_at(start).or_else(|| one.bound_at(start)))
            } else if record.reason == SuspenseReason::UnboundIdentity.word() {
                Detail::new(&record.detail).reassigned_to()
            } else {
                let account = AccountNumber(record.account_number);
                Some(account).filter(|account| of(*account) != Some(home))
            };
            match (belongs_to == Some(to), of(to)) {
                // The owner of the account reads postings from the log of this partition (P33).
                (true, Some(_)) if record.usage_type == POSTING_USAGE_TYPE => Moved::Stands,
                (true, Some(partition)) => {
                    let mut moved = record.record.to_vec();
                    put_number(&mut moved, 1, to.0);
                    Moved::If(partition, moved.into())
                }
                _ => Moved::Stays,
            }
        };
        Some(keys.iter().zip(records).map(|(key, record)| judge(key, record)).collect())
    }
}

/// The record under account 0, and under each account that it names: decoders use the last one.
fn variants(record: &[u8]) -> Vec<Bytes> {
    let mut accounts = vec![0];
    let mut fields = Fields::new(record);
    while let Ok(Some((field, value))) = fields.next_field() {
        if let (1, WireValue::Varint(account)) = (field, value)
            && !accounts.contains(&account)
            && accounts.len() <= ACCOUNTS_MAX
        {
            accounts.push(account);
        }
    }
    let under = |account: &u64| {
        let mut out = record.to_vec();
        put_number(&mut out, 1, *account);
        Bytes::from(out)
    };
    accounts.iter().map(under).collect()
}
