//! Runs a node or a front in the simulation, as the commands `turnpike node` and `turnpike front`
//! do in a real process.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use turnpike_front::{FrontConfig, FrontServer};
use turnpike_node::{Node, NodeConfig};
use turnpike_proto::dial::Dial;
use turnpike_store::SharedDatabase;

use crate::network::End;

/// The HTTP/2 settings of the program's server.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The pause after which a process that could not start is started again.
const START_AGAIN: Duration = Duration::from_millis(200);

/// The time between the end of a shutdown and the closing of connections that are still open.
const GRACE: Duration = Duration::from_millis(200);

fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(100_000)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
}

/// Runs a rating node until it is asked to stop or another process takes its name.
pub async fn node(
    mut config: NodeConfig,
    db: Arc<dyn SharedDatabase>,
    dial: Dial,
    sockets: mpsc::UnboundedReceiver<End>,
    mut stop: watch::Receiver<bool>,
) {
    let mut node = loop {
        match Node::start(config.clone(), Arc::clone(&db), dial.clone()).await {
            Ok(node) => break node,
            Err(error) => tracing::warn!(%error, "the node did not start"),
        }
        // A process that is restarted draws another incarnation.
        config.seed = config.seed.wrapping_add(1);
        tokio::time::sleep(START_AGAIN).await;
    };
    let incoming = UnboundedReceiverStream::new(sockets).map(Ok::<_, std::io::Error>);
    let serving = server().add_service(node.service()).serve_with_incoming(incoming);
    let ending = async move {
        tokio::select! {
            () = asked(&mut stop) => {
                // The node still answers requests while it hands its partitions over.
                node.shutdown().await;
                tokio::time::sleep(GRACE).await;
            }
            () = node.stopped() => {}
        }
    };
    tokio::select! {
        served = serving => drop(served),
        () = ending => {}
    }
}

async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Runs a front until it is asked to stop.
pub async fn front(
    config: FrontConfig,
    db: Arc<dyn SharedDatabase>,
    dial: Dial,
    sockets: mpsc::UnboundedReceiver<End>,
    mut stop: watch::Receiver<bool>,
) {
    let front = match FrontServer::start(config, db, dial) {
        Ok(front) => front,
        Err(error) => return tracing::error!(%error, "the front did not start"),
    };
    let incoming = UnboundedReceiverStream::new(sockets).map(Ok::<_, std::io::Error>);
    let serving = server()
        .add_service(front.ingest())
        .add_service(front.accounts())
        .add_service(front.suspense())
        .serve_with_incoming(incoming);
    tokio::select! {
        served = serving => drop(served),
        () = async {
            asked(&mut stop).await;
            front.shutdown().await;
            tokio::time::sleep(GRACE).await;
        } => {}
    }
}
