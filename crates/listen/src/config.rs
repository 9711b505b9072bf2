//! Limits and deadlines of a listener.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use turnpike_types::capped;

const MIB: u32 = 1 << 20;
/// The smallest window of a connection, which the protocol prescribes as the initial one.
pub(crate) const WINDOW_MIN: u32 = 64 * 1024;
/// The maximum number of connections of a process that may have enough file descriptors.
const CONNECTIONS_MAX: usize = 10_000;
/// File descriptors that are kept for the database, files and metrics.
const DESCRIPTORS_KEPT: usize = 64;

/// How long each step of a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The TLS handshake.
    pub handshake: Duration,
    /// The preface of HTTP/2, each frame, and the headers of a request.
    pub frame: Duration,
    /// A message of a stream from its first byte to its last; the body of a unary request.
    pub message: Duration,
    /// The pause between two messages of a stream.
    pub silence: Duration,
    /// A stream that was silent for this long may be given up for another request.
    pub silence_min: Duration,
    /// The answer to a request that needs no role, such as a stream of health.
    pub unassigned: Duration,
    /// The client takes no part of an answer for this long.
    pub reading: Duration,
    /// The interval of keep-alive pings, and the time for the answer to one.
    pub ping: Duration,
    /// How long a request waits for room for its answer.
    pub room: Duration,
    /// The age of a connection, after which it takes no new requests. Open ones may finish within a
    /// 24th of this time.
    pub age: Duration,
    /// Open requests may finish within this time after a stop, and after the end of a client's
    /// certificate.
    pub grace: Duration,
}

/// The limits of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenConfig {
    /// Connections of the process.
    pub connections_max: usize,
    /// Connections from one address (IPv6: from one network of 64 bits).
    pub connections_per_address_max: usize,
    /// Open requests of a connection.
    pub streams_per_connection_max: u32,
    /// TLS handshakes at once.
    pub handshakes_max: usize,
    /// The window of a connection while there is room in the budget, in bytes.
    pub connection_window_bytes: u32,
    /// The window of a request, in bytes.
    pub stream_window_bytes: u32,
    /// The total size of a request's headers, in bytes.
    pub headers_bytes_max: u32,
    /// How long each step may take.
    pub deadlines: Deadlines,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            frame: Duration::from_secs(20),
            message: Duration::from_secs(60),
            silence: Duration::from_secs(60 * 60),
            silence_min: Duration::from_secs(10),
            unassigned: Duration::from_secs(60),
            reading: Duration::from_secs(60),
            ping: Duration::from_secs(10),
            room: Duration::from_secs(10),
            age: Duration::from_secs(24 * 60 * 60),
            grace: Duration::from_secs(5),
        }
    }
}

impl ListenConfig {
    /// For a front, which is reached by many clients.
    pub fn front() -> Self {
        Self::of(1_000, 4 * MIB, MIB)
    }

    /// For a node, which is reached by fronts and other nodes.
    pub fn node() -> Self {
        Self::of(10_000, 32 * MIB, 8 * MIB)
    }

    /// The most connections for which this process has file descriptors.
    pub fn connections_possible() -> usize {
        let descriptors = descriptors();
        descriptors - kept(descriptors)
    }

    fn of(streams: u32, connection_window_bytes: u32, stream_window_bytes: u32) -> Self {
        let connections_max = connections_max(descriptors());
        Self {
            connections_max,
            connections_per_address_max: (connections_max / 2).max(1),
            streams_per_connection_max: streams,
            handshakes_max: 256,
            connection_window_bytes,
            stream_window_bytes,
            headers_bytes_max: 16 * 1024,
            deadlines: Deadlines::default(),
        }
    }
}

/// The number of file descriptors that this process may open.
fn descriptors() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, capped)
}

/// The number of connections that leave enough of `descriptors` for everything else.
fn connections_max(descriptors: usize) -> usize {
    CONNECTIONS_MAX.min(descriptors - kept(descriptors)).max(1)
}

/// How many of `descriptors` are kept for everything else.
fn kept(descriptors: usize) -> usize {
    DESCRIPTORS_KEPT.min(descriptors / 4)
}

#[cfg(test)]
mod tests {
    use super::connections_max;

    #[test]
    fn connections_leave_descriptors_for_the_database_and_files() {
        assert_eq!(connections_max(128), 96);
        assert_eq!(connections_max(1_024), 960);
        assert_eq!(connections_max(usize::MAX), 10_000);
        assert_eq!(connections_max(2), 2);
    }
}
