//! Decides for which account to rate records whose identity has moved to another account (P28). The
//! first holder is the account that look-ups of the identity returned first. The owner of the first
//! holder's partition decides, because the partition's deduplication keys show whether the record
//! was rated before the change:
//!
//! ```text
//!  front --Reassign(record, present holder)--> owner of the first holder's partition
//!            key known: rated  ---------------------------------> duplicate
//!            key known: suspended for the first holder ---------> suspended, as before
//!            key known: reassigned to account X ----------------> X, even if X no longer
//!                                                                   holds the identity
//!            key unknown: suspended under this key, with -------> the present holder
//!                         the present holder in the logged detail
//!
//!  front --the record, for X--> owner of X: rates it
//!  front --Recycle(moved to X)-> owner of the first holder: the record leaves suspense; if X
//!                                refused the record, its detail names the refusal
//! ```
//!
//! The suspended record makes the decision durable before the record is rated elsewhere. Only such
//! records have both an account and the reason `unbound-identity`. Recycling rates them only for
//! the account of the decision. If no account holds the identity, the record waits undecided.

use turnpike_account::WaitingKey;
use turnpike_mutants::{Check, off};
use turnpike_proto::node::v1::{NotedRefusal, ReassignOutcome, Reassignment, SubBatchAnswer};
use turnpike_proto::record::RecordBatch;
use turnpike_types::{AccountNumber, Detail, SuspenseReason, Suspension};

use super::incoming::{Incoming, incoming};
use super::owner_core::{Job, OwnerCore};
use super::records::{Taken, note};
use super::wait::{Halt, Wait};

/// The decision on a record.
enum Decision {
    /// Rate the record for this account. The revision is present if the record waits in suspense
    /// here.
    RateFor(AccountNumber, Option<u32>),
    /// The owner repeats its earlier answer about the record, or answers that the record is
    /// suspended or rejected.
    Answered(Taken),
}

/// Whether a suspended record waits for the account that holds its identity, and not for the
/// account in its key.
pub(super) fn is_reassigned(key: &WaitingKey, reason: SuspenseReason) -> bool {
    key.account.0 != 0 && reason == SuspenseReason::UnboundIdentity
}

/// The records of one request, each to be decided.
pub(crate) struct Reassign {
    records: Vec<Reassignment>,
    is_recycled: bool,
    outcomes: Vec<ReassignOutcome>,
}

impl Reassign {
    pub(crate) const fn new(records: Vec<Reassignment>, is_recycled: bool) -> Self {
        Self { records, is_recycled, outcomes: Vec::new() }
    }
}

impl Job for Reassign {
    type Answer = Vec<ReassignOutcome>;

    fn run(&mut self, core: &mut OwnerCore) -> Result<Self::Answer, Halt> {
        while let Some(one) = self.records.get(self.outcomes.len()) {
            core.log.room()?;
            // The front sends the rest again.
            let Some(outcome) = core.reassign_one(one, self.is_recycled)? else { break };
            self.outcomes.push(outcome);
        }
        Ok(std::mem::take(&mut self.outcomes))
    }
}

impl OwnerCore {
    /// Returns `None` if the record can't be decided here now.
    fn reassign_one(
        &mut self,
        asked: &Reassignment,
        recycled: bool,
    ) -> Result<Option<ReassignOutcome>, Wait> {
        let mut batch = RecordBatch::default();
        batch.push(&asked.record);
        let record = match batch.records().first() {
            Some(Ok(record)) => record,
            Some(Err(reason)) => return Ok(Some(outcome(Taken::Rejected(*reason)))),
            None => return Ok(None),
        };
        let account = record.fixed.account;
        let is_ours = self.partition.range.contains(account) || !self.around.is_covered(account);
        if account.0 == 0 || !is_ours {
            return Ok(None);
        }
        let (record, to) = (incoming(&batch, record), AccountNumber(asked.to_account));
        match self.decide(&record, to, recycled)? {
            Some(Decision::Answered(taken)) => Ok(Some(outcome(taken))),
            Some(Decision::RateFor(account, revision)) => Ok(Some(ReassignOutcome {
                to_account: account.0,
                waits: revision.is_some(),
                revision: revision.unwrap_or(0),
                ..ReassignOutcome::default()
            })),
            None => Ok(None),
        }
    }

    /// Returns `None` if there is no room for the record's key, or none for it in suspense.
    fn decide(
        &mut self,
        record: &Incoming<'_>,
        to: AccountNumber,
        recycled: bool,
    ) -> Result<Option<Decision>, Wait> {
        let print = record.fingerprint();
        let taken = match self.taken_before(record, print)? {
            // A record that waits for a reason of the first holder's.
            Some(taken) => Some(self.complete(record, taken)?),
            None => None,
        };
        match taken {
            Some(Taken::Replayed(then, now)) => Ok(Some(self.decided(record, then, now, to))),
            Some(taken) => Ok(Some(Decision::Answered(taken))),
            None => {
                if let Some(reason) = self.refused_on_arrival(record, recycled) {
                    return Ok(Some(Decision::Answered(Taken::Rejected(reason))));
                }
                if to == record.view.account {
                    return Ok(Some(Decision::RateFor(to, None)));
                }
                if !self.has_room_for_keys() {
                    // Keys may be forgotten now: the record is judged again.
                    return match self.make_room_for_keys() {
                        true => self.decide(record, to, recycled),
                        false => Ok(None),
                    };
                }
                if !self.has_room_in_suspense() {
                    return Ok(None);
                }
                let detail = match to.0 {
                    0 => Detail::new(record.identity),
                    _ => Detail::reassigned(to),
                };
                let undecided = Suspension { reason: SuspenseReason::UnboundIdentity, detail };
                let taken = self.suspend(record, print, undecided)?;
                Ok(Some(if to.0 == 0 {
                    Decision::Answered(taken)
                } else {
                    Decision::RateFor(to, Some(0))
                }))
            }
        }
    }

    /// The decision on a record that was suspended here before.
    fn decided(
        &mut self,
        record: &Incoming<'_>,
        then: Suspension,
        now: Option<Suspension>,
        to: AccountNumber,
    ) -> Decision {
        let key = record.waiting_key();
        let last = now.as_ref().unwrap_or(&then);
        if !is_reassigned(&key, last.reason) {
            return Decision::Answered(Taken::Replayed(then, now));
        }
        let decided = last.detail.reassigned_to().filter(|_| !off(Check::DecisionStays));
        match (decided, self.log.state().suspense().get(&key).cloned()) {
            (Some(account), waiting) => {
                Decision::RateFor(account, waiting.map(|waiting| waiting.revision))
            }
            (None, Some(waiting)) if to.0 != 0 => {
                let detail = Detail::reassigned(to);
                let now = Suspension { reason: SuspenseReason::UnboundIdentity, detail };
                self.log.suspend_again(&key, &waiting, now);
                Decision::RateFor(to, Some(waiting.revision + 1))
            }
            // The record waits undecided, or it was undecided at first and has left suspense since.
            (None, _) => Decision::Answered(Taken::Replayed(then, now)),
        }
    }

    /// Notes that the account of a decision refused the record. The decision stays.
    pub(super) fn note_refusal(&mut self, asked: &NotedRefusal) -> Result<(), Halt> {
        let key = WaitingKey {
            account: AccountNumber(asked.account_number),
            identity: String::new(),
            record_id: asked.record_id.clone(),
        };
        let waiting = self.log.state().suspense().get(&key).cloned();
        let Some(waiting) = waiting.filter(|waiting| {
            waiting.revision == asked.revision && is_reassigned(&key, waiting.reason)
        }) else {
            return Ok(());
        };
        let present = self.present_of(&key, &waiting)?;
        let refused_by = AccountNumber(asked.refused_by);
        let detail = Detail::refused(refused_by, &asked.reason);
        // A refusal that is noted already does not make the log longer.
        if present.detail.reassigned_to() == Some(refused_by) && present.detail != detail {
            let now = Suspension { reason: SuspenseReason::UnboundIdentity, detail };
            self.log.suspend_again(&key, &waiting, now);
        }
        Ok(())
    }

    /// Whether the decision allows recycling to rate the record here, or to move it to `moved_to`.
    pub(super) fn may_recycle(key: &WaitingKey, present: &Suspension, moved_to: u64) -> bool {
        let decided = present.detail.reassigned_to();
        let target = if moved_to == 0 { key.account } else { AccountNumber(moved_to) };
        decided == Some(target)
    }
}

fn outcome(taken: Taken) -> ReassignOutcome {
    let mut answer = SubBatchAnswer::default();
    note(&mut answer, 0, taken);
    debug_assert_eq!(answer.accepted, 0, "nothing is rated by a reassignment");
    ReassignOutcome {
        duplicate: !answer.duplicates.is_empty(),
        result: answer.exceptions.pop(),
        ..ReassignOutcome::default()
    }
}
