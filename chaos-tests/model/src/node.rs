//! A node: what it keeps, and the owner that it may be.
//!
//! ```text
//!   Standby --claim--> Claiming --won--> Claimed --read the tail--> Owner
//!      ^                  |                 |                         |
//!      +------ lost, fenced, outcome unknown, crashed, released ------+
//! ```
//!
//! Nobody tells a node that it was superseded: it may sleep in any of these for as long as it
//! likes, and go on where it was.

use crate::database::{Position, Rated, RecordId, Segment, Statement, Title};
use crate::lines::Lines;

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// The record's outcome, first or again (I5).
    Accepted(Rated),
    /// Which records the account has, as a set of bits.
    Shown {
        /// Those that had been acknowledged to somebody when the question was asked.
        acknowledged: u8,
        /// Those that the owner knew of.
        seen: u8,
    },
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The log as the node has read it and kept it: a warm copy, or a checkpoint with its tail. An
    /// owner's committed state.
    pub copy: Vec<Segment>,
    /// Mutant of P2: the copy was read before the claim, and is trusted.
    pub trusts_copy: bool,
    /// What it does.
    pub role: Role,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It owns nothing.
    Standby,
    /// Its claim is on the way.
    Claiming,
    /// Its claim won; it has not read the log's tail yet.
    Claimed {
        /// What it is now.
        title: Title,
        /// Where the claim found the log's end.
        position: Position,
    },
    /// It serves.
    Owner(Owner),
}

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Under this epoch and claim.
    pub title: Title,
    /// Where its next append goes, as far as it knows.
    pub position: Position,
    /// One statement at a time (P4).
    pub in_flight: Option<InFlight>,
    /// The segment that fills meanwhile.
    pub open: Pending,
}

/// What was sent to the database, and who waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InFlight {
    /// The segment; a barrier has none.
    pub segment: Option<Segment>,
    /// These go out when it is durable.
    pub replies: Vec<Reply>,
}

/// What was taken and not sent yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pending {
    /// The segment's content.
    pub rated: Vec<Rated>,
    /// Who waits for it.
    pub replies: Vec<Reply>,
}

impl Pending {
    /// Does nobody and nothing wait to be sent?
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
    /// A node that knows nothing.
    pub fn new() -> Self {
        Self { copy: Vec::new(), trusts_copy: false, role: Role::Standby }
    }

    /// The owner that it is, if any.
    pub fn owner(&self) -> Option<&Owner> {
        match &self.role {
            Role::Owner(owner) => Some(owner),
            _ => None,
        }
    }

    /// Does it wait for the database?
    pub fn awaits(&self) -> bool {
        matches!(self.role, Role::Claiming)
            || self.owner().is_some_and(|owner| owner.in_flight.is_some())
    }

    /// Takes a record; a reply that comes back at once waited for nothing.
    pub fn take(&mut self, record: RecordId, lines: &Lines) -> Option<Reply> {
        let committed = find(&self.copy, record);
        let place = self.known().count() as u8;
        let Role::Owner(owner) = &mut self.role else { return None };
        let pending = if lines.pending_keys { owner.pending(record) } else { None };
        let rated = match committed.or(pending) {
            Some(first) => first,
            None => {
                let rated = Rated { record, place };
                owner.open.rated.push(rated);
                rated
            }
        };
        let reply = Reply::Accepted(rated);
        let is_state = committed.is_some() && !lines.barrier;
        if is_state || !lines.answer_after_commit {
            return Some(reply);
        }
        owner.open.wait(reply);
        None
    }

    /// Shows the account; a reply that comes back at once waited for nothing.
    pub fn show(&mut self, acknowledged: u8, lines: &Lines) -> Option<Reply> {
        let known = |seen: u8, rated: &Rated| seen | 1 << rated.record;
        let all = self.known().fold(0, known);
        let committed = self.copy.iter().flat_map(|segment| &segment.rated).fold(0, known);
        let Role::Owner(owner) = &mut self.role else { return None };
        if !lines.barrier {
            return Some(Reply::Shown { acknowledged, seen: committed });
        }
        owner.open.wait(Reply::Shown { acknowledged, seen: all });
        None
    }

    /// Sends the open segment off, or a barrier where nothing is to be appended (P17).
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

    /// The awaited statement is durable: its replies go out.
    pub fn committed(&mut self) -> Vec<Reply> {
        let Role::Owner(owner) = &mut self.role else { return Vec::new() };
        let Some(done) = owner.in_flight.take() else { return Vec::new() };
        if let Some(segment) = done.segment {
            owner.position = Position { next: segment.number + 1, last_hash: segment.hash };
            self.copy.push(segment);
        }
        done.replies
    }

    /// Everything speculative is thrown away, and whoever waits is told nothing (P2). What was
    /// committed stays as a copy where nodes keep copies.
    pub fn step_down(&mut self, keeps_copy: bool) {
        self.role = Role::Standby;
        if !keeps_copy {
            self.copy.clear();
        }
    }

    /// Mutant of P2: what was sent is put back into the open segment, to be sent again.
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

    /// From a claim that won to an owner: the log is read up to exactly where the claim found its
    /// end (P1).
    pub fn recover(&mut self, log: &[Segment], keeps_copy: bool, lines: &Lines) {
        let Role::Claimed { title, position } = self.role else { return };
        let must_read = lines.reload || self.copy.is_empty();
        if must_read && !self.trusts_copy {
            self.follow(log, lines);
        }
        self.trusts_copy = false;
        let ends = Position::end_of(&self.copy);
        let is_same_hash = !lines.hash_of_copy || ends.last_hash == position.last_hash;
        if lines.position_after_claim && (ends.next != position.next || !is_same_hash) {
            // Another claim came, or another history, or the copy was not of this one.
            self.step_down(keeps_copy && !lines.rebuild);
            return;
        }
        let (in_flight, open) = (None, Pending::default());
        self.role = Role::Owner(Owner { title, position, in_flight, open });
    }

    /// Reads what the log has beyond the copy. A copy that belongs to another history is read anew
    /// (P18).
    pub fn follow(&mut self, log: &[Segment], lines: &Lines) {
        let is_prefix = match self.copy.last() {
            _ if !lines.hash_of_copy => self.copy.len() <= log.len(),
            None => true,
            Some(last) => log.get(self.copy.len() - 1).is_some_and(|same| same.hash == last.hash),
        };
        if !is_prefix && lines.rebuild {
            self.copy.clear();
        }
        if is_prefix || lines.rebuild {
            self.copy.extend_from_slice(&log[self.copy.len()..]);
        }
    }

    /// After a failover, what was lost is no longer owed to who asked before it.
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

    /// Everything that this node holds for rated, committed or not, in order.
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
