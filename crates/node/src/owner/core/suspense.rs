//! Lists and recycles suspended records (P35).

use prost::Message as _;
use turnpike_account::{Suspense, Waiting, WaitingKey};
use turnpike_mutants::{Check, off};
use turnpike_proto::node::v1::{NotedRefusal, RecycleKey, RecycleOutcome};
use turnpike_proto::record::{RecordBatch, extra_identity};
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord, SuspensePosition};
use turnpike_proto::wire::{put_bytes, put_number};
use turnpike_segment::RecordRow;
use turnpike_types::limits::SUSPENSE_PAGE_BYTES_MAX;
use turnpike_types::{AccountNumber, Suspension};

use super::incoming::{Incoming, incoming};
use super::owner_core::{Job, OwnerCore};
use super::reassign::is_reassigned;
use super::records::present;
use super::wait::{Halt, NotRated};

/// The default and the maximum number of listed records.
const LISTED_MAX: usize = 10_000;

/// The suspended records that one pass looks at. Other requests wait meanwhile.
pub(super) const SCANNED_MAX: usize = 10_000;

/// The segments that one pass loads from the database.
const LOADS_MAX: usize = 32;

/// One pass over the suspended records, for those that a request selects.
pub(crate) struct ListSuspense {
    filter: ListRequest,
    /// The selected records; `None` before the first run.
    found: Option<Vec<(WaitingKey, Waiting)>>,
    answer: Listed,
    bytes: usize,
    loads: usize,
}

/// What a pass found.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) records: Vec<SuspendedRecord>,
    /// Whether more records match behind the last one.
    pub(crate) is_cut: bool,
    /// The position up to which the pass looked, if records behind it may match.
    pub(crate) scanned_to: Option<SuspensePosition>,
}

impl ListSuspense {
    pub(crate) fn new(filter: ListRequest) -> Self {
        Self { filter, found: None, answer: Listed::default(), bytes: 0, loads: 0 }
    }

    /// The first records that match. The list is taken once, so that it stays the same while
    /// segments are loaded.
    fn select(&mut self, core: &OwnerCore) -> Vec<(WaitingKey, Waiting)> {
        let selected = Selected::of(core.log.state().suspense(), &self.filter);
        self.answer.is_cut = selected.is_cut;
        self.answer.scanned_to = selected.scanned_to.map(|key| SuspensePosition {
            partition: core.partition.id.0,
            account_number: key.account.0,
            identity: key.identity,
            record_id: key.record_id,
        });
        selected.found
    }
}

/// The suspended records that a pass selects.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) found: Vec<(WaitingKey, Waiting)>,
    /// Whether more records match behind the last one.
    pub(super) is_cut: bool,
    /// The record up to which the pass looked, if those behind it may match.
    pub(super) scanned_to: Option<WaitingKey>,
}

impl Selected {
    pub(super) fn of(suspense: &Suspense, filter: &ListRequest) -> Self {
        let most = match filter.records_max as usize {
            0 => LISTED_MAX,
            asked => asked.min(LISTED_MAX),
        };
        let is_of_account =
            |key: &WaitingKey| filter.account_number == 0 || key.account.0 == filter.account_number;
        let mut selected = Self::default();
        let mut scanned: Option<&WaitingKey> = None;
        let first = first(filter);
        let behind = suspense.after(first.as_ref()).take_while(|(key, _)| is_of_account(key));
        for (count, (key, waiting)) in behind.enumerate() {
            if count == SCANNED_MAX {
                selected.scanned_to = scanned.cloned();
                break;
            }
            scanned = Some(key);
            if !filter.reason.is_empty() && waiting.reason.word() != filter.reason {
                continue;
            }
            if selected.found.len() == most {
                selected.is_cut = true;
                break;
            }
            selected.found.push((key.clone(), waiting.clone()));
        }
        selected
    }
}

/// The position behind which a pass begins; `None` for all records.
fn first(filter: &ListRequest) -> Option<WaitingKey> {
    let after = filter.after.as_ref().map(|after| WaitingKey {
        account: AccountNumber(after.account_number),
        identity: after.identity.clone(),
        record_id: after.record_id.clone(),
    });
    // Before the records of the account: no record id is empty.
    let account = (filter.account_number != 0).then(|| WaitingKey {
        account: AccountNumber(filter.account_number),
        identity: String::new(),
        record_id: String::new(),
    });
    after.max(account)
}

impl Job for ListSuspense {
    type Answer = Listed;

    fn run(&mut self, core: &mut OwnerCore) -> Result<Self::Answer, Halt> {
        let found = match self.found.take() {
            Some(found) => found,
            None => self.select(core),
        };
        let found = self.found.insert(found);
        while let Some((key, waiting)) = found.get(self.answer.records.len()) {
            let row = core.suspended_row(key, waiting);
            let is_full = self.bytes >= SUSPENSE_PAGE_BYTES_MAX
                || (self.loads == LOADS_MAX && matches!(row, Err(Halt::Wait(_))));
            if is_full {
                self.answer.is_cut = true;
                break;
            }
            self.loads += usize::from(row.is_err());
            let record = core.suspended_record(key, waiting, &row?);
            // Decoded and encoded.
            self.bytes += size_of::<SuspendedRecord>() + 2 * record.encoded_len();
            self.answer.records.push(record);
        }
        Ok(std::mem::take(&mut self.answer))
    }
}

/// Suspended records by their keys, for the checks that come before they are removed.
pub(crate) struct ReadWaiting {
    keys: Vec<RecycleKey>,
    found: Vec<Option<SuspendedRecord>>,
}

impl ReadWaiting {
    pub(crate) const fn new(keys: Vec<RecycleKey>) -> Self {
        Self { keys, found: Vec::new() }
    }
}

impl Job for ReadWaiting {
    /// In the order of the keys; `None` for a record that does not wait at that revision.
    type Answer = Vec<Option<SuspendedRecord>>;

    fn run(&mut self, core: &mut OwnerCore) -> Result<Self::Answer, Halt> {
        while let Some(asked) = self.keys.get(self.found.len()) {
            let key = waiting_key(asked);
            let waiting = core.log.state().suspense().get(&key);
            let waiting = waiting.filter(|waiting| waiting.revision == asked.revision).cloned();
            let record = match waiting {
                Some(waiting) => {
                    let row = core.suspended_row(&key, &waiting)?;
                    Some(core.suspended_record(&key, &waiting, &row))
                }
                None => None,
            };
            self.found.push(record);
        }
        Ok(std::mem::take(&mut self.found))
    }
}

/// The key that a request to recycle names.
fn waiting_key(asked: &RecycleKey) -> WaitingKey {
    let identity = if asked.account_number == 0 { asked.identity.clone() } else { String::new() };
    WaitingKey {
        account: AccountNumber(asked.account_number),
        identity,
        record_id: asked.record_id.clone(),
    }
}

/// Suspended records that are to be rated again, and refusals to be noted.
pub(crate) struct Recycle {
    keys: Vec<RecycleKey>,
    refusals: Vec<NotedRefusal>,
    /// The number of refusals that were noted.
    noted: usize,
    outcomes: Vec<RecycleOutcome>,
}

impl Recycle {
    pub(crate) const fn new(keys: Vec<RecycleKey>, refusals: Vec<NotedRefusal>) -> Self {
        Self { keys, refusals, noted: 0, outcomes: Vec::new() }
    }
}

impl Job for Recycle {
    type Answer = Vec<RecycleOutcome>;

    fn run(&mut self, core: &mut OwnerCore) -> Result<Self::Answer, Halt> {
        while let Some(refusal) = self.refusals.get(self.noted) {
            core.log.room()?;
            core.note_refusal(refusal)?;
            self.noted += 1;
        }
        while let Some(key) = self.keys.get(self.outcomes.len()) {
            core.log.room()?;
            self.outcomes.push(core.recycle_one(key)?);
        }
        Ok(std::mem::take(&mut self.outcomes))
    }
}

impl OwnerCore {
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
            partition: self.partition.id.0,
            account_number: key.account.0,
            record_id: key.record_id.clone(),
            identity,
            usage_type: row.usage_type.to_owned(),
            start_us: row.start.0,
            // Of unreadable measures none is listed, so that nobody takes a lost duration for a zero.
            duration_us: row.stated_duration_us().ok().flatten(),
            quantity: row.quantity,
            reason: waiting.reason.word().to_owned(),
            segment: waiting.location.segment().0,
            revision: waiting.revision,
            record: encoded(row).into(),
            detail: present(waiting, row).detail.as_str().to_owned(),
        }
    }

    fn recycle_one(&mut self, asked: &RecycleKey) -> Result<RecycleOutcome, Halt> {
        let key = waiting_key(asked);
        // As in a compare-and-set, the record must still be suspended, with the revision that the
        // request names.
        let waiting = self.log.state().suspense().get(&key).cloned();
        let Some(waiting) =
            waiting.filter(|waiting| waiting.revision == asked.revision || off(Check::Revision))
        else {
            return Ok(RecycleOutcome::default());
        };
        if is_reassigned(&key, waiting.reason) {
            let present = self.present_of(&key, &waiting)?;
            if !Self::may_recycle(&key, &present, asked.moved_to_account) {
                return Ok(RecycleOutcome {
                    rated: false,
                    reason: present.reason.word().to_owned(),
                    detail: present.detail.as_str().to_owned(),
                });
            }
        }
        if asked.moved_to_account != 0 {
            self.log.move_away(&key, &waiting, AccountNumber(asked.moved_to_account));
            return Ok(RecycleOutcome { rated: true, ..RecycleOutcome::default() });
        }
        let bytes = encoded(&self.suspended_row(&key, &waiting)?);
        self.rate_again(&key, &waiting, &bytes)
    }

    /// The logged row of a suspended record.
    fn suspended_row(&self, key: &WaitingKey, waiting: &Waiting) -> Result<RecordRow<'_>, Halt> {
        self.log.record_at(waiting.location)?.ok_or_else(|| {
            let id = &key.record_id;
            Halt::Damaged(format!("suspended record {id} is not at its logged position"))
        })
    }

    pub(super) fn present_of(
        &self,
        key: &WaitingKey,
        waiting: &Waiting,
    ) -> Result<Suspension, Halt> {
        Ok(present(waiting, &self.suspended_row(key, waiting)?))
    }

    fn rate_again(
        &mut self,
        key: &WaitingKey,
        waiting: &Waiting,
        bytes: &[u8],
    ) -> Result<RecycleOutcome, Halt> {
        let mut batch = RecordBatch::default();
        batch.push_stored(bytes);
        let Some(Ok(record)) = batch.records().first() else {
            return Err(Halt::Damaged(format!("suspended record {} is malformed", key.record_id)));
        };
        match self.rate_suspended(key, waiting, &incoming(&batch, record)) {
            Ok(()) => Ok(RecycleOutcome { rated: true, ..RecycleOutcome::default() }),
            Err(NotRated::Suspended(now)) => {
                let (reason, detail) = (now.reason.word().to_owned(), now.detail.to_string());
                self.log.suspend_again(key, waiting, now);
                Ok(RecycleOutcome { rated: false, reason, detail })
            }
            Err(NotRated::Wait(wait)) => Err(wait.into()),
        }
    }

    /// Rates a suspended record, or leaves it in suspense as it is.
    pub(super) fn rate_suspended(
        &mut self,
        key: &WaitingKey,
        waiting: &Waiting,
        record: &Incoming<'_>,
    ) -> Result<(), NotRated> {
        self.book_due_before(record.view.account, record.view.start)?;
        self.log.begin_to_leave(key, waiting);
        match self.rate_new(record) {
            Ok(_) => {
                self.log.leave(key);
                Ok(())
            }
            Err(why) => {
                self.log.stay();
                Err(why)
            }
        }
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
