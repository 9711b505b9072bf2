//! A node: the replica that it keeps, and its role.
//!
//! ```text
//!   Standby --claim--> Claiming --won--> Claimed --read the tail--> Owner
//!      ^                  |                 |                         |
//!      +------ lost, fenced, outcome unknown, crashed, released ------+
//! ```
//!
//! A node is never notified that it was superseded: it may freeze in any of these roles for any
//! time and continue with its old state.

use crate::database::{Position, Rated, RecordId, Segment, Statement, Title};
use crate::enabled_checks::EnabledChecks;

/// A reply to a client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// The outcome of the record. The first sending and each retry get the same outcome (I5).
    Accepted(Rated),
    /// The state of the account: its records, as sets of bits.
    Shown {
        /// The records that were acknowledged to any client before the question was sent.
        acknowledged: u8,
        /// The records that the owner knew when it answered.
        seen: u8,
    },
}

/// The state of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The log as far as the node has read it. In the real system this is a warm replica, or a
    /// checkpoint and the segments after it. If the node is an owner, this is its committed state.
    pub copy: Vec<Segment>,
    /// Whether the replica was read before the claim, and is not read again (mutant of P2).
    pub trusts_copy: bool,
    /// The role of the node.
    pub role: Role,
}

/// The role of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The node owns nothing.
    Standby,
    /// The claim of the node is in flight.
    Claiming,
    /// The claim of the node succeeded; the node has not read the rest of the log yet.
    Claimed {
        /// The epoch and claim id of the successful claim.
        title: Title,
        /// The end of the log at the time of the claim.
        position: Position,
    },
    /// The node serves.
    Owner(Owner),
}

/// The state of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The epoch and claim id of the owner.
    pub title: Title,
    /// The position of the owner's next append, as far as the owner knows.
    pub position: Position,
    /// The statement in flight; one at a time (P4).
    pub in_flight: Option<InFlight>,
    /// The open segment.
    pub open: Pending,
}

/// A statement in flight to the database, with the replies that depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InFlight {
    /// The segment of an append; `None` for a barrier.
    pub segment: Option<Segment>,
    /// Replies to send once the statement has committed.
    pub replies: Vec<Reply>,
}

/// The records that the owner has rated and not sent to the database yet, and the replies that
/// depend on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pending {
    /// The rated records, in order: the content of the next segment.
    pub rated: Vec<Rated>,
    /// The replies that wait until these records have committed, and replies that wait for a
    /// barrier.
    pub replies: Vec<Reply>,
}

impl Pending {
    /// Whether there is neither a record nor a reply to send.
    pub fn is_empty(&self) -> bool {
        self.rated.is_empty() && self.replies.is_empty()
    }

    fn wait(&mut self, reply: Reply) {
        if let Err(at) = self.replies.binary_search(&reply) {
            self.replies.insert(at, reply);
        }
    }
}

impl Node {
    /// A node without any state.
    pub fn new() -> Self {
        Self { copy: Vec::new(), trusts_copy: false, role: Role::Standby }
    }

    /// The owner state, if the node is an owner.
    pub fn owner(&self) -> Option<&Owner> {
        match &self.role {
            Role::Owner(owner) => Some(owner),
            _ => None,
        }
    }

    /// Whether the node waits for the database.
    pub fn awaits(&self) -> bool {
        matches!(self.role, Role::Claiming)
            || self.owner().is_some_and(|owner| owner.in_flight.is_some())
    }

    /// Rates a record. Returns a reply only if the reply is sent without waiting for a commit,
    /// which happens only in a mutant.
    pub fn take(&mut self, record: RecordId, checks: &EnabledChecks) -> Option<Reply> {
        let committed = find(&self.copy, record);
        let place = self.known().count() as u8;
        let Role::Owner(owner) = &mut self.role else { return None };
        let pending = if checks.pending_keys { owner.pending(record) } else { None };
        let rated = match committed.or(pending) {
            Some(first) => first,
            None => {
                let rated = Rated { record, place };
                owner.open.rated.push(rated);
                rated
            }
        };
        let reply = Reply::Accepted(rated);
        let is_state = committed.is_some() && !checks.barrier;
        if is_state || !checks.answer_after_commit {
            return Some(reply);
        }
        owner.open.wait(reply);
        None
    }

    /// Answers a query of the account's state. Returns a reply only if the reply is sent without
    /// waiting for a commit, which happens only in a mutant.
    pub fn show(&mut self, acknowledged: u8, checks: &EnabledChecks) -> Option<Reply> {
        let known = |seen: u8, rated: &Rated| seen | 1 << rated.record;
        let all = self.known().fold(0, known);
        let committed = self.copy.iter().flat_map(|segment| &segment.rated).fold(0, known);
        let Role::Owner(owner) = &mut self.role else { return None };
        if !checks.barrier {
            return Some(Reply::Shown { acknowledged, seen: committed });
        }
        owner.open.wait(Reply::Shown { acknowledged, seen: all });
        None
    }

    /// Sends the open segment, or a barrier if there is nothing to append (P17).
    pub fn send(&mut self) -> Option<Statement> {
        let Role::Owner(owner) = &mut self.role else { return None };
        if owner.in_flight.is_some() || owner.open.is_empty() {
            return None;
        }
        let Pending { rated, replies } = std::mem::take(&mut owner.open);
        let Owner { title, position, .. } = *owner;
        let segment =
            (!rated.is_empty()).then(|| Segment::seal(position, title.epoch, title.claim, rated));
        owner.in_flight = Some(InFlight { segment: segment.clone(), replies });
        Some(match segment {
            Some(segment) => Statement::Append(segment),
            None => Statement::Barrier { title, position },
        })
    }

    /// The statement in flight has committed: returns the replies that waited for it.
    pub fn committed(&mut self) -> Vec<Reply> {
        let Role::Owner(owner) = &mut self.role else { return Vec::new() };
        let Some(done) = owner.in_flight.take() else { return Vec::new() };
        if let Some(segment) = done.segment {
            owner.position = Position { next: segment.number + 1, last_hash: segment.hash };
            self.copy.push(segment);
        }
        done.replies
    }

    /// Discards all uncommitted state; waiting clients get no answer (P2). If `keeps_copy`, the
    /// committed state stays as a replica.
    pub fn step_down(&mut self, keeps_copy: bool) {
        self.role = Role::Standby;
        if !keeps_copy {
            self.copy.clear();
        }
    }

    /// Mutant of P2: moves the statement in flight back into the open segment, to send it again.
    pub fn take_back(&mut self) {
        let Role::Owner(owner) = &mut self.role else { return };
        let Some(sent) = owner.in_flight.take() else { return };
        let mut rated = sent.segment.map(|segment| segment.rated).unwrap_or_default();
        rated.append(&mut owner.open.rated);
        owner.open.rated = rated;
        for reply in sent.replies {
            owner.open.wait(reply);
        }
    }

    /// Becomes the owner after a successful claim: reads the log exactly up to the position that
    /// the claim returned (P1).
    pub fn recover(&mut self, log: &[Segment], keeps_copy: bool, checks: &EnabledChecks) {
        let Role::Claimed { title, position } = self.role else { return };
        let must_read = checks.reload || self.copy.is_empty();
        if must_read && !self.trusts_copy {
            self.follow(log, checks);
        }
        self.trusts_copy = false;
        let ends = Position::end_of(&self.copy);
        let is_same_hash = !checks.hash_of_copy || ends.last_hash == position.last_hash;
        if checks.position_after_claim && (ends.next != position.next || !is_same_hash) {
            // Another node appended after this claim, or the replica lacks segments or belongs to
            // another history.
            self.step_down(keeps_copy && !checks.rebuild);
            return;
        }
        let (in_flight, open) = (None, Pending::default());
        self.role = Role::Owner(Owner { title, position, in_flight, open });
    }

    /// Reads the segments of the log that the replica lacks. A replica of another history is
    /// discarded and read anew (P18).
    pub fn follow(&mut self, log: &[Segment], checks: &EnabledChecks) {
        let is_prefix = match self.copy.last() {
            _ if !checks.hash_of_copy => self.copy.len() <= log.len(),
            None => true,
            Some(last) => log.get(self.copy.len() - 1).is_some_and(|same| same.hash == last.hash),
        };
        if !is_prefix && checks.rebuild {
            self.copy.clear();
        }
        if is_prefix || checks.rebuild {
            self.copy.extend_from_slice(&log[self.copy.len()..]);
        }
    }

    /// After a failover of the database, removes the lost records from the records that waiting
    /// replies must show. `kept` is the set of records that are not lost.
    pub fn forget_lost(&mut self, kept: u8) {
        let Role::Owner(owner) = &mut self.role else { return };
        let in_flight = owner.in_flight.iter_mut().map(|sent| &mut sent.replies);
        for replies in in_flight.chain([&mut owner.open.replies]) {
            for reply in replies.iter_mut() {
                if let Reply::Shown { acknowledged, .. } = reply {
                    *acknowledged &= kept;
                }
            }
            replies.sort();
            replies.dedup();
        }
    }

    /// Every record that this node holds as rated, committed or not, in order.
    fn known(&self) -> impl Iterator<Item = &Rated> {
        let committed = self.copy.iter().flat_map(|segment| &segment.rated);
        committed.chain(self.owner().into_iter().flat_map(Owner::speculative))
    }
}

impl Owner {
    fn pending(&self, record: RecordId) -> Option<Rated> {
        self.speculative().find(|rated| rated.record == record).copied()
    }

    fn speculative(&self) -> impl Iterator<Item = &Rated> {
        let in_flight = self.in_flight.iter().filter_map(|sent| sent.segment.as_ref());
        in_flight.flat_map(|segment| &segment.rated).chain(&self.open.rated)
    }
}

fn find(log: &[Segment], record: RecordId) -> Option<Rated> {
    log.iter().flat_map(|segment| &segment.rated).find(|rated| rated.record == record).copied()
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}
