//! Simulated connections between hosts. Data arrives in order and after a delay; while a link is
//! held, no data arrives.
//!
//! A held link loses no data: TCP retransmits, and data that was written before the repair arrives
//! after it. A host without power sends nothing; when it has power again, it resets connections
//! from before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use turnpike_proto::dial::{Dial, DialError, endpoint};

/// Maximum number of bytes in flight in one direction; a writer waits when it is reached.
const WIRE_BYTES_MAX: usize = 1 << 20;
/// The time after which a connection attempt is repeated, if the network did not deliver it.
const SYN_AGAIN: Duration = Duration::from_millis(50);

/// One direction of a connection.
struct Wire {
    from: String,
    to: String,
    transit: VecDeque<(u64, Bytes)>,
    ready: VecDeque<Bytes>,
    bytes: usize,
    /// Whether the writer has closed this direction. The reader gets the end of the stream after
    /// the last byte.
    closed: bool,
    eof: bool,
    reset: bool,
    reader_gone: bool,
    /// Whether one of the two hosts has lost its power since this connection began. If so, no more
    /// data is delivered.
    dark: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

type SharedWire = Arc<Mutex<Wire>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Makes the bytes readable that arrive at `now_us` or earlier.
    fn deliver(&mut self, now_us: u64) {
        let mut moved = false;
        while self.transit.front().is_some_and(|(at, _)| *at <= now_us) {
            if let Some((_, bytes)) = self.transit.pop_front() {
                self.ready.push_back(bytes);
                moved = true;
            }
        }
        if self.closed && self.transit.is_empty() && !self.eof {
            self.eof = true;
            moved = true;
        }
        if moved {
            self.wake();
        }
    }
}

#[derive(Default)]
struct Net {
    now_us: u64,
    latency_max_us: u64,
    chance: Option<StdRng>,
    connections: Vec<(SharedWire, SharedWire)>,
    listeners: BTreeMap<String, mpsc::UnboundedSender<End>>,
    /// Directions (from, to) in which no data is delivered.
    held: BTreeSet<(String, String)>,
    /// Hosts without power.
    dark: BTreeSet<String>,
}

impl Net {
    fn is_held(&self, from: &str, to: &str) -> bool {
        self.dark.contains(from)
            || self.dark.contains(to)
            || (!self.held.is_empty() && self.held.contains(&(from.to_owned(), to.to_owned())))
    }

    fn latency(&mut self) -> u64 {
        let most = self.latency_max_us;
        self.chance.as_mut().map_or(0, |chance| chance.random_range(0..=most))
    }
}

/// The network.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Net>>);

impl Network {
    /// A network with a latency of up to `latency_max` in each direction.
    pub fn new(seed: u64, latency_max: Duration) -> Self {
        let latency_max_us = u64::try_from(latency_max.as_micros()).unwrap_or(u64::MAX);
        let chance = Some(StdRng::seed_from_u64(seed));
        Self(Arc::new(Mutex::new(Net { latency_max_us, chance, ..Net::default() })))
    }

    /// Sets the time, and delivers on all connections the data that arrives at this time or
    /// earlier.
    pub fn deliver(&self, now_us: u64) {
        let mut net = lock(&self.0);
        net.now_us = now_us;
        let connections = std::mem::take(&mut net.connections);
        for (there, back) in &connections {
            for (wire, other) in [(there, back), (back, there)] {
                let mut wire = lock(wire);
                if wire.reset || net.is_held(&wire.from, &wire.to) {
                    continue;
                }
                let late = wire.transit.front().is_some_and(|(at, _)| *at <= now_us);
                if late && (wire.dark || wire.reader_gone) {
                    // The receiving host has closed or lost this connection, so it answers with a
                    // reset.
                    let mut other = lock(other);
                    for wire in [&mut *wire, &mut *other] {
                        wire.reset = true;
                        wire.wake();
                    }
                } else if !wire.dark {
                    wire.deliver(now_us);
                }
            }
        }
        let over = |wire: &SharedWire| {
            let wire = lock(wire);
            wire.reset || (wire.eof && wire.reader_gone)
        };
        net.connections = connections;
        net.connections.retain(|(there, back)| !(over(there) && over(back)));
    }

    /// Starts to listen at `host`. The returned receiver gets each new connection.
    pub fn listen(&self, host: &str) -> mpsc::UnboundedReceiver<End> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut net = lock(&self.0);
        net.dark.remove(host);
        net.listeners.insert(host.to_owned(), sender);
        receiver
    }

    /// Refuses new connections to `host` from now on.
    pub fn close(&self, host: &str) {
        lock(&self.0).listeners.remove(host);
    }

    /// `host` loses its power: its connections deliver no data, and are not closed either.
    pub fn darken(&self, host: &str) {
        let mut net = lock(&self.0);
        net.listeners.remove(host);
        net.dark.insert(host.to_owned());
        for (there, back) in &net.connections {
            for wire in [there, back] {
                let mut wire = lock(wire);
                wire.dark |= wire.from == host || wire.to == host;
            }
        }
    }

    /// `host` has power again; no process listens there yet.
    pub fn lighten(&self, host: &str) {
        lock(&self.0).dark.remove(host);
    }

    /// Holds all data in this direction from now on.
    pub fn hold(&self, from: &str, to: &str) {
        lock(&self.0).held.insert((from.to_owned(), to.to_owned()));
    }

    /// Ends [`Self::hold`]: the held data is delivered, and so is later data.
    pub fn release(&self, from: &str, to: &str) {
        lock(&self.0).held.remove(&(from.to_owned(), to.to_owned()));
    }

    /// Breaks all connections between two hosts.
    pub fn cut(&self, one: &str, other: &str) {
        let net = lock(&self.0);
        for (there, back) in &net.connections {
            for wire in [there, back] {
                let mut wire = lock(wire);
                let is_between = (wire.from == one && wire.to == other)
                    || (wire.from == other && wire.to == one);
                if is_between {
                    wire.reset = true;
                    wire.wake();
                }
            }
        }
    }

    /// The dialler by which `from` connects to other hosts.
    pub fn dial(&self, from: &str) -> Dial {
        let (net, from) = (self.clone(), from.to_owned());
        Dial::new(move |address| {
            let endpoint = endpoint(address)?;
            let to = address.split(':').next().unwrap_or_default().to_owned();
            if to.is_empty() {
                let cause = "the address names no host".to_owned();
                return Err(DialError { address: address.to_owned(), cause });
            }
            let (net, from) = (net.clone(), from.clone());
            let connector = tower::service_fn(move |_: tonic::transport::Uri| {
                let (net, from, to) = (net.clone(), from.clone(), to.clone());
                async move { net.connect(&from, &to).await.map(hyper_util::rt::TokioIo::new) }
            });
            Ok(endpoint.connect_with_connector_lazy(connector))
        })
    }

    /// Connects. Waits while the network delivers no data in one of the two directions.
    async fn connect(&self, from: &str, to: &str) -> Result<End, Error> {
        loop {
            if let Some(done) = self.try_connect(from, to) {
                // The time of the handshake.
                tokio::time::sleep(Duration::from_millis(1)).await;
                return done;
            }
            tokio::time::sleep(SYN_AGAIN).await;
        }
    }

    fn try_connect(&self, from: &str, to: &str) -> Option<Result<End, Error>> {
        let mut net = lock(&self.0);
        if net.is_held(from, to) || net.is_held(to, from) {
            return None;
        }
        let refused =
            || Some(Err(Error::new(ErrorKind::ConnectionRefused, "no process listens there")));
        let Some(listener) = net.listeners.get(to) else { return refused() };
        let there = wire(from, to);
        let back = wire(to, from);
        let far = End { net: self.clone(), reads: Arc::clone(&there), writes: Arc::clone(&back) };
        if let Err(gone) = listener.send(far) {
            // Dropping the end of a connection takes the locks of its directions, so release this
            // lock first.
            drop(net);
            drop(gone);
            return refused();
        }
        net.connections.push((Arc::clone(&there), Arc::clone(&back)));
        Some(Ok(End { net: self.clone(), reads: back, writes: there }))
    }
}

fn wire(from: &str, to: &str) -> SharedWire {
    Arc::new(Mutex::new(Wire {
        from: from.to_owned(),
        to: to.to_owned(),
        transit: VecDeque::new(),
        ready: VecDeque::new(),
        bytes: 0,
        closed: false,
        eof: false,
        reset: false,
        reader_gone: false,
        dark: false,
        reader: None,
        writer: None,
    }))
}

/// One end of a connection.
pub struct End {
    net: Network,
    reads: SharedWire,
    writes: SharedWire,
}

impl tonic::transport::server::Connected for End {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut wire = lock(&self.reads);
        if wire.reset {
            return Poll::Ready(Err(Error::new(ErrorKind::ConnectionReset, "reset")));
        }
        if wire.ready.is_empty() {
            if wire.eof {
                return Poll::Ready(Ok(()));
            }
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        while let Some(mut bytes) = wire.ready.pop_front() {
            let take = bytes.len().min(buffer.remaining());
            buffer.put_slice(bytes.get(..take).unwrap_or_default());
            wire.bytes -= take;
            bytes.advance(take);
            if !bytes.is_empty() {
                wire.ready.push_front(bytes);
                break;
            }
        }
        if let Some(writer) = wire.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let at = {
            let mut net = lock(&self.net.0);
            net.now_us + net.latency()
        };
        let mut wire = lock(&self.writes);
        if wire.reset || wire.closed {
            return Poll::Ready(Err(Error::new(ErrorKind::BrokenPipe, "reset")));
        }
        if wire.bytes >= WIRE_BYTES_MAX {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // Later data is never delivered before earlier data.
        let at = wire.transit.back().map_or(at, |(last, _)| at.max(*last));
        wire.transit.push_back((at, Bytes::copy_from_slice(bytes)));
        wire.bytes += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        lock(&self.writes).closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.writes).closed = true;
        lock(&self.reads).reader_gone = true;
    }
}
