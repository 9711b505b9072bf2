//! The memory that a process uses for requests unless it is told otherwise.

use turnpike_types::capped;

const MIB: usize = 1 << 20;
/// The smallest budget with which the largest message (a reference table) can be received.
pub const TRANSPORT_MIN: usize = 96 * MIB;
/// The smallest memory of a process for requests: the budget of the transport, and what the front or
/// node itself holds.
pub const MEMORY_MIN: usize = 128 * MIB;
const MEMORY_DEFAULT: usize = 1024 * MIB;

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
