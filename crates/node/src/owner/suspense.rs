//! Lists and recycles suspended records (P35).

use tokio::sync::oneshot;
use turnpike_account::{Location, Waiting, WaitingKey};
use turnpike_mutants::{Check, off};
use turnpike_proto::node::v1::{NotedRefusal, RecycleKey, RecycleOutcome};
use turnpike_proto::record::{RecordBatch, extra_identity};
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord};
use turnpike_proto::wire::{put_bytes, put_number};
use turnpike_segment::RecordRow;
use turnpike_segment::head::{Change, SuspenseKey};
use turnpike_types::{AccountNumber, Epoch, Suspension};

use super::incoming::{Incoming, incoming};
use super::reassign::is_reassigned;
use super::records::{NotRated, present};
use super::{Ended, Owner};

/// The default and the maximum number of listed records.
const LISTED_MAX: usize = 10_000;

/// Bytes at which a list is cut off, so that it fits a message.
const LISTED_BYTES_MAX: usize = 16 << 20;

impl Owner {
    /// The first records that `filter` selects, and whether more match behind them.
    pub(super) async fn list_suspense(
        &mut self,
        filter: &ListRequest,
    ) -> Result<(Vec<SuspendedRecord>, bool), Ended> {
        let most = match filter.records_max as usize {
            0 => LISTED_MAX,
            asked => asked.min(LISTED_MAX),
        };
        let matches = |(key, waiting): &(&WaitingKey, &Waiting)| {
            (filter.account_number == 0 || key.account.0 == filter.account_number)
                && (filter.reason.is_empty() || waiting.reason.word() == filter.reason)
        };
        let after = filter.after.as_ref().map(|after| WaitingKey {
            account: AccountNumber(after.account_number),
            identity: after.identity.clone(),
            record_id: after.record_id.clone(),
        });
        let behind = self.state.suspense().after(after.as_ref()).filter(matches);
        let mut found: Vec<(WaitingKey, Waiting)> =
            behind.take(most + 1).map(|(key, waiting)| (key.clone(), waiting.clone())).collect();
        let mut more = found.len() > most;
        found.truncate(most);
        let mut listed = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for (key, waiting) in found {
            if bytes >= LISTED_BYTES_MAX {
                more = true;
                break;
            }
            self.bring(waiting.location).await?;
            let record =
                self.suspended_record(&key, &waiting, &self.suspended_row(&key, &waiting)?);
            bytes += 2 * record.record.len() + record.detail.len() + 128;
            listed.push(record);
        }
        Ok((listed, more))
    }

    fn suspended_record(
        &self,
        key: &WaitingKey,
        waiting: &Waiting,
        row: &RecordRow<'_>,
    ) -> SuspendedRecord {
        // The key of a record with an account holds no identity. A front needs it for a record that
        // waits for the account that holds the identity now (P28).
        let identity = match key.account.0 {
            0 => key.identity.clone(),
            _ => extra_identity(row.extra).map_or_else(|_| String::new(), str::to_owned),
        };
        SuspendedRecord {
            partition: self.ownership.spec.id.0,
            account_number: key.account.0,
            record_id: key.record_id.clone(),
            identity,
            usage_type: row.usage_type.to_owned(),
            start_us: row.start.0,
            // Of unreadable measures none is listed, so that nobody takes a lost duration for a zero.
            duration_us: row.stated_duration_us().unwrap_or(None),
            quantity: row.quantity,
            reason: waiting.reason.word().to_owned(),
            segment: waiting.location.segment().0,
            revision: waiting.revision,
            record: encoded(row).into(),
            detail: present(waiting, row).detail.as_str().to_owned(),
        }
    }

    /// Loads the segment of the record at `location`, if it is not in memory.
    async fn bring(&mut self, location: Location) -> Result<(), Ended> {
        match self.record_at(location) {
            Ok(_) => Ok(()),
            Err(segment) => self.load(segment).await,
        }
    }

    pub(super) async fn recycle(
        &mut self,
        keys: &[RecycleKey],
        refusals: &[NotedRefusal],
        reply: oneshot::Sender<(Epoch, Vec<RecycleOutcome>)>,
    ) -> Result<(), Ended> {
        for refusal in refusals {
            self.cut_if_full().await?;
            self.note_refusal(refusal).await?;
        }
        let mut outcomes = Vec::with_capacity(keys.len());
        for key in keys {
            self.cut_if_full().await?;
            outcomes.push(self.recycle_one(key).await?);
        }
        self.answer(reply, outcomes);
        Ok(())
    }

    async fn recycle_one(&mut self, asked: &RecycleKey) -> Result<RecycleOutcome, Ended> {
        let key = WaitingKey {
            account: AccountNumber(asked.account_number),
            identity: if asked.account_number == 0 {
                asked.identity.clone()
            } else {
                String::new()
            },
            record_id: asked.record_id.clone(),
        };
        // As in a compare-and-set, the record must still be suspended, with the revision that the
        // request names.
        let waiting = self.state.suspense().get(&key).cloned();
        let Some(waiting) =
            waiting.filter(|waiting| waiting.revision == asked.revision || off(Check::Revision))
        else {
            return Ok(RecycleOutcome::default());
        };
        if is_reassigned(&key, waiting.reason) {
            let present = self.present_of(&key, &waiting).await?;
            if !Self::may_recycle(&key, &present, asked.moved_to_account) {
                return Ok(RecycleOutcome {
                    rated: false,
                    reason: present.reason.word().to_owned(),
                    detail: present.detail.as_str().to_owned(),
                });
            }
        }
        if asked.moved_to_account != 0 {
            let moved = suspense_key(&key, &waiting, 0, asked.moved_to_account);
            self.open.builder.push_entry(key.account, Change::MovedAway(moved));
            self.state.leave_suspense(&key);
            return Ok(RecycleOutcome { rated: true, ..RecycleOutcome::default() });
        }
        self.bring(waiting.location).await?;
        let bytes = encoded(&self.suspended_row(&key, &waiting)?);
        self.rate_again(&key, &waiting, &bytes).await
    }

    /// The row of a suspended record, whose segment is loaded.
    fn suspended_row(&self, key: &WaitingKey, waiting: &Waiting) -> Result<RecordRow<'_>, Ended> {
        let row = self.record_at(waiting.location).ok().flatten();
        row.ok_or_else(|| {
            let id = &key.record_id;
            Ended::Damaged(format!("suspended record {id} is not at its logged position"))
        })
    }

    pub(super) async fn present_of(
        &mut self,
        key: &WaitingKey,
        waiting: &Waiting,
    ) -> Result<Suspension, Ended> {
        self.bring(waiting.location).await?;
        Ok(present(waiting, &self.suspended_row(key, waiting)?))
    }

    async fn rate_again(
        &mut self,
        key: &WaitingKey,
        waiting: &Waiting,
        bytes: &[u8],
    ) -> Result<RecycleOutcome, Ended> {
        let mut batch = RecordBatch::default();
        batch.push_stored(bytes);
        let Some(Ok(record)) = batch.records().first() else {
            return Err(Ended::Damaged(format!("suspended record {} is malformed", key.record_id)));
        };
        loop {
            match self.rate_suspended(key, waiting, &incoming(&batch, record)) {
                Ok(()) => return Ok(RecycleOutcome { rated: true, ..RecycleOutcome::default() }),
                Err(NotRated::Suspended(now)) => return Ok(self.stay(key, waiting, now)),
                Err(NotRated::Wait(wait)) => self.resolve(wait).await?,
            }
        }
    }

    /// Rates a suspended record. The record with its lines and the entry by which it leaves suspense
    /// are in one segment, so that both are durable or neither is.
    pub(super) fn rate_suspended(
        &mut self,
        key: &WaitingKey,
        waiting: &Waiting,
        record: &Incoming<'_>,
    ) -> Result<(), NotRated> {
        self.book_due_before(record.view.account, record.view.start)?;
        // The log entry that takes the record out of suspense precedes the rated record. The entry
        // is removed again if the record can't be rated.
        let entry = Change::Recycled(suspense_key(key, waiting, 0, 0));
        let is_logged = !off(Check::RecycledEntry);
        if is_logged {
            self.open.builder.push_entry(key.account, entry);
        }
        match self.rate_new(record) {
            Ok(_) => {
                self.state.leave_suspense(key);
                Ok(())
            }
            Err(why) => {
                if is_logged {
                    self.open.builder.pop_entry();
                }
                Err(why)
            }
        }
    }

    pub(super) fn stay(
        &mut self,
        key: &WaitingKey,
        waiting: &Waiting,
        now: Suspension,
    ) -> RecycleOutcome {
        let Suspension { reason, ref detail } = now;
        let detail = detail.as_str().to_owned();
        let entry = SuspenseKey {
            detail: detail.clone(),
            ..suspense_key(key, waiting, u32::from(reason.code()), 0)
        };
        self.open.builder.push_entry(key.account, Change::StillSuspended(entry));
        self.state.suspend_again(key, now);
        RecycleOutcome { rated: false, reason: reason.word().to_owned(), detail }
    }
}

fn suspense_key(key: &WaitingKey, waiting: &Waiting, reason: u32, moved_to: u64) -> SuspenseKey {
    SuspenseKey {
        record_id: key.record_id.clone(),
        identity: key.identity.clone(),
        revision: waiting.revision,
        reason,
        moved_to,
        detail: String::new(),
    }
}

/// The record in its wire form. Its extra fields are stored in that form.
fn encoded(row: &RecordRow<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, 1, row.account.0);
    put_bytes(&mut out, 2, row.record_id.as_bytes());
    put_bytes(&mut out, 3, row.usage_type.as_bytes());
    turnpike_proto::record::put_start(&mut out, row.start);
    // If the client stated a duration of zero, it is among the measures; otherwise it stated none.
    if row.duration_us != 0 {
        put_number(&mut out, 5, row.duration_us.cast_unsigned());
    }
    if let Some(quantity) = row.quantity {
        put_number(&mut out, 6, quantity.cast_unsigned());
    }
    out.extend_from_slice(row.extra);
    out
}
