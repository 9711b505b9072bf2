//! Failpoints: steps in the processing of a record and in the ownership of a partition at which a
//! test can abort a process, delay it, or inject an error.
//!
//! They are compiled in only with the feature `failpoints` *and* debug assertions, so that a
//! release build has none, whatever features are enabled. They are in this crate because node and
//! front share no other one, and because most of the steps are next to calls of the shared
//! database. Faults within such a call are injected with [`crate::Interpose`].
//!
//! The environment variable `FAILPOINTS` selects steps and actions, in the syntax of the crate
//! `fail`: `FAILPOINTS='append-before=4*off->1*return(abort)'` aborts the process at its fifth
//! append.

macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $step:ident = $word:literal,)+) => {
        /// A step at which a test can inject a fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step { $($(#[doc = $doc])+ $step,)+ }

        impl Step {
            /// All steps, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$step,)+];

            /// The step's name in `FAILPOINTS`.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$step => $word,)+ }
            }
        }
    };
}

steps! {
    /// Receive: a front has read a batch and has not processed it.
    FrontReceived = "front-received",
    /// Receive: a node has admitted a request and has not put it into the owner's queue.
    NodeAdmitted = "node-admitted",
    /// Rate: the records of a sub-batch are in the open segment; their answer is not made yet.
    Rated = "rated",
    /// Append: the segment is closed; the append statement is not sent yet.
    AppendBefore = "append-before",
    /// Append: the segment is committed; the owner does not know the outcome yet.
    AppendCommitted = "append-committed",
    /// Acknowledge: the owner knows of the commit; no answer is sent yet.
    AnswerBefore = "answer-before",
    /// Acknowledge: the answers are sent.
    AnswerAfter = "answer-after",
    /// Checkpoint: the parts are made; none is written yet.
    CheckpointBefore = "checkpoint-before",
    /// Checkpoint: the parts are written; no manifest names them yet.
    CheckpointParts = "checkpoint-parts",
    /// Checkpoint: the manifest is published; the owner does not know the outcome yet.
    CheckpointPublished = "checkpoint-published",
    /// Claim: the node has decided to claim; the claim statement is not sent yet.
    ClaimBefore = "claim-before",
    /// Claim: the claim is won; the tail of the log is not read yet.
    ClaimWon = "claim-won",
    /// Claim: the state is loaded; the partition takes no requests yet.
    ClaimLoaded = "claim-loaded",
    /// Release: all records that the owner took are committed; the release statement is not sent
    /// yet.
    ReleaseBefore = "release-before",
    /// Release: the release is committed; the node does not know the outcome yet.
    ReleaseDone = "release-done",
}

/// Passes a step, and carries out the action that a test configured for it.
///
/// # Errors
/// [`StoreError::Unavailable`](crate::StoreError), as if the database had not answered, when a test
/// configured an error.
#[cfg(not(all(feature = "failpoints", debug_assertions)))]
#[inline]
#[allow(clippy::unused_async)]
pub async fn pass(_: Step) -> crate::StoreResult<()> {
    Ok(())
}

#[cfg(all(feature = "failpoints", debug_assertions))]
pub use armed::pass;

#[cfg(all(feature = "failpoints", debug_assertions))]
mod armed {
    use std::sync::Once;
    use std::time::Duration;

    use super::Step;
    use crate::{StoreError, StoreResult};

    /// Longer than the time after which an owner without heartbeats is suspected to have failed.
    const SLEEP: Duration = Duration::from_secs(3);

    /// Passes a step, and carries out the action that a test configured for it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], as if the database had not answered, when a test configured an
    /// error.
    pub async fn pass(step: Step) -> StoreResult<()> {
        let Some(action) = asked(step.word()) else { return Ok(()) };
        // The test that configured the failpoint waits for this log line.
        tracing::warn!(step = step.word(), action, "failpoint");
        match action.as_str() {
            "abort" => std::process::abort(),
            "sleep" => tokio::time::sleep(SLEEP).await,
            _ => {
                let cause = "a failpoint injected this error".to_owned();
                return Err(StoreError::Unavailable { doing: step.word(), cause });
            }
        }
        Ok(())
    }

    fn asked(name: &str) -> Option<String> {
        static ARMED: Once = Once::new();
        ARMED.call_once(|| {
            if std::env::var_os("FAILPOINTS").is_some_and(|points| !points.is_empty()) {
                tracing::warn!("failpoints are armed: this process is made to fail");
                // Dropping the scenario would disarm the failpoints.
                std::mem::forget(fail::FailScenario::setup());
            }
        });
        fail::fail_point!(name, |action| action);
        None
    }
}
