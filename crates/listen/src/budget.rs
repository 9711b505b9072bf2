//! The budget of bytes for the requests of a process, in fixed parts, so that one kind of use can't
//! take the room of another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use turnpike_types::capped;

use crate::locking::lock;

const MIB: usize = 1 << 20;
/// The smallest budget with which the largest message (a reference table) can be received.
pub const TRANSPORT_MIN: usize = 96 * MIB;
/// The smallest memory of a process for requests: the budget of the transport, and what the front or
/// node itself holds.
pub const MEMORY_MIN: usize = 128 * MIB;
const MEMORY_DEFAULT: usize = 1024 * MIB;

/// A part of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPart {
    /// Receive windows of connections: a quarter.
    Windows,
    /// A fixed amount for each open request: an eighth.
    Requests,
    /// Messages that are being received or processed: three eighths.
    Messages,
    /// Answers, and pages of the feed: a quarter.
    Answers,
}

use MemoryPart::{Answers, Messages, Requests, Windows};

impl MemoryPart {
    const ALL: [Self; 4] = [Windows, Requests, Messages, Answers];

    const fn name(self) -> &'static str {
        match self {
            Windows => "windows",
            Requests => "requests",
            Messages => "messages",
            Answers => "answers",
        }
    }

    const fn eighths(self) -> usize {
        match self {
            Windows | Answers => 2,
            Requests => 1,
            Messages => 3,
        }
    }
}

/// The budget of the process. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Parts>);

struct Parts {
    parts: [PartUse; 4],
    /// Wakes those who wait for room for an answer.
    freed: Notify,
    incomplete: Mutex<AllIncomplete>,
}

/// Messages that are being received, by age.
#[derive(Default)]
struct AllIncomplete {
    next_number: u64,
    by_number: BTreeMap<u64, Arc<dyn Evict>>,
}

struct PartUse {
    used: AtomicUsize,
    max: usize,
    gauge: metrics::Gauge,
}

/// A message that can be given up to make room.
pub(crate) trait Evict: Send + Sync {
    /// Drops the message and its share of the budget.
    fn evict(&self);
}

/// Bytes of the budget, which are free again when the share is dropped.
#[must_use]
pub struct BudgetShare {
    budget: Budget,
    part: MemoryPart,
    bytes: usize,
}

/// An incomplete message in the list of those that can be given up.
pub(crate) struct Incomplete {
    budget: Budget,
    number: u64,
}

impl Budget {
    /// A budget of `bytes` in all.
    pub fn new(bytes: usize) -> Self {
        let parts = MemoryPart::ALL.map(|part| {
            let max = bytes / 8 * part.eighths();
            metrics::gauge!("turnpike_memory_bytes_max", "part" => part.name()).set(max as f64);
            let gauge = metrics::gauge!("turnpike_memory_bytes", "part" => part.name());
            gauge.set(0.0);
            PartUse { used: AtomicUsize::new(0), max, gauge }
        });
        let (freed, incomplete) = (Notify::new(), Mutex::default());
        Self(Arc::new(Parts { parts, freed, incomplete }))
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
        self.part(part).used.load(Ordering::Acquire)
    }

    /// The limit of `part` in bytes.
    pub fn max(&self, part: MemoryPart) -> usize {
        self.part(part).max
    }

    /// Reserves `bytes` of `part`, if there is room.
    pub fn reserve(&self, part: MemoryPart, bytes: usize) -> Option<BudgetShare> {
        self.take(part, bytes).then(|| BudgetShare { budget: self.clone(), part, bytes })
    }

    /// Reserves `bytes` of `part`; waits at most `wait` for room.
    pub async fn reserve_within(
        &self,
        part: MemoryPart,
        bytes: usize,
        wait: Duration,
    ) -> Option<BudgetShare> {
        let deadline = Instant::now() + wait;
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            // From here on, a release is not missed.
            freed.as_mut().enable();
            if let Some(share) = self.reserve(part, bytes) {
                return Some(share);
            }
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                return None;
            }
        }
    }

    /// Counts bytes that exist already, even beyond the limit: later reservations fail until there
    /// is room again.
    pub(crate) fn charge(&self, part: MemoryPart, bytes: usize) -> BudgetShare {
        let own = self.part(part);
        own.used.fetch_add(bytes, Ordering::AcqRel);
        own.gauge.increment(bytes as f64);
        BudgetShare { budget: self.clone(), part, bytes }
    }

    fn take(&self, part: MemoryPart, bytes: usize) -> bool {
        let own = self.part(part);
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= own.max);
        let taken = own.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok();
        if taken {
            own.gauge.increment(bytes as f64);
        }
        taken
    }

    /// Enters a message that is being received into the list of those that can be given up.
    pub(crate) fn enter(&self, message: Arc<dyn Evict>) -> Incomplete {
        let mut incomplete = lock(&self.0.incomplete);
        let number = incomplete.next_number;
        incomplete.next_number += 1;
        incomplete.by_number.insert(number, message);
        Incomplete { budget: self.clone(), number }
    }
}

impl Incomplete {
    /// Reserves `bytes` for this message. If there is no room, messages that have been incomplete
    /// for longer are given up. `false`: this message is the oldest one, and there is no room. The
    /// caller must not hold a lock that [`Evict::evict`] takes.
    pub(crate) fn grow(&self, share: &mut BudgetShare, bytes: usize) -> bool {
        while !self.budget.take(share.part, bytes) {
            let oldest = {
                let mut incomplete = lock(&self.budget.0.incomplete);
                match incomplete.by_number.first_entry() {
                    Some(oldest) if *oldest.key() < self.number => oldest.remove(),
                    _ => return false,
                }
            };
            oldest.evict();
        }
        share.bytes += bytes;
        true
    }
}

impl Drop for Incomplete {
    fn drop(&mut self) {
        lock(&self.budget.0.incomplete).by_number.remove(&self.number);
    }
}

impl BudgetShare {
    /// The size of the share.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Enlarges the share by `bytes`, if there is room.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(self.part, bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        let own = self.budget.part(self.part);
        let before = own.used.fetch_sub(self.bytes, Ordering::AcqRel);
        debug_assert!(before >= self.bytes, "a share is released once");
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

/// The default budget of a process: 1 GiB, or a quarter of the memory that it may use if that is
/// less, and at least [`MEMORY_MIN`].
pub fn default_memory() -> usize {
    let bounds = [
        physical(),
        number_in("/sys/fs/cgroup/memory.max"),
        number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    ];
    let available = bounds.into_iter().flatten().min();
    available.map_or(MEMORY_DEFAULT, |bytes| MEMORY_DEFAULT.min(bytes / 4).max(MEMORY_MIN))
}

/// The memory of the machine in bytes, on Linux.
fn physical() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(capped(kilobytes.saturating_mul(1024)))
}

/// A limit in a file of the cgroup; `None` if the file does not exist or says `max`.
fn number_in(path: &str) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok().map(capped)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_part_never_exceeds_its_limit_and_is_free_again_after_its_shares() {
        let budget = Budget::new(800);
        let mut first = budget.reserve(Messages, 200).unwrap();
        assert!(budget.reserve(Messages, 101).is_none());
        assert!(first.grow(100) && !first.grow(1));
        // The other parts keep their room.
        let others = [(Windows, 200), (Requests, 100), (Answers, 200)]
            .map(|(part, bytes)| budget.reserve(part, bytes).unwrap());
        drop((first, others));
        for part in MemoryPart::ALL {
            assert_eq!(budget.used(part), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_room_for_a_bounded_time() {
        let budget = Budget::new(800);
        let first = budget.reserve(Answers, 200).unwrap();
        let wait = Duration::from_secs(10);
        assert!(budget.reserve_within(Answers, 1, wait).await.is_none());
        let waiting = budget.reserve_within(Answers, 200, wait);
        let release = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(first);
        };
        let (share, ()) = tokio::join!(waiting, release);
        assert_eq!(share.unwrap().bytes(), 200);
    }
}
