//! Forwards the bytes of one direction of a connection.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::flow::Flow;
use super::postgres::ServerBytes;

const CHUNK_BYTES: usize = 16 * 1024;
const CHUNKS: usize = 64;
/// The maximum number of bytes that one direction of a connection queues, in addition to the
/// kernel's buffers.
pub const QUEUED_BYTES_MAX: usize = CHUNK_BYTES * CHUNKS;

/// Bytes, or the end of the stream, and the time before which they are not delivered.
struct Chunk {
    due: Option<Instant>,
    /// Empty for the end of the stream.
    bytes: Vec<u8>,
}

/// The controls of one direction.
pub(crate) struct Pump<'a> {
    pub(crate) flow: watch::Receiver<Flow>,
    /// Whether bytes of this direction were dropped.
    pub(crate) lost: &'a AtomicBool,
}

impl Pump<'_> {
    /// Forwards bytes from one end to the other, until it has forwarded the end of the stream.
    /// `look` gets the bytes before they are queued, and decides on their treatment.
    ///
    /// # Errors
    /// The connection of either end broke, or `look` returned that it must be cut.
    pub(crate) async fn run(
        mut self,
        from: ReadHalf<'_>,
        to: WriteHalf<'_>,
        look: impl FnMut(&[u8]) -> ServerBytes,
    ) -> io::Result<()> {
        let (queue, queued) = mpsc::channel(CHUNKS);
        let reader = read(from, self.flow.clone(), self.lost, queue, look);
        let writer = self.write(queued, to);
        tokio::try_join!(reader, writer).map(|_| ())
    }

    async fn write(
        &mut self,
        mut queued: mpsc::Receiver<Chunk>,
        mut to: WriteHalf<'_>,
    ) -> io::Result<()> {
        while let Some(chunk) = queued.recv().await {
            if let Some(due) = chunk.due {
                sleep_until(due).await;
            }
            match self.flow.wait_for(|flow| *flow != Flow::Hold).await {
                Ok(flow) if flow.passes() && !self.lost.load(Ordering::Relaxed) => {}
                Ok(_) => {
                    self.lost.store(true, Ordering::Relaxed);
                    continue;
                }
                Err(_) => return Err(io::ErrorKind::ConnectionReset.into()),
            }
            if chunk.bytes.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk.bytes).await?;
        }
        // The end of the stream was dropped: only a reset ends this connection now.
        std::future::pending().await
    }
}

async fn read(
    mut from: ReadHalf<'_>,
    flow: watch::Receiver<Flow>,
    lost: &AtomicBool,
    queue: mpsc::Sender<Chunk>,
    mut look: impl FnMut(&[u8]) -> ServerBytes,
) -> io::Result<()> {
    loop {
        let mut bytes = vec![0; CHUNK_BYTES];
        let count = from.read(&mut bytes).await?;
        bytes.truncate(count);
        let due = match *flow.borrow() {
            Flow::Pass | Flow::Hold => None,
            Flow::Delay(delay) => Some(Instant::now() + delay.max(Duration::from_millis(1))),
            Flow::Vanish => {
                lost.store(true, Ordering::Relaxed);
                None
            }
        };
        match look(&bytes) {
            ServerBytes::Pass => {}
            ServerBytes::Swallow if count == 0 => {}
            ServerBytes::Swallow => continue,
            ServerBytes::Cut => return Err(io::ErrorKind::ConnectionReset.into()),
        }
        if !lost.load(Ordering::Relaxed) && queue.send(Chunk { due, bytes }).await.is_err() {
            return Ok(());
        }
        if count == 0 {
            return Ok(());
        }
    }
}
