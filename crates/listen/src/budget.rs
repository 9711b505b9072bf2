//! The budget of bytes for the requests of a process, in fixed parts, so that one kind of use can't
//! take the room of another. Once half of a part is used, each client gets at most its share of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use turnpike_shares::ClientKey;

use crate::evictions::{Evict, Evictable, Evictions};
use crate::locking::lock;

/// A part of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPart {
    /// Receive windows of connections: a quarter.
    Windows,
    /// A fixed amount for each open request that was assigned to a client: nearly an eighth.
    Requests,
    /// The same for requests that need no role, such as of health: a sixteenth of an eighth.
    Unassigned,
    /// Messages that are being received or processed: three eighths.
    Messages,
    /// Answers, and pages of the feed: a quarter.
    Answers,
}

use MemoryPart::{Answers, Messages, Requests, Unassigned, Windows};

impl MemoryPart {
    const ALL: [Self; 5] = [Windows, Requests, Unassigned, Messages, Answers];

    const fn name(self) -> &'static str {
        match self {
            Windows => "windows",
            Requests => "requests",
            Unassigned => "unassigned",
            Messages => "messages",
            Answers => "answers",
        }
    }

    /// The size of the part, in 128ths of the budget.
    const fn weight(self) -> usize {
        match self {
            Windows | Answers => 32,
            Requests => 15,
            Unassigned => 1,
            Messages => 48,
        }
    }
}

/// The budget of the process. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Parts>);

struct Parts {
    parts: [PartUse; 5],
    /// Wakes those who wait for room for an answer.
    freed: Notify,
    /// Messages that are being received.
    incomplete: Evictions,
    /// Streams whose clients send nothing.
    silent: Evictions,
}

struct PartUse {
    taken: Mutex<Taken>,
    max: usize,
    gauge: metrics::Gauge,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    /// Only clients that hold room. Room that counts for no client is not here.
    by_client: HashMap<ClientKey, usize>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The part is used up.
    Room,
    /// More than half of the part is used, and the client has its share.
    Share,
}

impl Lack {
    /// Whose room must become free: that of `client`, or anybody's.
    pub(crate) fn among(self, client: ClientKey) -> Option<ClientKey> {
        (self == Self::Share).then_some(client)
    }
}

impl Taken {
    /// Takes `bytes` for something of `client` that has `own` bytes already. What is the client's
    /// only use of the part may exceed its share, so that nothing is too large for ever.
    fn take(
        &mut self,
        client: ClientKey,
        bytes: usize,
        own: usize,
        max: usize,
    ) -> Result<(), Lack> {
        let after = self.bytes.saturating_add(bytes);
        let held = self.by_client.get(&client).copied().unwrap_or(0);
        // The share comes first: a client above it never takes the room of another one.
        if client != ClientKey::NONE && after > max / 2 && held > own {
            let clients = self.by_client.len();
            if held.saturating_add(bytes) > max / (clients + 1) {
                return Err(Lack::Share);
            }
        }
        if after > max {
            return Err(Lack::Room);
        }
        self.add(client, bytes);
        Ok(())
    }

    fn add(&mut self, client: ClientKey, bytes: usize) {
        self.bytes += bytes;
        if client != ClientKey::NONE && bytes > 0 {
            *self.by_client.entry(client).or_default() += bytes;
        }
    }

    fn give_back(&mut self, client: ClientKey, bytes: usize) {
        debug_assert!(self.bytes >= bytes, "a share is released once");
        self.bytes -= bytes;
        if let Some(held) = self.by_client.get_mut(&client) {
            *held -= bytes;
            if *held == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

/// Bytes of the budget, which are free again when the share is dropped.
#[must_use]
pub struct BudgetShare {
    budget: Budget,
    part: MemoryPart,
    client: ClientKey,
    bytes: usize,
}

impl Budget {
    /// A budget of `bytes` in all.
    pub fn new(bytes: usize) -> Self {
        let parts = MemoryPart::ALL.map(|part| {
            let max = bytes / 128 * part.weight();
            metrics::gauge!("turnpike_memory_bytes_max", "part" => part.name()).set(max as f64);
            let gauge = metrics::gauge!("turnpike_memory_bytes", "part" => part.name());
            gauge.set(0.0);
            PartUse { taken: Mutex::default(), max, gauge }
        });
        let (incomplete, silent) = (Evictions::default(), Evictions::default());
        Self(Arc::new(Parts { parts, freed: Notify::new(), incomplete, silent }))
    }

    /// A budget without a limit, for tests and for services that another layer limits.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX / 4)
    }

    fn part(&self, part: MemoryPart) -> &PartUse {
        &self.0.parts[part as usize]
    }

    /// The bytes of `part` in use.
    pub fn used(&self, part: MemoryPart) -> usize {
        lock(&self.part(part).taken).bytes
    }

    /// The limit of `part` in bytes.
    pub fn max(&self, part: MemoryPart) -> usize {
        self.part(part).max
    }

    /// Reserves `bytes` of `part`, if there is room. They count for no client.
    pub fn reserve(&self, part: MemoryPart, bytes: usize) -> Option<BudgetShare> {
        self.reserve_for(part, ClientKey::NONE, bytes)
    }

    /// Reserves `bytes` of `part` for `client`, if there is room and the client has less than its
    /// share.
    pub fn reserve_for(
        &self,
        part: MemoryPart,
        client: ClientKey,
        bytes: usize,
    ) -> Option<BudgetShare> {
        self.take(part, client, bytes, 0).ok().map(|()| self.share(part, client, bytes))
    }

    /// As [`Self::reserve_for`]; waits at most `wait` for room.
    pub async fn reserve_within(
        &self,
        part: MemoryPart,
        client: ClientKey,
        bytes: usize,
        wait: Duration,
    ) -> Option<BudgetShare> {
        let deadline = Instant::now() + wait;
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            // From here on, a release is not missed.
            freed.as_mut().enable();
            if let Some(share) = self.reserve_for(part, client, bytes) {
                return Some(share);
            }
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                return None;
            }
        }
    }

    /// Counts bytes that exist already, even beyond the limit: later reservations fail until there
    /// is room again.
    pub(crate) fn charge(&self, part: MemoryPart, client: ClientKey, bytes: usize) -> BudgetShare {
        let own = self.part(part);
        lock(&own.taken).add(client, bytes);
        own.gauge.increment(bytes as f64);
        self.share(part, client, bytes)
    }

    /// Takes `bytes` for something of `client` that has `own` bytes already.
    pub(crate) fn take(
        &self,
        part: MemoryPart,
        client: ClientKey,
        bytes: usize,
        own: usize,
    ) -> Result<(), Lack> {
        let of_part = self.part(part);
        lock(&of_part.taken).take(client, bytes, own, of_part.max)?;
        of_part.gauge.increment(bytes as f64);
        Ok(())
    }

    /// The share of bytes that were taken.
    pub(crate) fn share(&self, part: MemoryPart, client: ClientKey, bytes: usize) -> BudgetShare {
        BudgetShare { budget: self.clone(), part, client, bytes }
    }

    /// Enters a message that is being received into the list of those that can be given up.
    pub(crate) fn enter_incomplete(&self, client: ClientKey, message: Arc<dyn Evict>) -> Evictable {
        self.0.incomplete.enter(client, message)
    }

    /// Enters a stream whose client sends nothing into the list of those that can be given up.
    pub(crate) fn enter_silent(&self, client: ClientKey, stream: Arc<dyn Evict>) -> Evictable {
        self.0.silent.enter(client, stream)
    }

    /// Gives up the stream that has been silent longest, for at least `age_min`. Returns whether
    /// there was one.
    pub(crate) fn give_up_silent(&self, among: Option<ClientKey>, age_min: Duration) -> bool {
        self.0.silent.give_up_oldest(among, None, age_min)
    }

    /// Enlarges the share of a message by `bytes`. If there is no room, messages that have been
    /// incomplete for longer than `incomplete` are given up; for a complete message, all that are
    /// incomplete, if they are enough. If the client has its share, only messages of its own are
    /// given up. The caller must not hold a lock that [`Evict`] takes.
    pub(crate) fn grow_message(
        &self,
        share: &mut BudgetShare,
        bytes: usize,
        incomplete: Option<&Evictable>,
    ) -> bool {
        let BudgetShare { part, client, .. } = *share;
        if share.bytes.saturating_add(bytes) > self.max(part) {
            return false;
        }
        let older = &self.0.incomplete;
        while let Err(lack) = self.take(part, client, bytes, share.bytes) {
            let among = lack.among(client);
            if lack == Lack::Room && incomplete.is_none() {
                let free = self.max(part).saturating_sub(self.used(part));
                if older.bytes().saturating_add(free) < bytes {
                    return false;
                }
            }
            if !older.give_up_oldest(among, incomplete, Duration::ZERO) {
                return false;
            }
        }
        share.bytes += bytes;
        true
    }
}

impl BudgetShare {
    /// The size of the share.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Enlarges the share by `bytes`, if there is room.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(self.part, self.client, bytes, self.bytes).is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        let own = self.budget.part(self.part);
        lock(&own.taken).give_back(self.client, self.bytes);
        own.gauge.decrement(self.bytes as f64);
        if self.part == Answers && self.bytes > 0 {
            self.budget.0.freed.notify_waiters();
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Budget");
        for part in MemoryPart::ALL {
            shown.field(part.name(), &(self.used(part), self.max(part)));
        }
        shown.finish()
    }
}

impl fmt::Debug for BudgetShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {}", self.bytes, self.part.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_part_never_exceeds_its_limit_and_is_free_again_after_its_shares() {
        let budget = Budget::new(1_280);
        let mut first = budget.reserve(Messages, 380).unwrap();
        assert!(budget.reserve(Messages, 101).is_none());
        assert!(first.grow(100) && !first.grow(1));
        // The other parts keep their room.
        let others = [(Windows, 320), (Requests, 150), (Unassigned, 10), (Answers, 320)]
            .map(|(part, bytes)| budget.reserve(part, bytes).unwrap());
        drop((first, others));
        for part in MemoryPart::ALL {
            assert_eq!(budget.used(part), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_room_for_a_bounded_time() {
        let budget = Budget::new(1_280);
        let first = budget.reserve(Answers, 320).unwrap();
        let (wait, client) = (Duration::from_secs(10), ClientKey(1));
        assert!(budget.reserve_within(Answers, client, 1, wait).await.is_none());
        let waiting = budget.reserve_within(Answers, client, 320, wait);
        let release = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(first);
        };
        let (share, ()) = tokio::join!(waiting, release);
        assert_eq!(share.unwrap().bytes(), 320);
    }

    /// An incomplete message of 60 bytes.
    struct Incomplete(Mutex<Option<BudgetShare>>);

    impl Evict for Incomplete {
        fn evict(&self) {
            lock(&self.0).take();
        }

        fn bytes(&self) -> usize {
            lock(&self.0).as_ref().map_or(0, BudgetShare::bytes)
        }
    }

    /// A complete message takes room by what its lists take when it is decoded. A client that repeats a
    /// large one made every other client's incomplete messages be given up.
    #[test]
    fn a_large_message_gives_up_those_of_others_only_if_it_has_a_share_and_they_are_enough() {
        let budget = Budget::new(1_280);
        let max = budget.max(Messages);
        let receive = |client| {
            let share = budget.reserve_for(Messages, ClientKey(client), 60).unwrap();
            let message = Arc::new(Incomplete(Mutex::new(Some(share))));
            let place = budget.enter_incomplete(ClientKey(client), message.clone());
            (message, place)
        };
        let is_there = |(message, _): &(Arc<Incomplete>, Evictable)| message.bytes() > 0;
        let (others, own) = (receive(1), receive(2));
        let complete = |bytes| {
            let mut share = budget.share(Messages, ClientKey(2), 0);
            budget.grow_message(&mut share, bytes, None).then_some(share)
        };
        assert!(complete(max + 1).is_none() && is_there(&others) && is_there(&own), "never fits");
        let first = complete(max / 2).unwrap();
        assert!(is_there(&others) && !is_there(&own), "above its share, its own are given up");
        assert!(complete(max / 2 - 30).is_none() && is_there(&others), "then it is refused");
        drop(first);
        assert!(complete(max - 30).is_some() && !is_there(&others), "the one message of a client");
    }

    #[test]
    fn beyond_half_of_a_part_each_client_has_a_share_and_one_use_that_may_exceed_it() {
        let budget = Budget::new(1_280);
        let of = |client, bytes| budget.reserve_for(Answers, ClientKey(client), bytes);
        let heavy: Vec<_> = std::iter::from_fn(|| of(1, 10)).collect();
        assert_eq!(heavy.len(), 16, "half of 320 bytes");
        let mut large = of(2, 100).unwrap();
        assert!(large.grow(20) && of(2, 1).is_none(), "more than a third of 320 bytes");
        let third = of(3, 30).unwrap();
        assert!(of(1, 1).is_none());
        // What counts for no client is limited by the part only.
        assert!(budget.reserve(Answers, 11).is_none());
        let member = budget.reserve(Answers, 10).unwrap();
        drop((heavy, large, third, member));
        assert_eq!(budget.used(Answers), 0);
        assert!(lock(&budget.part(Answers).taken).by_client.is_empty());
    }
}
