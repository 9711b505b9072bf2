//! A takeover: a claim, a copy of the state, and then an owner that serves.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use turnpike_store::{
    CLAIMS_MAX, Claim, ClaimOutcome, Claimed, PartitionSpec, SharedDatabase, StoreError,
};

use crate::copy::{Copy, CopyError};
use crate::doors::{Door, Doors, Gate};
use crate::membership::Cause;
use crate::owner::{Ended, Owner, Ownership, Queued, Shared, Ticks};
use crate::standby::Standby;

/// An owner to be.
pub(crate) struct Candidate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) doors: Arc<Doors>,
    pub(crate) ticks: Arc<Ticks>,
    pub(crate) requests: Door,
    pub(crate) spec: PartitionSpec,
    pub(crate) cause: Cause,
    pub(crate) claim: Claim,
    /// The warm copy, if there is one.
    pub(crate) standby: Option<Standby>,
    /// When the reason for the claim came to be known here.
    pub(crate) began: Instant,
}

/// How an owner, or who wanted to become one, ended.
pub(crate) struct Gone {
    pub(crate) ended: Ended,
    /// The warm copy that was not needed.
    pub(crate) standby: Option<Standby>,
}

/// Makes all claims in one statement (P20), and tells each candidate what came of its own. Who is told
/// nothing claims by himself.
pub(crate) fn claim_all(
    db: Arc<dyn SharedDatabase>,
    claims: Vec<(Claim, oneshot::Sender<ClaimOutcome>)>,
) {
    if claims.len() > 1 {
        tokio::spawn(async move {
            if let Err(error) = claim_together(db.as_ref(), claims).await {
                tracing::warn!(%error, "partitions are claimed one by one");
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
        for outcome in db.claim_many(asked).await? {
            // Whoever asked may be gone.
            let _ = tell.next().map(|tell| tell.send(outcome));
        }
    }
    Ok(())
}

impl Candidate {
    /// Claims, loads, and serves until the partition is lost or given up.
    pub(crate) async fn run(
        mut self,
        told: oneshot::Receiver<ClaimOutcome>,
        mut queue: mpsc::Receiver<Queued>,
    ) -> Gone {
        let partition = self.spec.id;
        let ended = match self.serve(told, &mut queue).await {
            Ok(ended) | Err(ended) => ended,
        };
        let gate = match &ended {
            Ended::Released { to, .. } => Gate::Left(to.clone()),
            _ => Gate::Shut,
        };
        self.doors.set(partition, gate);
        // Who still waits in it is sent on only now, when it is known where to.
        drop(queue);
        match &ended {
            Ended::Released { to, .. } => {
                tracing::info!(%partition, ?to, "released");
                // Whoever it was released for need not wait for his next look.
                self.doors.sign();
            }
            Ended::Lost => tracing::info!(%partition, "another member claimed it first"),
            ended => tracing::warn!(%partition, reason = %ended, "serves the partition no more"),
        }
        match &ended {
            Ended::Store(error) => self.shared.trouble.set(Some(error.to_string())),
            Ended::Damaged(what) => self.shared.trouble.set(Some(what.clone())),
            _ => {}
        }
        self.doors.wake.notify_one();
        Gone { ended, standby: self.standby }
    }

    async fn serve(
        &mut self,
        told: oneshot::Receiver<ClaimOutcome>,
        queue: &mut mpsc::Receiver<Queued>,
    ) -> Result<Ended, Ended> {
        let claimed = self.claim(told).await?;
        let claimed_in = self.began.elapsed();
        let was_warm = self.standby.is_some();
        let copy = self.copy(&claimed).await?;
        let ownership =
            Ownership { spec: self.spec.clone(), epoch: claimed.epoch, claim: self.claim.claim };
        let (shared, ticks) = (Arc::clone(&self.shared), Arc::clone(&self.ticks));
        let owner = Owner::new(shared, ownership, ticks, copy);
        let elapsed = self.began.elapsed();
        let copy = if was_warm { "warm" } else { "cold" };
        metrics::counter!("turnpike_takeovers_total", "cause" => self.cause.word(), "copy" => copy)
            .increment(1);
        metrics::histogram!("turnpike_takeover_seconds", "copy" => copy)
            .record(elapsed.as_secs_f64());
        tracing::info!(
            partition = %self.spec.id,
            epoch = %claimed.epoch,
            from_epoch = %self.claim.seen,
            cause = self.cause.word(),
            copy,
            segments = claimed.position.next.0 - 1,
            claimed_ms = u64::try_from(claimed_in.as_millis()).unwrap_or(u64::MAX),
            elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "serves the partition"
        );
        self.doors.set(self.spec.id, Gate::Open(self.requests.clone()));
        Ok(owner.serve(queue).await)
    }

    async fn claim(&self, told: oneshot::Receiver<ClaimOutcome>) -> Result<Claimed, Ended> {
        match told.await {
            Ok(ClaimOutcome::Won(claimed)) => Ok(claimed),
            Ok(ClaimOutcome::Lost) => Err(Ended::Lost),
            // Alone, what blocks it can be ended (P3).
            Ok(ClaimOutcome::Busy) | Err(_) => {
                self.shared.db.claim(&self.claim).await?.ok_or(Ended::Lost)
            }
        }
    }

    /// The state as of the claim: from the warm copy, or from the newest checkpoint.
    async fn copy(&mut self, claimed: &Claimed) -> Result<Copy, Ended> {
        let (partition, end) = (self.spec.id, &claimed.position);
        let (db, ticks) = (self.shared.db.as_ref(), &self.ticks);
        let alive = || ticks.tick();
        if let Some(standby) = self.standby.take()
            && let Some(mut copy) = standby.take().await
        {
            match copy.catch_up(db, partition, end, &alive).await {
                Ok(()) => return Ok(copy),
                Err(CopyError::Store(error)) => return Err(error.into()),
                // Of another history (P18): what stands in the database counts.
                Err(error) => {
                    tracing::warn!(%partition, %error, "the warm copy is not of this log");
                }
            }
        }
        let _turn = self.shared.loads.acquire().await.map_err(|_| Ended::Stopped)?;
        let mut copy = Copy::load(db, partition, end.next, &alive).await?;
        copy.catch_up(db, partition, end, &alive).await?;
        Ok(copy)
    }
}
