//! Failpoints: steps of a record's and of a partition's life at which a test can end a process, hold
//! it up, or let it fail.
//!
//! They exist in builds with the feature `failpoints` *and* debug assertions: whatever features are
//! asked for, a release build passes every step without a look. They stand here because node and
//! front have nothing else in common, and because most of these steps lie around calls of the
//! shared database; what happens within a call is [`crate::Interpose`]'s.
//!
//! What shall happen stands in the environment, in the words of the crate `fail`:
//! `FAILPOINTS='append-before=4*off->1*return(abort)'` ends the process at its fifth append.

macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $step:ident = $word:literal,)+) => {
        /// A step at which something can be made to happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step { $($(#[doc = $doc])+ $step,)+ }

        impl Step {
            /// All of them, in the order of this page.
            pub const ALL: &[Self] = &[$(Self::$step,)+];

            /// Its name in `FAILPOINTS`.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$step => $word,)+ }
            }
        }
    };
}

steps! {
    /// Receive: a front has read a batch and has not looked at it.
    FrontReceived = "front-received",
    /// Receive: a node has room for a request, which does not wait for its owner yet.
    NodeAdmitted = "node-admitted",
    /// Rate: the records of a sub-batch are in the open segment, their answer is not.
    Rated = "rated",
    /// Append: the segment is closed, the statement is not sent.
    AppendBefore = "append-before",
    /// Append: it is committed, and the owner does not know.
    AppendCommitted = "append-committed",
    /// Acknowledge: the owner knows, nobody is told.
    AnswerBefore = "answer-before",
    /// Acknowledge: the answers are on their way.
    AnswerAfter = "answer-after",
    /// Checkpoint: its parts are made, none is written.
    CheckpointBefore = "checkpoint-before",
    /// Checkpoint: the parts are written, no manifest names them.
    CheckpointParts = "checkpoint-parts",
    /// Checkpoint: it is published, and the owner does not know.
    CheckpointPublished = "checkpoint-published",
    /// Claim: it is decided, not made.
    ClaimBefore = "claim-before",
    /// Claim: it is won, the log's tail is not read.
    ClaimWon = "claim-won",
    /// Claim: the state is loaded, the gate is shut.
    ClaimLoaded = "claim-loaded",
    /// Release: all is flushed, the statement is not sent.
    ReleaseBefore = "release-before",
    /// Release: it is committed, and nobody here knows.
    ReleaseDone = "release-done",
}

/// Passes a step; where a test asked for it, not without harm.
///
/// # Errors
/// A test asked for one: [`StoreError::Unavailable`](crate::StoreError), as if the database had not
/// answered.
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

    /// Longer than an owner may be without a sign of life.
    const SLEEP: Duration = Duration::from_secs(3);

    /// Passes a step; where a test asked for it, not without harm.
    ///
    /// # Errors
    /// A test asked for one: [`StoreError::Unavailable`], as if the database had not answered.
    pub async fn pass(step: Step) -> StoreResult<()> {
        let Some(action) = asked(step.word()) else { return Ok(()) };
        // The test that asked waits for this line.
        tracing::warn!(step = step.word(), action, "failpoint");
        match action.as_str() {
            "abort" => std::process::abort(),
            "sleep" => tokio::time::sleep(SLEEP).await,
            _ => {
                let cause = "a failpoint says so".to_owned();
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
                // Dropped it would disarm them.
                std::mem::forget(fail::FailScenario::setup());
            }
        });
        fail::fail_point!(name, |action| action);
        None
    }
}
