//! Tells another node whether records are known here (P35). Changes nothing.

use bytes::Bytes;
use turnpike_proto::node::v1::Confirmation;
use turnpike_proto::record::RecordBatch;
use turnpike_types::RejectReason;

use super::incoming::incoming;
use super::owner_core::{Job, OwnerCore};
use super::records::Taken;
use super::wait::{Halt, Wait};

/// The records of one request, each under the account whose key is asked for.
pub(crate) struct Confirm {
    records: Vec<Bytes>,
    found: Vec<Confirmation>,
}

impl Confirm {
    pub(crate) const fn new(records: Vec<Bytes>) -> Self {
        Self { records, found: Vec::new() }
    }
}

impl Job for Confirm {
    type Answer = Vec<Confirmation>;

    fn run(&mut self, core: &mut OwnerCore) -> Result<Self::Answer, Halt> {
        while let Some(record) = self.records.get(self.found.len()) {
            self.found.push(core.confirm(record)?);
        }
        Ok(std::mem::take(&mut self.found))
    }
}

impl OwnerCore {
    fn confirm(&self, bytes: &[u8]) -> Result<Confirmation, Wait> {
        let mut batch = RecordBatch::default();
        batch.push_stored(bytes);
        let Some(Ok(record)) = batch.records().first() else { return Ok(Confirmation::default()) };
        let record = incoming(&batch, record);
        let taken = self.taken_before(&record, record.fingerprint())?;
        let taken = taken.is_some_and(|taken| taken != Taken::Rejected(RejectReason::Conflict));
        let waits = taken && self.log.state().suspense().get(&record.waiting_key()).is_some();
        Ok(Confirmation { waits, taken })
    }
}
