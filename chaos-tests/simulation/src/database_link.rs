//! The simulated connection of a process to the database, with injected faults.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use turnpike_store::{Call, Interpose, StoreError, StoreResult};

/// The fault of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LinkFault {
    /// No fault.
    None,
    /// Calls fail before they reach the database, or after they were carried out.
    Errors {
        /// Calls per thousand that fail before they reach the database.
        before: u32,
        /// Calls per thousand that fail after the database has carried them out, so that the
        /// caller does not know the outcome.
        after: u32,
    },
    /// Calls are delayed by up to this many milliseconds in each direction.
    Slow(u64),
    /// No data is delivered. Calls fail at their time-out.
    Cut,
    /// The database has no space left for segments.
    Full,
}

/// A connection to the database.
pub struct DatabaseLink {
    link_fault: watch::Sender<LinkFault>,
    chance: Mutex<StdRng>,
}

impl DatabaseLink {
    /// A connection without fault.
    pub fn new(seed: u64) -> Self {
        let chance = Mutex::new(StdRng::seed_from_u64(seed));
        Self { link_fault: watch::channel(LinkFault::None).0, chance }
    }

    /// Sets the fault from now on.
    pub fn set(&self, link_fault: LinkFault) {
        self.link_fault.send_replace(link_fault);
    }

    fn chance(&self) -> MutexGuard<'_, StdRng> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self, call: Call, is_after: bool) -> StoreResult<()> {
        let mut link_fault = self.link_fault.subscribe();
        let now = *link_fault.borrow();
        let slow_ms = match now {
            LinkFault::Slow(most) => most,
            _ => 2,
        };
        let wait = Duration::from_millis(self.chance().random_range(0..=slow_ms));
        let limit = limit(call);
        let gave_up = tokio::time::timeout(limit, tokio::time::sleep(wait)).await.is_err();
        let through = link_fault.wait_for(|link_fault| *link_fault != LinkFault::Cut);
        if gave_up || tokio::time::timeout(limit, through).await.is_err() {
            return Err(unavailable("the connection is cut"));
        }
        match *self.link_fault.borrow() {
            LinkFault::Errors { before, .. } if !is_after && self.falls(before) => {
                Err(unavailable("the call was lost"))
            }
            LinkFault::Errors { after, .. } if is_after && self.falls(after) => {
                Err(unavailable("the answer was lost"))
            }
            LinkFault::Full if !is_after && call == Call::Append => {
                let cause = "no space left on device".to_owned();
                Err(StoreError::Full { doing: "append", cause })
            }
            _ => Ok(()),
        }
    }

    fn falls(&self, of_thousand: u32) -> bool {
        self.chance().random_range(0..1_000) < of_thousand
    }
}

/// The time-out of a call, as the database drivers have it.
const fn limit(call: Call) -> Duration {
    match call {
        Call::Heartbeat | Call::Observe => Duration::from_secs(1),
        Call::Append | Call::Claim | Call::ClaimMany => Duration::from_secs(4),
        _ => Duration::from_secs(3),
    }
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable { doing: "simulation", cause: cause.to_owned() }
}

#[async_trait]
impl Interpose for DatabaseLink {
    async fn before(&self, call: Call) -> StoreResult<()> {
        self.pass(call, false).await
    }

    async fn after(&self, call: Call) -> StoreResult<()> {
        self.pass(call, true).await
    }
}
