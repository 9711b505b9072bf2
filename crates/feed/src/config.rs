//! What the feed is told.

/// Configuration of the feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedConfig {
    /// Lines in a page when the request does not say.
    pub page_lines: u32,
    /// A page ends early past this many bytes, whatever was asked for.
    pub page_bytes: usize,
    /// Pages of one call that wait for a slow consumer.
    pub pages_ahead: usize,
    /// Bytes of segments read from the database at a time; at least one segment is.
    pub read_bytes: usize,
    /// Bytes of decoded segments kept for the next consumer.
    pub cache_bytes: u64,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            page_lines: 10_000,
            page_bytes: 16 * 1024 * 1024,
            pages_ahead: 2,
            read_bytes: 4 * 1024 * 1024,
            cache_bytes: 128 * 1024 * 1024,
        }
    }
}
