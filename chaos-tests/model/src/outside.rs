//! Everything outside the nodes and the database: fronts, clients, a consumer of the feed. They
//! note the answers that they receive, and the properties compare these with the log.

use crate::database::{RecordId, Segment};
use crate::enabled_checks::EnabledChecks;
use crate::node::Reply;

/// A reply in flight to a client, through a front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyInFlight {
    /// The front through which the request was sent.
    pub front: usize,
    /// The epoch of the answering owner.
    pub epoch: u8,
    /// The reply.
    pub reply: Reply,
}

/// The state of fronts and clients: what was sent, and the answers that were received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrontsAndClients {
    /// The highest epoch that each front saw in an answer (P17).
    pub highest: Vec<u8>,
    /// Whether a front forwarded an answer of a lower epoch after an answer of a higher one.
    pub epoch_fell: bool,
    /// The number of times that each record was sent.
    pub sent: Vec<u8>,
    /// The outcomes that clients received for each record: bit `n` is set for outcome `n`.
    pub outcomes: Vec<u8>,
    /// Number of questions sent.
    pub asked: u8,
    /// Whether a client received the state of an account without a record that was acknowledged
    /// before the client asked for it.
    pub shown_stale: bool,
    /// Whether a client received the state of an account that includes a record that is not in the
    /// log.
    pub shown_uncommitted: bool,
}

impl FrontsAndClients {
    /// The state before any answer.
    pub fn new(records: usize, fronts: usize) -> Self {
        Self {
            highest: vec![0; fronts],
            epoch_fell: false,
            sent: vec![0; records],
            outcomes: vec![0; records],
            asked: 0,
            shown_stale: false,
            shown_uncommitted: false,
        }
    }

    /// The acknowledged records, as a set of bits.
    pub fn acknowledged(&self) -> u8 {
        let told = (0u8..).zip(&self.outcomes).filter(|&(_, &outcomes)| outcomes != 0);
        told.fold(0, |set, (record, _)| set | 1 << record)
    }

    /// A reply arrives at its front, which passes it on to the client or drops it.
    pub fn deliver(&mut self, in_flight: &ReplyInFlight, log: &[Segment], checks: &EnabledChecks) {
        let highest = &mut self.highest[in_flight.front];
        if in_flight.epoch < *highest {
            if checks.fronts_drop_lower {
                return;
            }
            self.epoch_fell = true;
        }
        *highest = in_flight.epoch.max(*highest);
        match &in_flight.reply {
            Reply::Accepted(rated) => {
                self.outcomes[usize::from(rated.record)] |= 1 << rated.place;
            }
            Reply::Shown { acknowledged, seen } => {
                self.shown_stale |= acknowledged & !seen != 0;
                self.shown_uncommitted |= seen & !records_of(log) != 0;
            }
        }
    }

    /// A failover lost the end of the log. I1 does not hold for the lost records, and the operator
    /// is informed (P18). So clients forget these records, and from here on all properties must
    /// hold again.
    pub fn forget_lost(&mut self, log: &[Segment]) {
        let kept = records_of(log);
        for (record, outcomes) in (0u8..).zip(&mut self.outcomes) {
            if kept & (1 << record) == 0 {
                *outcomes = 0;
            }
        }
    }
}

/// The records of a log, as a set of bits.
pub fn records_of(log: &[Segment]) -> u8 {
    let rated = log.iter().flat_map(|segment| &segment.rated);
    rated.fold(0, |set, rated| set | 1 << rated.record)
}

/// The number of occurrences of a record in a log.
pub fn count_in(log: &[Segment], record: RecordId) -> usize {
    let rated = log.iter().flat_map(|segment| &segment.rated);
    rated.filter(|rated| rated.record == record).count()
}

/// A consumer that pulls one segment after another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// Number of segments pulled.
    pub number: u8,
    /// The hash of the last segment that was pulled.
    pub hash: u32,
    /// Whether the consumer received, without an error, a segment that does not continue the
    /// previous one.
    pub misled: bool,
}

impl Consumer {
    /// Pulls the next segment of `log`. If the history differs from the one that the consumer
    /// followed, the consumer gets an error and starts again (P18).
    pub fn pull(&mut self, log: &[Segment], checks: &EnabledChecks) {
        let at = usize::from(self.number);
        let last = at.checked_sub(1).map(|last| log.get(last));
        let diverged = match last {
            None => false,
            Some(None) => true,
            Some(Some(last)) => checks.hash_of_cursor && last.hash != self.hash,
        };
        if diverged {
            *self = Self { misled: self.misled, ..Self::default() };
        } else if let Some(next) = log.get(at) {
            self.misled |= next.prev_hash != self.hash;
            (self.number, self.hash) = (next.number, next.hash);
        }
    }

    /// Whether all segments that the consumer pulled are in the log.
    pub fn is_in(&self, log: &[Segment]) -> bool {
        usize::from(self.number)
            .checked_sub(1)
            .is_none_or(|last| log.get(last).is_some_and(|same| same.hash == self.hash))
    }
}
