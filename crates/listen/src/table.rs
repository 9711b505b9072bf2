//! Who is connected: the number of connections in all and from each address, and which one is
//! closed to make room for another.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::budget::{Budget, BudgetShare, MemoryPart};
use crate::config::{ListenConfig, WINDOW_MIN};
use crate::locking::lock;
use crate::progress::Progress;

/// How long a new connection waits for a closed one to be gone.
const CLOSING: Duration = Duration::from_secs(1);
/// The most new connections that wait for that at once.
const WAITING_MAX: usize = 64;
/// After this time without a refusal, connections count as accepted again.
const QUIET: Duration = Duration::from_secs(10);

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ConnectionRefusal {
    /// The process has its maximum of connections.
    Connections,
    /// The address has its maximum.
    Address,
    /// No memory is left for a window.
    Memory,
    /// The process has no file descriptor left.
    Files,
}

impl ConnectionRefusal {
    const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "address",
            Self::Memory => "memory",
            Self::Files => "files",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Connections => {
                "all connections have open requests; raise the limit of open files, or add a server"
            }
            Self::Address => "this address has its maximum of connections, all with open requests",
            Self::Memory => "no memory is left for receive windows; raise --memory",
            Self::Files => "the process has no file descriptor left; raise the limit of open files",
        }
    }
}

/// The connections of a listener.
#[derive(Debug)]
pub(crate) struct ConnectionTable {
    config: ListenConfig,
    budget: Budget,
    present: Mutex<Present>,
    next: AtomicU64,
    /// A connection ended.
    ended: Notify,
    /// The number of new connections that wait until another one has ended.
    waiting: AtomicUsize,
}

/// The place of a new connection that waits for room.
#[derive(Debug)]
pub(crate) struct WaitingPlace<'a>(&'a AtomicUsize);

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug, Default)]
struct Present {
    connections: HashMap<u64, Connected>,
    by_address: HashMap<IpAddr, usize>,
    last_refused: HashMap<ConnectionRefusal, Instant>,
}

#[derive(Debug)]
struct Connected {
    address: IpAddr,
    progress: Arc<Progress>,
    close: Arc<Notify>,
    /// It was asked to close.
    is_closing: bool,
}

/// An admitted connection.
#[derive(Debug)]
pub(crate) struct Admitted {
    table: Arc<ConnectionTable>,
    number: u64,
    pub(crate) progress: Arc<Progress>,
    close: Arc<Notify>,
    /// The window's share of the budget, whose size is the window's.
    window: Option<BudgetShare>,
}

impl ConnectionTable {
    pub(crate) fn new(config: ListenConfig, budget: Budget) -> Self {
        let (present, next, ended) = (Mutex::default(), AtomicU64::new(0), Notify::new());
        Self { config, budget, present, next, ended, waiting: AtomicUsize::new(0) }
    }

    /// Admits a connection from `address`, if there is room.
    pub(crate) fn admit_now(
        self: &Arc<Self>,
        address: IpAddr,
    ) -> Result<Admitted, ConnectionRefusal> {
        self.try_admit(network(address))
    }

    /// Enters a connection that waits for room, unless too many do.
    pub(crate) fn wait(&self) -> Option<WaitingPlace<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let place = WaitingPlace(&self.waiting);
        (before < WAITING_MAX).then_some(place)
    }

    /// Admits a connection from `address`; the one that is idle longest is closed if that makes the
    /// room for it.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        address: IpAddr,
    ) -> Result<Admitted, ConnectionRefusal> {
        let address = network(address);
        let deadline = Instant::now() + CLOSING;
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // From here on, the end of a connection is not missed.
            ended.as_mut().enable();
            let refusal = match self.try_admit(address) {
                Ok(admitted) => return Ok(admitted),
                Err(refusal) => refusal,
            };
            let among = (refusal == ConnectionRefusal::Address).then_some(address);
            let has_closing = self.close_idle(among);
            if !has_closing || tokio::time::timeout_at(deadline, ended).await.is_err() {
                return Err(refusal);
            }
        }
    }

    fn try_admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, ConnectionRefusal> {
        let mut present = lock(&self.present);
        if present.connections.len() >= self.config.connections_max {
            return Err(ConnectionRefusal::Connections);
        }
        let of_address = present.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.config.connections_per_address_max {
            return Err(ConnectionRefusal::Address);
        }
        let window = self.window().ok_or(ConnectionRefusal::Memory)?;
        present.by_address.insert(address, of_address + 1);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (progress, close) = (Arc::new(Progress::new()), Arc::new(Notify::new()));
        let connected = Connected {
            address,
            progress: Arc::clone(&progress),
            close: Arc::clone(&close),
            is_closing: false,
        };
        present.connections.insert(number, connected);
        metrics::gauge!("turnpike_connections").set(present.connections.len() as f64);
        Ok(Admitted { table: Arc::clone(self), number, progress, close, window: Some(window) })
    }

    /// The window of a new connection: the configured one while half of this part of the budget is
    /// free; a quarter of it, and a sixteenth, while three and two eighths are free; then the
    /// smallest one. So many connections that come early leave room for those that come late.
    fn window(&self) -> Option<BudgetShare> {
        let (used, max) =
            (self.budget.used(MemoryPart::Windows), self.budget.max(MemoryPart::Windows));
        let large = self.config.connection_window_bytes;
        for (bytes, used_max) in
            [(large, max / 2), (large / 4, max / 8 * 5), (large / 16, max / 4 * 3)]
        {
            let bytes = bytes.max(WINDOW_MIN) as usize;
            if used.saturating_add(bytes) <= used_max
                && let Some(window) = self.budget.reserve(MemoryPart::Windows, bytes)
            {
                return Some(window);
            }
        }
        self.budget.reserve(MemoryPart::Windows, WINDOW_MIN as usize)
    }

    /// Asks the connection to close that is idle longest, first among those that never sent a
    /// request. Returns whether one is closing.
    pub(crate) fn close_idle(&self, among: Option<IpAddr>) -> bool {
        let mut present = lock(&self.present);
        let mut chosen: Option<(&mut Connected, (bool, Instant))> = None;
        for connected in present.connections.values_mut() {
            if among.is_some_and(|address| address != connected.address) {
                continue;
            }
            if connected.is_closing {
                return true;
            }
            let Some(idle) = connected.progress.idle() else { continue };
            if chosen.as_ref().is_none_or(|(_, other)| idle < *other) {
                chosen = Some((connected, idle));
            }
        }
        let Some((connected, _)) = chosen else { return false };
        connected.is_closing = true;
        connected.close.notify_one();
        true
    }

    /// Counts a refused connection, and logs the first one of a series.
    pub(crate) fn refused(&self, why: ConnectionRefusal, from: &str) {
        metrics::counter!("turnpike_connections_refused_total", "cause" => why.name()).increment(1);
        let now = Instant::now();
        let mut present = lock(&self.present);
        let last = present.last_refused.insert(why, now);
        let connections = present.connections.len();
        drop(present);
        if last.is_none_or(|last| now.duration_since(last) >= QUIET) {
            tracing::warn!(
                cause = why.name(),
                from,
                connections,
                connections_max = self.config.connections_max,
                "connections are refused: {}",
                why.remedy()
            );
        }
    }

    /// Logs the end of each series of refusals.
    pub(crate) fn log_quiet(&self) {
        let now = Instant::now();
        let mut present = lock(&self.present);
        let over = present.last_refused.extract_if(|_, last| now.duration_since(*last) >= QUIET);
        let over: Vec<_> = over.map(|(why, _)| why.name()).collect();
        drop(present);
        for cause in over {
            tracing::info!(cause, "connections are accepted again");
        }
    }
}

impl Admitted {
    /// Completes when the connection must make room for another.
    pub(crate) async fn must_close(&self) {
        self.close.notified().await;
    }

    /// The size of the connection's window in bytes.
    pub(crate) fn window_bytes(&self) -> u32 {
        self.window.as_ref().map_or(0, |window| turnpike_types::capped(window.bytes()))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut present = lock(&self.table.present);
        if let Some(connected) = present.connections.remove(&self.number)
            && let Some(count) = present.by_address.get_mut(&connected.address)
        {
            *count -= 1;
            if *count == 0 {
                present.by_address.remove(&connected.address);
            }
        }
        metrics::gauge!("turnpike_connections").set(present.connections.len() as f64);
        drop(present);
        // Before a new connection tries again.
        self.window = None;
        self.table.ended.notify_waiters();
    }
}

/// The address by which connections are counted: an IPv6 client can choose among the addresses of
/// its network.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bounded_number_of_connections_waits_for_room_side_by_side() {
        let config = ListenConfig { connections_max: 1, ..ListenConfig::front() };
        let table = Arc::new(ConnectionTable::new(config, Budget::new(64 << 20)));
        let address = IpAddr::from([127, 0, 0, 1]);
        // It is idle, and slow to close.
        let _slow = table.admit_now(address).unwrap();
        assert!(table.admit_now(address).is_err(), "a connection without room does not wait");
        let begun = Instant::now();
        let places: Vec<_> = (0..WAITING_MAX).map(|_| table.wait().unwrap()).collect();
        assert!(table.wait().is_none());
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let table = Arc::clone(&table);
                tokio::spawn(async move { table.admit(address).await.err() })
            })
            .collect();
        for refused in waiting {
            assert_eq!(refused.await.unwrap(), Some(ConnectionRefusal::Connections));
        }
        assert_eq!(begun.elapsed(), CLOSING);
        drop(places);
        assert!(table.wait().is_some());
    }
}
