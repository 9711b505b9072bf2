//! The load: for each partition, a schedule of small batches that does not wait for answers.
//!
//! ```text
//!  due times --> load_stream.rs (per partition) --> stream --> front
//!                   ^ unanswered batches, in order              |
//!                   +------ retry, or the stream broke <--------+--> BatchAnswer: due, sent, at
//! ```
//!
//! The load is open loop: batches that fall due during a pause are sent after it, and their waits
//! count from their due times. So the measurement has no coordinated omission.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::clock::{LoadClock, Micros};
use crate::load_stream::LoadStream;
use crate::observations::Notes;
use crate::usage::Usage;

/// The parameters of a load.
#[derive(Clone, Debug)]
pub(crate) struct LoadParameters {
    /// Batches per second and partition.
    pub rate: f64,
    /// The time limit for unanswered batches at the end.
    pub patience: Duration,
}

/// A running load.
#[derive(Debug)]
pub(crate) struct Load {
    notes: Notes,
    usages: Vec<Usage>,
    stop: watch::Sender<bool>,
    streams: JoinSet<Result<(u32, u64)>>,
    patience: Duration,
}

/// The sent records: the usage of each load stream, and the number of its batches.
pub(crate) type Sent = Vec<(Usage, u64)>;

impl Load {
    /// Starts to send to `fronts`. A load stream whose gRPC stream breaks switches to the next
    /// front.
    ///
    /// # Errors
    /// A front's address is invalid.
    pub(crate) fn start(
        usages: Vec<Usage>,
        fronts: &[String],
        parameters: &LoadParameters,
        clock: LoadClock,
    ) -> Result<Self> {
        let channels = channels(fronts)?;
        let (stop, stopping) = watch::channel(false);
        let notes = Notes::default();
        let mut streams = JoinSet::new();
        let interval = 1_000_000.0 / parameters.rate.max(0.01);
        let count = usages.len().max(1);
        for (place, usage) in usages.iter().enumerate() {
            // Phases are spread over the interval, so that not all batches are due at once.
            let phase = interval * place as f64 / count as f64;
            let first_due = clock.now() + phase as Micros;
            let stream = LoadStream::new(usage.clone(), clock, first_due, interval, notes.clone());
            // Many load streams share a connection, and different streams begin with different
            // connections.
            let mut mine = channels.clone();
            mine.rotate_left(place % channels.len().max(1));
            streams.spawn(stream.run(mine, stopping.clone()));
        }
        Ok(Self { notes, usages, stop, streams, patience: parameters.patience })
    }

    /// The clients' observations so far.
    pub(crate) fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// Stops new batches, waits for unanswered ones, and returns the sent records.
    ///
    /// # Errors
    /// Batches are still unanswered after the time limit.
    pub(crate) async fn finish(mut self) -> Result<Sent> {
        self.stop.send_replace(true);
        let mut sent = Vec::new();
        let until = tokio::time::Instant::now() + self.patience;
        while !self.streams.is_empty() {
            match tokio::time::timeout_at(until, self.streams.join_next()).await {
                Ok(Some(stream)) => sent.push(stream??),
                Ok(None) => break,
                Err(_) => bail!(
                    "{} of {} partitions have unanswered batches after {:?}",
                    self.streams.len(),
                    self.usages.len(),
                    self.patience
                ),
            }
        }
        let batches = |usage: &Usage| {
            let stream = sent.iter().find(|(partition, _)| *partition == usage.partition);
            stream.map(|(_, batches)| *batches).context("a load stream is missing")
        };
        self.usages.iter().map(|usage| Ok((usage.clone(), batches(usage)?))).collect()
    }
}

/// Creates several connections to each front, in an order that alternates between the fronts.
fn channels(fronts: &[String]) -> Result<Vec<Channel>> {
    const EACH: usize = 2;
    let channel = |front: &String| -> Result<Channel> {
        let endpoint = Endpoint::from_shared(front.clone())?.tcp_nodelay(true);
        Ok(endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy())
    };
    (0..EACH).flat_map(|_| fronts).map(channel).collect()
}
