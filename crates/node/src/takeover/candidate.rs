//! A takeover: claim the partition, load its state, and serve it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};
use turnpike_shares::queue::FairReceiver;
use turnpike_store::failpoint::{self, Step};
use turnpike_store::{
    CLAIMS_MAX, Claim, ClaimOutcome, Claimed, PartitionSpec, SharedDatabase, StoreError,
};
use turnpike_types::{Epoch, NodeName, capped};

use crate::membership::TakeoverCause;
use crate::owner::{Ended, Owner, Ownership, Queued, Ticks};
use crate::replica::{Replica, ReplicaError, Standby};
use crate::serving::{Gate, Gates, OwnerQueue};
use crate::shared::Shared;

/// A claimant, and later the owner, of one partition.
pub(crate) struct Candidate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) gates: Arc<Gates>,
    pub(crate) ticks: Arc<Ticks>,
    pub(crate) requests: OwnerQueue,
    pub(crate) spec: PartitionSpec,
    pub(crate) cause: TakeoverCause,
    pub(crate) claim: Claim,
    /// The warm replica, if there is one.
    pub(crate) standby: Option<Standby>,
    /// When this node learned of the reason for the claim.
    pub(crate) began: Instant,
    /// For the log lines: the former owner, and how long it was silent.
    pub(crate) owner_before: Option<NodeName>,
    pub(crate) silent: Duration,
    /// The epoch that the claim made; `None` until it has won.
    pub(crate) won: Option<Epoch>,
}

/// How an ownership, or a claim that did not win, ended.
pub(crate) struct OwnerExit {
    pub(crate) ended: Ended,
    /// The warm replica that was not used.
    pub(crate) standby: Option<Standby>,
}

/// Makes all claims in one statement (P20), and sends each candidate the outcome of its own. A
/// candidate that receives no outcome claims by itself.
pub(crate) fn claim_all(
    db: Arc<dyn SharedDatabase>,
    claims: Vec<(Claim, oneshot::Sender<ClaimOutcome>)>,
) {
    if claims.len() > 1 {
        tokio::spawn(async move {
            if let Err(error) = claim_together(db.as_ref(), claims).await {
                tracing::warn!(
                    %error,
                    "several partitions could not be claimed in one call; claiming them one by one"
                );
            }
        });
    }
}

async fn claim_together(
    db: &dyn SharedDatabase,
    claims: Vec<(Claim, oneshot::Sender<ClaimOutcome>)>,
) -> Result<(), StoreError> {
    let (asked, tell): (Vec<Claim>, Vec<_>) = claims.into_iter().unzip();
    let mut tell = tell.into_iter();
    for asked in asked.chunks(CLAIMS_MAX) {
        failpoint::pass(Step::ClaimBefore).await?;
        for outcome in db.claim_many(asked).await? {
            // The candidate may have ended.
            let _ = tell.next().map(|tell| tell.send(outcome));
        }
    }
    Ok(())
}

impl Candidate {
    /// Claims, loads, and serves until the partition is lost or released.
    pub(crate) async fn run(
        mut self,
        told: oneshot::Receiver<ClaimOutcome>,
        mut queue: FairReceiver<Queued>,
    ) -> OwnerExit {
        let partition = self.spec.id;
        self.log_claim();
        let served = AssertUnwindSafe(self.serve(told, &mut queue)).catch_unwind().await;
        let ended = match served {
            Ok(Ok(ended) | Err(ended)) => ended,
            // The state is dropped with the owner, so that nothing of it is seen again.
            Err(panic) => Ended::Panicked(text_of(panic.as_ref())),
        };
        let gate = match &ended {
            Ended::Released { to, .. } => Gate::Left(to.clone()),
            _ => Gate::Shut,
        };
        self.gates.set(partition, gate);
        // Requests in the queue are answered only now, when the node to refer them to is known.
        drop(queue);
        self.log_end(&ended);
        if matches!(ended, Ended::Released { .. }) {
            // The target of the release need not wait for its next observation.
            self.gates.notify_watchers();
        }
        match &ended {
            Ended::Store(error) => self.shared.database_error.set(Some(error.to_string())),
            Ended::Damaged(what) | Ended::Panicked(what) => {
                self.shared.database_error.set(Some(what.clone()))
            }
            _ => {}
        }
        self.gates.wake.notify_one();
        OwnerExit { ended, standby: self.standby }
    }

    async fn serve(
        &mut self,
        told: oneshot::Receiver<ClaimOutcome>,
        queue: &mut FairReceiver<Queued>,
    ) -> Result<Ended, Ended> {
        let claimed = self.claim(told).await?;
        self.won = Some(claimed.epoch);
        let claimed_in = self.began.elapsed();
        failpoint::pass(Step::ClaimWon).await?;
        let (replica, kind) = self.replica(&claimed).await?;
        failpoint::pass(Step::ClaimLoaded).await?;
        let ownership =
            Ownership { spec: self.spec.clone(), epoch: claimed.epoch, claim: self.claim.claim };
        self.log_takeover(&claimed, kind, claimed_in);
        self.gates.set(self.spec.id, Gate::Open(self.requests.clone()));
        let (shared, ticks) = (Arc::clone(&self.shared), Arc::clone(&self.ticks));
        Ok(Owner::new(shared, ownership, ticks, replica).serve(queue).await)
    }

    async fn claim(&self, told: oneshot::Receiver<ClaimOutcome>) -> Result<Claimed, Ended> {
        match told.await {
            Ok(ClaimOutcome::Won(claimed)) => Ok(claimed),
            Ok(ClaimOutcome::Lost) => Err(Ended::Lost),
            // A single claim can end the transaction that blocks it (P3).
            Ok(ClaimOutcome::Busy) | Err(_) => {
                failpoint::pass(Step::ClaimBefore).await?;
                self.shared.db.claim(&self.claim).await?.ok_or(Ended::Lost)
            }
        }
    }

    /// The state at the claimed position, and whether it comes from a warm replica or a checkpoint.
    async fn replica(&mut self, claimed: &Claimed) -> Result<(Replica, &'static str), Ended> {
        let (partition, end) = (self.spec.id, &claimed.position);
        let (db, ticks) = (self.shared.db.as_ref(), &self.ticks);
        let alive = || ticks.tick();
        if let Some(standby) = self.standby.take()
            && let Some(mut replica) = standby.take().await
        {
            match replica.catch_up(db, partition, end, &alive).await {
                Ok(()) => return Ok((replica, "warm")),
                Err(ReplicaError::Store(error)) => return Err(error.into()),
                // The replica is of another history (P18): the log in the database counts.
                Err(error) => {
                    tracing::warn!(
                        %partition, %error,
                        "the warm replica does not fit the log: loading a checkpoint"
                    );
                }
            }
        }
        let _turn = self.shared.loads.acquire().await.map_err(|_| Ended::Stopped)?;
        let mut replica = Replica::load(db, partition, end.next, &alive).await?;
        replica.catch_up(db, partition, end, &alive).await?;
        Ok((replica, "cold"))
    }
}

/// The log lines of a takeover. They share their fields: the winner logs its claim and its success,
/// the loser the end of its ownership.
impl Candidate {
    fn log_claim(&self) {
        tracing::info!(
            node = self.node(),
            partition = self.spec.id.0,
            from_epoch = self.claim.seen.number(),
            owner_before = self.owner_before(),
            cause = self.cause.word(),
            silent_ms = millis(self.silent),
            "claims the partition"
        );
    }

    fn log_takeover(&self, claimed: &Claimed, copy: &'static str, claimed_in: Duration) {
        let (cause, elapsed) = (self.cause.word(), self.began.elapsed());
        metrics::counter!("turnpike_takeovers_total", "cause" => cause, "copy" => copy)
            .increment(1);
        metrics::histogram!("turnpike_takeover_seconds", "cause" => cause, "copy" => copy)
            .record(elapsed.as_secs_f64());
        tracing::info!(
            node = self.node(),
            partition = self.spec.id.0,
            epoch = claimed.epoch.number(),
            from_epoch = self.claim.seen.number(),
            owner_before = self.owner_before(),
            cause,
            silent_ms = millis(self.silent),
            copy,
            segments = claimed.position.next.0 - 1,
            claimed_ms = millis(claimed_in),
            elapsed_ms = millis(elapsed),
            "serves the partition"
        );
    }

    fn log_end(&self, ended: &Ended) {
        let (partition, reason) = (self.spec.id.0, ended.word());
        let (epoch, from_epoch) = (self.won.map(Epoch::number), self.claim.seen.number());
        metrics::counter!("turnpike_ownerships_ended_total", "reason" => reason).increment(1);
        let node = self.node();
        match ended {
            Ended::Released { to, .. } => {
                let to = to.as_ref().map(|to| to.0.as_str());
                tracing::info!(node, partition, epoch, reason, to, "released the partition");
            }
            Ended::Lost => {
                let cause = self.cause.word();
                let what = "another member claimed the partition first";
                tracing::info!(node, partition, from_epoch, cause, reason, "{what}");
            }
            error if epoch.is_none() => {
                let what = "the claim failed";
                tracing::warn!(node, partition, from_epoch, reason, %error, "{what}");
            }
            error => {
                let what = "stopped serving the partition";
                tracing::warn!(node, partition, epoch, reason, %error, "{what}");
            }
        }
    }

    fn node(&self) -> &str {
        &self.claim.node.0
    }

    fn owner_before(&self) -> Option<&str> {
        self.owner_before.as_ref().map(|owner| owner.0.as_str())
    }
}

/// The message of a panic.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

fn millis(duration: Duration) -> u64 {
    capped(duration.as_millis())
}
