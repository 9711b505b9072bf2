//! A standby: a warm replica that follows a partition's log, so that a takeover costs a claim and
//! the last few segments.
//!
//! ```text
//!   node/runner.rs, each round: the log's observed end --watch--> follow: read, apply, report position
//!   a claim that won:    take() --> the replica becomes the owner's state
//!   an owner that released the partition returns its state, to be followed from there (P13)
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use turnpike_store::{Following, SegmentPosition};
use turnpike_types::PartitionId;

use super::copy::{Replica, ReplicaError};
use crate::gauges::Sizes;
use crate::shared::Shared;

/// The order to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Follow the log up to this position.
    Follow(SegmentPosition),
    /// Return the replica.
    Stop,
}

/// A followed partition.
#[derive(Debug)]
pub(crate) struct Standby {
    asked: watch::Sender<Asked>,
    reached: Arc<Mutex<Option<Following>>>,
    task: JoinHandle<Option<Replica>>,
}

impl Standby {
    /// Starts to follow, from `replica` if there is one, else from the newest checkpoint.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        partition: PartitionId,
        end: SegmentPosition,
        replica: Option<Replica>,
    ) -> Self {
        let (asked, told) = watch::channel(Asked::Follow(end));
        let reached = Arc::new(Mutex::new(None));
        let follower = Follower {
            shared: Arc::clone(shared),
            partition,
            told,
            reached: Arc::clone(&reached),
            sizes: Sizes::new(partition, "standby"),
        };
        Self { asked, reached, task: tokio::spawn(follower.run(replica)) }
    }

    /// Sets the observed end of the log.
    pub(crate) fn follow(&self, end: SegmentPosition) {
        self.asked.send_if_modified(|asked| {
            let fresh = Asked::Follow(end);
            // `Stop` is final.
            let changed = *asked != Asked::Stop && *asked != fresh;
            if changed {
                *asked = fresh;
            }
            changed
        });
    }

    /// The position of the replica; `None` while there is no replica.
    pub(crate) fn reached(&self) -> Option<Following> {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops following, and returns the replica as far as it got.
    pub(crate) async fn take(self) -> Option<Replica> {
        self.asked.send_replace(Asked::Stop);
        self.task.await.ok().flatten()
    }
}

struct Follower {
    shared: Arc<Shared>,
    partition: PartitionId,
    told: watch::Receiver<Asked>,
    reached: Arc<Mutex<Option<Following>>>,
    sizes: Sizes,
}

impl Follower {
    async fn run(mut self, mut replica: Option<Replica>) -> Option<Replica> {
        loop {
            let asked = *self.told.borrow_and_update();
            let Asked::Follow(end) = asked else { return replica };
            let mut stop = self.told.clone();
            let stopped = stop.wait_for(|asked| *asked == Asked::Stop);
            // A stop drops the step between two segments, so the replica stays whole.
            let done = tokio::select! {
                biased;
                stopped = stopped => match stopped {
                    Ok(_) => return replica,
                    // The standby was dropped, so the replica is not needed.
                    Err(_) => return None,
                },
                done = self.step(&mut replica, &end) => done,
            };
            match done {
                // Wait until there is more to do.
                Ok(()) if self.told.changed().await.is_ok() => {}
                Ok(()) => return None,
                Err(error) => {
                    let partition = self.partition;
                    tracing::warn!(%partition, %error, "the standby can't follow the log");
                    if !matches!(error, ReplicaError::Store(_)) {
                        // The replica is of another history, or the log is unreadable: load again
                        // from a checkpoint.
                        replica = None;
                    }
                    self.note(replica.as_ref());
                    self.pause().await;
                }
            }
        }
    }

    /// Applies the log up to its observed end.
    async fn step(
        &self,
        replica: &mut Option<Replica>,
        end: &SegmentPosition,
    ) -> Result<(), ReplicaError> {
        let db = self.shared.db.as_ref();
        let replica = match replica {
            Some(replica) => replica,
            None => replica.insert(Replica::load(db, self.partition, end.next, &|| ()).await?),
        };
        if replica.last().0.next() > end.next {
            // The position is older than the replica, or the log was rolled back. In the latter
            // case the next claim notices the other hash.
            self.note(Some(replica));
            return Ok(());
        }
        let before = replica.last().0;
        let done = replica.catch_up(db, self.partition, end, &|| ()).await;
        self.note(Some(replica));
        done?;
        if replica.log_bytes >= self.shared.config.checkpoint_log_bytes && replica.last().0 > before
        {
            replica.note_checkpoints(&db.checkpoints(self.partition).await?);
            replica.state.sweep();
        }
        Ok(())
    }

    fn note(&self, replica: Option<&Replica>) {
        self.sizes.note(replica.map(|replica| &replica.state));
        let reached = replica.map(|replica| {
            let (segment, hash) = replica.last();
            Following { partition: self.partition, segment, hash }
        });
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = reached;
    }

    async fn pause(&mut self) {
        let stop = self.told.wait_for(|asked| *asked == Asked::Stop);
        let _ = tokio::time::timeout(self.shared.config.heartbeat * 2, stop).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
