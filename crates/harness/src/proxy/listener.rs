//! The listener and the controls of the proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::connection::{self, Orders};
use super::flow::{Direction, Flow};
use super::postgres::Losses;

/// A proxy in front of one listener. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: Arc<Mutex<String>>,
    flows: [watch::Sender<Flow>; 2],
    resets: watch::Sender<u64>,
    losses: Losses,
    gate: mpsc::Sender<(Gate, oneshot::Sender<io::Result<()>>)>,
    task: JoinHandle<()>,
}

/// Whether new connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Shut,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1 in front of `upstream` (`host:port`). The server
    /// at `upstream` may be started later.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(upstream: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let upstream = Arc::new(Mutex::new(upstream.into()));
        let flows = [watch::channel(Flow::Pass).0, watch::channel(Flow::Pass).0];
        let resets = watch::channel(0).0;
        let losses = Losses::default();
        let orders = Orders {
            upstream: Arc::clone(&upstream),
            flows: flows.each_ref().map(watch::Sender::subscribe),
            resets: resets.subscribe(),
            losses: losses.clone(),
        };
        let (gate, asked) = mpsc::channel(1);
        let task = tokio::spawn(listen(address, listener, asked, orders));
        Ok(Self { address, upstream, flows, resets, losses, gate, task })
    }

    /// The address at which clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends new connections to this server from now on.
    pub fn set_upstream(&self, upstream: impl Into<String>) {
        *self.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream.into();
    }

    /// Sets the treatment of bytes in a direction, also of those that are queued in the proxy.
    pub fn set(&self, direction: Direction, flow: Flow) {
        if let Some(sender) = self.flows.get(direction.index()) {
            sender.send_replace(flow);
        }
    }

    /// Sets the treatment of bytes in both directions.
    pub fn set_both(&self, flow: Flow) {
        Direction::BOTH.into_iter().for_each(|direction| self.set(direction, flow));
    }

    /// Resets every present connection, at the client and at the server.
    pub fn reset_all(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    /// Refuses new connections, like a host without a listener. Present connections stay.
    ///
    /// # Errors
    /// The proxy has ended.
    pub async fn refuse(&self) -> io::Result<()> {
        self.turn(Gate::Shut).await
    }

    /// Accepts new connections again, at the same address.
    ///
    /// # Errors
    /// Another process has taken the port.
    pub async fn accept(&self) -> io::Result<()> {
        self.turn(Gate::Open).await
    }

    /// For a PostgreSQL server: loses the answers to the next `count` executions of prepared or
    /// plain statements whose text contains `text`. The server carries them out, and their
    /// connections are reset instead of delivering the answer. Prepared statements must have been
    /// prepared through this proxy.
    pub fn lose_answers(&self, text: &str, count: u32) {
        self.losses.arm(text, count);
    }

    /// The number of answers that were lost by [`Proxy::lose_answers`].
    pub fn answers_lost(&self) -> u32 {
        self.losses.done()
    }

    async fn turn(&self, gate: Gate) -> io::Result<()> {
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (done, is_done) = oneshot::channel();
        self.gate.send((gate, done)).await.map_err(|_| ended())?;
        is_done.await.map_err(|_| ended())?
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    address: SocketAddr,
    listener: TcpListener,
    mut asked: mpsc::Receiver<(Gate, oneshot::Sender<io::Result<()>>)>,
    orders: Orders,
) {
    let mut listener = Some(listener);
    // The tasks of the connections; they are aborted when this task is dropped.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            turn = asked.recv() => {
                let Some((gate, done)) = turn else { return };
                let turned = match gate {
                    Gate::Shut => { listener = None; Ok(()) }
                    Gate::Open if listener.is_some() => Ok(()),
                    Gate::Open => TcpListener::bind(address).await.map(|new| listener = Some(new)),
                };
                // A caller that was dropped meanwhile needs no answer.
                let _ = done.send(turned);
            }
            client = accept(listener.as_ref()) => {
                connections.spawn(connection::run(client, orders.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // A temporary error, such as too many open files.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
