//! One connection of a client to the proxy, and the proxy's own connection to the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::flow::{Direction, Flow};
use super::postgres::{Conversation, Losses, ServerBytes};
use super::pump::Pump;

/// The controls that all connections of a proxy share.
#[derive(Clone)]
pub(crate) struct Orders {
    pub(crate) upstream: Arc<Mutex<String>>,
    pub(crate) flows: [watch::Receiver<Flow>; 2],
    /// A counter that changes when all present connections are to be reset.
    pub(crate) resets: watch::Receiver<u64>,
    pub(crate) losses: Losses,
}

/// Runs one connection to its end.
pub(crate) async fn run(mut client: TcpStream, mut orders: Orders) {
    // A connection that is closed by now has no options: the copying below notices.
    let _ = client.set_nodelay(true);
    orders.resets.mark_unchanged();
    let mut resets = orders.resets.clone();
    let server = tokio::select! {
        server = reach(&mut orders) => server,
        _ = resets.changed() => None,
    };
    let Some(mut server) = server else {
        // A connection that is closed by now needs no reset.
        let _ = client.set_zero_linger();
        return;
    };
    if !carry(&mut client, &mut server, &mut orders).await {
        // As above.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Connects to the server as soon as bytes may pass; `None` if the server can't be reached.
async fn reach(orders: &mut Orders) -> Option<TcpStream> {
    let flow = orders.flows.get_mut(Direction::ToServer.index())?;
    flow.wait_for(|flow| flow.passes()).await.ok()?;
    let upstream = orders.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let server = TcpStream::connect(upstream).await.ok()?;
    server.set_nodelay(true).ok()?;
    Some(server)
}

/// Forwards bytes in both directions until the connection ends. Returns `false` if the connection
/// is to be reset.
async fn carry(client: &mut TcpStream, server: &mut TcpStream, orders: &mut Orders) -> bool {
    let lost = [const { AtomicBool::new(false) }; 2];
    let [to_server, to_client] = &orders.flows;
    let [lost_to_server, lost_to_client] = &lost;
    let talk = Mutex::new(Conversation::default());
    let talk = || talk.lock().unwrap_or_else(PoisonError::into_inner);
    let ((client_read, client_write), (server_read, server_write)) =
        (client.split(), server.split());
    let losses = orders.losses.clone();
    let there = Pump { flow: to_server.clone(), lost: lost_to_server }.run(
        client_read,
        server_write,
        |bytes| {
            talk().request(bytes, &losses);
            ServerBytes::Pass
        },
    );
    let back = Pump { flow: to_client.clone(), lost: lost_to_client }.run(
        server_read,
        client_write,
        |bytes| talk().answer(bytes, &losses),
    );
    let mut watched = orders.flows.clone();
    tokio::select! {
        ended = async { tokio::try_join!(there, back) } => ended.is_ok(),
        _ = orders.resets.changed() => false,
        () = heals(&mut watched, &lost) => false,
    }
}

/// Waits until bytes may pass again in a direction that has lost bytes.
async fn heals(flows: &mut [watch::Receiver<Flow>; 2], lost: &[AtomicBool; 2]) {
    let [there, back] = flows;
    let [lost_there, lost_back] = lost.each_ref().map(|lost| || lost.load(Ordering::Relaxed));
    loop {
        let healed = tokio::select! {
            changed = there.changed() => changed.is_err() || lost_there() && there.borrow().passes(),
            changed = back.changed() => changed.is_err() || lost_back() && back.borrow().passes(),
        };
        if healed {
            return;
        }
    }
}
