//! The shared database: one row with the owner and the end of the log, and the log.
//!
//! Each statement runs atomically. `model.rs` delivers statements to the database and answers to
//! the nodes.

use crate::enabled_checks::EnabledChecks;

/// The id of a record, at most 7: a set of records is a `u8` with one bit for each id.
pub type RecordId = u8;

/// A rated record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rated {
    /// The id of the record.
    pub record: RecordId,
    /// The outcome: the number of records that the account had before this one. Like the price in a
    /// tier, the outcome depends on all records rated before, so an owner with wrong state logs a
    /// wrong outcome.
    pub place: u8,
}

/// One segment of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// Segment number, from 1.
    pub number: u8,
    /// The epoch of the owner that appended it.
    pub epoch: u8,
    /// The id of that owner's claim. Segments of the real log have no such field; the model uses it
    /// to check I3.
    pub claim: u8,
    /// The hash of the previous segment; zero for the first.
    pub prev_hash: u32,
    /// The hash of this segment.
    pub hash: u32,
    /// The records of this segment.
    pub rated: Vec<Rated>,
}

impl Segment {
    /// Builds the segment that follows `position`.
    pub fn seal(position: Position, epoch: u8, claim: u8, rated: Vec<Rated>) -> Self {
        let Position { next: number, last_hash: prev_hash } = position;
        let mut hash = 0x811c_9dc5 ^ prev_hash;
        let content = rated.iter().flat_map(|rated| [rated.record, rated.place]);
        for byte in [number, epoch].into_iter().chain(content) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        Self { number, epoch, claim, prev_hash, hash, rated }
    }
}

/// The end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of the next segment.
    pub next: u8,
    /// The hash of the last segment; zero if the log is empty.
    pub last_hash: u32,
}

impl Position {
    /// Returns the end of `log`.
    pub fn end_of(log: &[Segment]) -> Self {
        log.last().map_or(Self { next: 1, last_hash: 0 }, |last| Self {
            next: last.number + 1,
            last_hash: last.hash,
        })
    }
}

/// The epoch and claim by which an owner identifies itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Title {
    /// Each claim adds one to the epoch in the row. After a failover to an older history, the same
    /// epoch can occur again.
    pub epoch: u8,
    /// The id of the claim, which is never used twice. The real system draws it at random; the
    /// model takes it from a counter that no failover sets back.
    pub claim: u8,
}

/// The partition's row in the database: its owner, and the end of its log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// The epoch and claim id that the last claim wrote; both are zero before the first claim.
    pub title: Title,
    /// The end of the log.
    pub position: Position,
    /// Whether the owner released the partition (P13). A claim sets this to false.
    pub released: bool,
}

/// The state of the shared database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Database {
    /// The partition's row.
    pub row: Row,
    /// The segments, in commit order.
    pub log: Vec<Segment>,
}

/// A statement for the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// A claim: a compare-and-set on the epoch.
    Claim {
        /// The epoch that the claimant read.
        seen: u8,
        /// The unique id of this claim.
        claim: u8,
    },
    /// An append of a segment, which commits only if it passes the fence (P1).
    Append(Segment),
    /// A write that changes nothing and succeeds for the owner only (P17).
    Barrier {
        /// Epoch and claim of the sender.
        title: Title,
        /// The end of the log as the sender knows it.
        position: Position,
    },
    /// Releases the partition (P13).
    Release {
        /// Epoch and claim of the sender.
        title: Title,
    },
}

/// The answer to a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The claim succeeded: the sender is the owner now.
    Claimed {
        /// Epoch and claim of the new owner.
        title: Title,
        /// The end of the log at the time of the claim.
        position: Position,
    },
    /// The epoch changed since the claimant read it: another claim won.
    Outrun,
    /// The statement committed.
    Committed,
    /// The row holds another epoch or claim id: the sender is not the owner any more.
    Fenced,
    /// Epoch and claim match, but the log ends earlier than the owner knows, or with another hash
    /// (P18).
    RolledBack,
    /// Epoch and claim match, but the log has more segments than the owner knows (P2).
    Ahead,
}

impl Database {
    /// The database before the first claim.
    pub fn new() -> Self {
        let row = Row {
            title: Title { epoch: 0, claim: 0 },
            position: Position::end_of(&[]),
            released: false,
        };
        Self { row, log: Vec::new() }
    }

    /// Applies a statement atomically.
    pub fn carry_out(&mut self, statement: &Statement, checks: &EnabledChecks) -> Answer {
        match statement {
            Statement::Claim { seen, claim } => self.claim(*seen, *claim),
            Statement::Append(segment) => match self.fence(segment, checks) {
                Ok(()) => self.insert(segment),
                Err(refused) => refused,
            },
            Statement::Barrier { title, position } => self.barrier(*title, *position, checks),
            Statement::Release { title } => self.release(*title, checks),
        }
    }

    /// Claims the partition by a compare-and-set on the epoch:
    ///
    /// `UPDATE partitions SET epoch = epoch + 1, claim = $c WHERE epoch = $seen
    /// RETURNING epoch, next_segment, last_hash`
    fn claim(&mut self, seen: u8, claim: u8) -> Answer {
        if self.row.title.epoch != seen {
            return Answer::Outrun;
        }
        self.row.title = Title { epoch: seen + 1, claim };
        self.row.released = false;
        Answer::Claimed { title: self.row.title, position: self.row.position }
    }

    /// Checks whether an append passes the fence. With the row lock, this check and
    /// [`Self::insert`] are one atomic statement:
    ///
    /// `UPDATE partitions SET next_segment = $n + 1, last_hash = $hash
    ///   WHERE epoch = $e AND claim = $c AND next_segment = $n AND last_hash = $prev`
    ///
    /// Without the row lock (`EnabledChecks::row_lock`) other statements can run between the two.
    pub fn fence(&self, segment: &Segment, checks: &EnabledChecks) -> Result<(), Answer> {
        let title = Title { epoch: segment.epoch, claim: segment.claim };
        let at = Position { next: segment.number, last_hash: segment.prev_hash };
        if !self.is_owner(title, checks) {
            return Err(Answer::Fenced);
        }
        if at.next < self.row.position.next {
            return Err(Answer::Ahead);
        }
        if !self.ends_at(at, checks) {
            return Err(Answer::RolledBack);
        }
        Ok(())
    }

    /// Inserts a segment. A segment number that is in the log already is refused, as by the primary
    /// key (partition, segment) of the table `segments`.
    pub fn insert(&mut self, segment: &Segment) -> Answer {
        if self.log.iter().any(|other| other.number == segment.number) {
            return Answer::Ahead;
        }
        self.row.position = Position { next: segment.number + 1, last_hash: segment.hash };
        self.log.push(segment.clone());
        Answer::Committed
    }

    fn barrier(&self, title: Title, position: Position, checks: &EnabledChecks) -> Answer {
        if !self.is_owner(title, checks) {
            return Answer::Fenced;
        }
        if checks.position_in_barrier && !self.ends_at(position, checks) {
            return Answer::RolledBack;
        }
        Answer::Committed
    }

    fn release(&mut self, title: Title, checks: &EnabledChecks) -> Answer {
        if !self.is_owner(title, checks) {
            return Answer::Fenced;
        }
        self.row.released = true;
        Answer::Committed
    }

    fn is_owner(&self, title: Title, checks: &EnabledChecks) -> bool {
        (!checks.epoch_in_fence || title.epoch == self.row.title.epoch)
            && (!checks.claim_in_fence || title.claim == self.row.title.claim)
    }

    fn ends_at(&self, at: Position, checks: &EnabledChecks) -> bool {
        at.next == self.row.position.next
            && (!checks.hash_in_fence || at.last_hash == self.row.position.last_hash)
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}
