//! The accept loop.

use std::convert::Infallible;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::budget::Budget;
use crate::config::ListenConfig;
use crate::connection::{ConnectionLines, Listening, run};
use crate::table::{Admitted, ConnectionRefusal, ConnectionTable};
use crate::tls::{Handshakes, Transport};

/// The pause after a failed accept: the cause, such as used-up file descriptors, lasts.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the end of a series of refusals is looked for.
const QUIET_CHECK: Duration = Duration::from_secs(5);

/// Serves `service` on `listener` until `stop` completes. Then open requests may finish within the
/// grace. Returns the number of connections that were cut after it.
pub async fn serve<S>(
    listener: TcpListener,
    transport: Transport,
    service: S,
    config: ListenConfig,
    budget: Budget,
    stop: impl Future<Output = ()>,
) -> usize
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let table = Arc::new(ConnectionTable::new(config, budget.clone()));
    let all = Arc::new(Listening {
        config,
        budget,
        transport,
        handshakes: Handshakes::new(config.handshakes_max),
        lines: ConnectionLines::default(),
        service,
        stop: CancellationToken::new(),
        cut: CancellationToken::new(),
    });
    let mut connections = JoinSet::new();
    let mut quiet = tokio::time::interval(QUIET_CHECK);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            _ = quiet.tick() => {
                table.log_quiet();
                continue;
            }
            Some(ended) = connections.join_next() => {
                log_panic(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                admit(stream, address, &table, &all, &mut connections);
            }
            Err(error) => failed(&error, &table).await,
        }
    }
    drop(listener);
    all.stop.cancel();
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(config.deadlines.grace, ended).await.is_ok() {
        return 0;
    }
    let cut = connections.len();
    all.cut.cancel();
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
    cut
}

/// Admits or refuses a connection. One that waits for the end of another one doesn't delay those
/// behind it.
fn admit<S>(
    stream: TcpStream,
    address: SocketAddr,
    table: &Arc<ConnectionTable>,
    all: &Arc<Listening<S>>,
    connections: &mut JoinSet<()>,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let (table, all) = (Arc::clone(table), Arc::clone(all));
    match table.admit_now(address.ip()) {
        Ok(admitted) => {
            connections.spawn(run(stream, address, admitted, all));
        }
        Err(_) => {
            connections.spawn(async move {
                if let Some(admitted) = wait_for_room(address, &table).await {
                    run(stream, address, admitted, all).await;
                }
            });
        }
    }
}

/// Admits a connection that has to wait for the end of another one.
async fn wait_for_room(address: SocketAddr, table: &Arc<ConnectionTable>) -> Option<Admitted> {
    let admitted = match table.wait() {
        Some(_place) => table.admit(address.ip()).await,
        None => Err(ConnectionRefusal::Connections),
    };
    admitted.map_err(|why| table.refused(why, &address.ip().to_string())).ok()
}

/// Handles an accept that failed. Only one kind of failure concerns a single connection.
async fn failed(error: &Error, table: &ConnectionTable) {
    let is_of_client = matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    );
    if is_of_client {
        return;
    }
    table.refused(ConnectionRefusal::Files, &format!("accept: {error}"));
    table.close_idle(None);
    tokio::time::sleep(PAUSE).await;
}

/// A panic of a connection's task ends only that connection.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a connection failed");
    }
}
