//! The load: for each partition a schedule of small batches that does not wait for answers.
//!
//! ```text
//!  due times --> lane (one a partition) --> stream --> front
//!                  ^ everything unanswered, in order      |
//!                  +------ retry, or the stream broke <---+--> Answer: due, sent, answered
//! ```
//!
//! Open loop: what was due while the cluster stood still is sent when it goes on, and its wait
//! counts from its due time. So a pause can't hide behind a client that waits politely.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::clock::{Clock, Micros};
use crate::lane::Lane;
use crate::usage::Usage;

/// A batch's last answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Which partition's records.
    pub partition: u32,
    /// When it was to be sent.
    pub due: Micros,
    /// When it was sent the last time.
    pub sent: Micros,
    /// When the answer came.
    pub at: Micros,
}

/// What the clients were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Batches answered for good, in the order of the answers.
    pub answers: Vec<Answer>,
    /// Records taken: rated now, or before.
    pub accepted: u64,
    /// Records suspended or rejected.
    pub refused: u64,
    /// Batches that were answered RETRY: when.
    pub retries: Vec<Micros>,
    /// Streams that broke: when.
    pub breaks: Vec<Micros>,
    /// A refusal in words, if there was one.
    pub why: Option<String>,
}

/// What all lanes note down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Told>>);

impl Notes {
    /// What was noted so far.
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a load runs.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Batches a second and partition.
    pub rate: f64,
    /// How long what is unanswered at the end may take.
    pub patience: Duration,
}

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load {
    notes: Notes,
    usages: Vec<Usage>,
    stop: watch::Sender<bool>,
    lanes: JoinSet<Result<(u32, u64)>>,
    patience: Duration,
}

/// What was sent in all: each lane's usage, and how many batches of it.
pub(crate) type Sent = Vec<(Usage, u64)>;

impl Load {
    /// Begins to send to `fronts`, each lane to the next one whenever its stream breaks.
    ///
    /// # Errors
    /// A front's address is none.
    pub(crate) fn start(
        usages: Vec<Usage>,
        fronts: &[String],
        pace: &Pace,
        clock: Clock,
    ) -> Result<Self> {
        let channels = channels(fronts)?;
        let (stop, stopping) = watch::channel(false);
        let notes = Notes::default();
        let mut lanes = JoinSet::new();
        let interval = 1_000_000.0 / pace.rate.max(0.01);
        let count = usages.len().max(1);
        for (place, usage) in usages.iter().enumerate() {
            // Spread over the interval, so that not all are due at once.
            let phase = interval * place as f64 / count as f64;
            let first_due = clock.now() + phase as Micros;
            let lane = Lane::new(usage.clone(), clock, first_due, interval, notes.clone());
            // Few connections, many streams; but not one connection for all.
            let mut mine = channels.clone();
            mine.rotate_left(place % channels.len().max(1));
            lanes.spawn(lane.run(mine, stopping.clone()));
        }
        Ok(Self { notes, usages, stop, lanes, patience: pace.patience })
    }

    /// What the clients were told so far.
    pub(crate) fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// Stops sending new batches, waits for what is unanswered; what was sent.
    ///
    /// # Errors
    /// Something is unanswered when patience ends.
    pub(crate) async fn finish(mut self) -> Result<Sent> {
        self.stop.send_replace(true);
        let mut sent = Vec::new();
        let until = tokio::time::Instant::now() + self.patience;
        while !self.lanes.is_empty() {
            match tokio::time::timeout_at(until, self.lanes.join_next()).await {
                Ok(Some(lane)) => sent.push(lane??),
                Ok(None) => break,
                Err(_) => bail!(
                    "{} of {} partitions have unanswered batches after {:?}",
                    self.lanes.len(),
                    self.usages.len(),
                    self.patience
                ),
            }
        }
        let batches = |usage: &Usage| {
            let lane = sent.iter().find(|(partition, _)| *partition == usage.partition);
            lane.map(|(_, batches)| *batches).context("a lane is missing")
        };
        self.usages.iter().map(|usage| Ok((usage.clone(), batches(usage)?))).collect()
    }
}

/// Several connections to each front, the fronts in turn.
fn channels(fronts: &[String]) -> Result<Vec<Channel>> {
    const EACH: usize = 2;
    let channel = |front: &String| -> Result<Channel> {
        let endpoint = Endpoint::from_shared(front.clone())?.tcp_nodelay(true);
        Ok(endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy())
    };
    (0..EACH).flat_map(|_| fronts).map(channel).collect()
}
