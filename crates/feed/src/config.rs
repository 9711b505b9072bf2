//! The configuration of the feed.

use std::time::Duration;

use turnpike_access::Guarded;

/// Configuration of the feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedConfig {
    /// The number of lines in a page when the request gives none.
    pub page_lines: u32,
    /// A page ends early once it has this many bytes, whatever the request says.
    pub page_bytes: usize,
    /// The number of pages of one call that may wait for a slow consumer.
    pub pages_ahead: usize,
    /// The number of bytes of segments in one read from the database. At least one segment is read.
    pub read_bytes: usize,
    /// The number of pulls in progress, for the whole process.
    pub pulls_max: usize,
    /// The number of pulls in progress of one consumer.
    pub consumer_pulls_max: usize,
    /// How long a page waits for room in the budget before the pull is refused.
    pub room_wait: Duration,
    /// The size in bytes of the cache of decoded segments.
    pub cache_bytes: u64,
    /// Whether requests come through a guard, which decides what they may do.
    pub guarded: Guarded,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            page_lines: 10_000,
            page_bytes: 16 * 1024 * 1024,
            pages_ahead: 2,
            read_bytes: 4 * 1024 * 1024,
            pulls_max: 64,
            consumer_pulls_max: 8,
            room_wait: Duration::from_secs(10),
            cache_bytes: 128 * 1024 * 1024,
            guarded: Guarded::Yes,
        }
    }
}
