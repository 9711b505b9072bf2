//! The shared database: one row that says who may append and where, and the log.
//!
//! A statement is atomic. How it gets here, and whether its answer gets back, is not the
//! database's affair: see `model.rs`.

use crate::lines::Lines;

/// A record's id; small numbers, for the sake of bit sets.
pub type RecordId = u8;

/// A record as it was rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rated {
    /// Which record.
    pub record: RecordId,
    /// Its outcome: how many records the account had before it. Like the price of a tier, this
    /// depends on all that was rated before, so that an owner with wrong state logs a wrong one.
    pub place: u8,
}

/// One segment of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// 1, 2, 3, …
    pub number: u8,
    /// Under which it was appended.
    pub epoch: u8,
    /// The appender's claim. The model alone stores it here, to see who wrote what.
    pub claim: u8,
    /// The hash of the segment before it; zero before the first.
    pub prev_hash: u32,
    /// Its own hash.
    pub hash: u32,
    /// What it holds.
    pub rated: Vec<Rated>,
}

impl Segment {
    /// Seals what was rated into a segment on top of `position`.
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

/// Where the next segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Its number.
    pub next: u8,
    /// The hash of the last one.
    pub last_hash: u32,
}

impl Position {
    /// Where a log ends.
    pub fn end_of(log: &[Segment]) -> Self {
        log.last().map_or(Self { next: 1, last_hash: 0 }, |last| Self {
            next: last.number + 1,
            last_hash: last.hash,
        })
    }
}

/// Who an owner says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Title {
    /// Counted up by each claim, in the row: a history rolled back counts the same number again.
    pub epoch: u8,
    /// Random and new for each claim: here a counter that nothing rolls back.
    pub claim: u8,
}

/// The partition's row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// Of the last claim; zero before the first.
    pub title: Title,
    /// Where the log ends.
    pub position: Position,
    /// The owner gave it up (P13); a claim clears it.
    pub released: bool,
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Database {
    /// The partition's row.
    pub row: Row,
    /// Its segments, in the order in which they were committed.
    pub log: Vec<Segment>,
}

/// What the database is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// One compare-and-set on the epoch.
    Claim {
        /// The epoch that the claimant saw.
        seen: u8,
        /// New for each claim.
        claim: u8,
    },
    /// The fenced append.
    Append(Segment),
    /// A write that changes nothing and succeeds for the owner only (P17).
    Barrier {
        /// Who says so.
        title: Title,
        /// Where it believes that the log ends.
        position: Position,
    },
    /// Gives the partition up (P13).
    Release {
        /// Who says so.
        title: Title,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The claim won; the log ended there in that instant.
    Claimed {
        /// What the claimant is now.
        title: Title,
        /// Where the log ended.
        position: Position,
    },
    /// Somebody else claimed in between.
    Outrun,
    /// Durable.
    Committed,
    /// Somebody else is the owner.
    Fenced,
    /// The owner is right, but the log ends earlier, or otherwise, than it knows (P18).
    RolledBack,
    /// The owner is right, but the log goes on further than it knows (P2).
    Ahead,
}

impl Database {
    /// A partition that nobody ever owned.
    pub fn new() -> Self {
        let row = Row {
            title: Title { epoch: 0, claim: 0 },
            position: Position::end_of(&[]),
            released: false,
        };
        Self { row, log: Vec::new() }
    }

    /// Carries a statement out, all of it at once.
    pub fn carry_out(&mut self, statement: &Statement, lines: &Lines) -> Answer {
        match statement {
            Statement::Claim { seen, claim } => self.claim(*seen, *claim),
            Statement::Append(segment) => match self.fence(segment, lines) {
                Ok(()) => self.insert(segment),
                Err(refused) => refused,
            },
            Statement::Barrier { title, position } => self.barrier(*title, *position, lines),
            Statement::Release { title } => self.release(*title, lines),
        }
    }

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

    /// The fence of an append. With the row's lock it is one with [`Self::insert`]:
    ///
    /// `UPDATE partitions SET next_segment = $n + 1, last_hash = $hash
    ///   WHERE epoch = $e AND claim = $c AND next_segment = $n AND last_hash = $prev`
    ///
    /// Without the lock (`Lines::row_lock`) anything may happen in between.
    pub fn fence(&self, segment: &Segment, lines: &Lines) -> Result<(), Answer> {
        let title = Title { epoch: segment.epoch, claim: segment.claim };
        let at = Position { next: segment.number, last_hash: segment.prev_hash };
        if !self.is_owner(title, lines) {
            return Err(Answer::Fenced);
        }
        if at.next < self.row.position.next {
            return Err(Answer::Ahead);
        }
        if !self.ends_at(at, lines) {
            return Err(Answer::RolledBack);
        }
        Ok(())
    }

    /// `INSERT INTO segments`, whose primary key is (partition, segment).
    pub fn insert(&mut self, segment: &Segment) -> Answer {
        if self.log.iter().any(|other| other.number == segment.number) {
            return Answer::Ahead;
        }
        self.row.position = Position { next: segment.number + 1, last_hash: segment.hash };
        self.log.push(segment.clone());
        Answer::Committed
    }

    fn barrier(&self, title: Title, position: Position, lines: &Lines) -> Answer {
        if !self.is_owner(title, lines) {
            return Answer::Fenced;
        }
        if lines.position_in_barrier && !self.ends_at(position, lines) {
            return Answer::RolledBack;
        }
        Answer::Committed
    }

    fn release(&mut self, title: Title, lines: &Lines) -> Answer {
        if !self.is_owner(title, lines) {
            return Answer::Fenced;
        }
        self.row.released = true;
        Answer::Committed
    }

    fn is_owner(&self, title: Title, lines: &Lines) -> bool {
        (!lines.epoch_in_fence || title.epoch == self.row.title.epoch)
            && (!lines.claim_in_fence || title.claim == self.row.title.claim)
    }

    fn ends_at(&self, at: Position, lines: &Lines) -> bool {
        at.next == self.row.position.next
            && (!lines.hash_in_fence || at.last_hash == self.row.position.last_hash)
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}
