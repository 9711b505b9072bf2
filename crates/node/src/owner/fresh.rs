//! What an owner knows of what was published, and when it reads it (P36).
//!
//! ```text
//!  an owner before it rated by a newer one   --> nothing is rated, swept or posted until this one
//!                                                knows it
//!  no heartbeat says that ours is the newest --> the same
//!  an option is offered of an unknown plan   --> read before the offer is taken, once a request; if it
//!                                                can't be, or was just now, the client asks again
//!  usage of a plan that is unknown           --> read, once a request
//!  a posting to one who has such a plan      --> read, once a turn
//!  else                                      --> the node's, at the next segment
//! ```
//!
//! By the first and the third an option's cycle is closed by nobody who lacks an alternative that was
//! published before the offer: it would bill another, and what is billed stays.
//!
//! A segment says the newest catalogue that is known to its log: what an owner that lags behind takes
//! meanwhile (commands of accounts) says no older one than the segments before.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;
use turnpike_mutants::{Line, off};

use super::{Ended, Owner, Request};
use crate::catalogue::Catalogue;

impl Owner {
    /// Must the catalogue be read before the request is taken?
    pub(super) fn needs_catalogue(&self, request: &Request) -> bool {
        match request {
            Request::Records { .. } | Request::Recycle { .. } => self.is_stale(),
            // An offer asks by itself (accounts.rs): it can't cost the partition its owner.
            Request::Apply { .. }
            | Request::Show { .. }
            | Request::Suspense { .. }
            | Request::Release { .. }
            | Request::Superseded => false,
        }
    }

    /// Has no heartbeat shown for too long that our catalogue is the newest? Then it is read before
    /// anything is rated: a version may have come into force that we do not know (P36). So it is when
    /// an owner before us rated by a newer one: what it took may hang on plans that we do not know.
    pub(super) fn is_stale(&self) -> bool {
        if self.tariffs.catalogue_version() < self.catalogue_logged {
            return true;
        }
        let limit = self.shared.config.suspicion();
        let beat = *self.shared.fresh_at.lock().unwrap_or_else(PoisonError::into_inner);
        !off(Line::FreshCatalogue)
            && beat.elapsed() > limit
            && self.catalogue_read_at.is_none_or(|read| read.elapsed() > limit)
    }

    /// The newest catalogue that this log is known to have been written by.
    pub(super) fn catalogue_known(&self) -> u64 {
        self.catalogue_logged.max(self.tariffs.catalogue_version())
    }

    /// Reads what was published.
    pub(super) async fn read_catalogue(&mut self) -> Result<(), Ended> {
        let began = Instant::now();
        let fresh = self.tariffs.catalogue().refreshed(self.shared.db.as_ref()).await?;
        self.take_catalogue(fresh, began).await
    }

    /// Reads what was published, once a request: who publishes a plan and then sends usage finds
    /// it rated, whatever the heartbeat has brought. When it can't be read, the record waits in
    /// suspense as it would have. `false`: it was not read, because it can't be or was just now.
    pub(super) async fn ask_catalogue(&mut self) -> Result<bool, Ended> {
        self.catalogue_asked = true;
        let pause = self.shared.config.heartbeat / 10;
        let last = self.catalogue_read_at.max(self.catalogue_failed_at);
        if last.is_some_and(|last| last.elapsed() < pause) {
            return Ok(false);
        }
        let began = Instant::now();
        match self.tariffs.catalogue().refreshed(self.shared.db.as_ref()).await {
            Err(error) => {
                self.catalogue_failed_at = Some(Instant::now());
                tracing::warn!(%error, "the catalogue could not be read");
                Ok(false)
            }
            Ok(fresh) => self.take_catalogue(fresh, began).await.map(|()| true),
        }
    }

    /// Takes what was published by `read_at`. An append that fails ends the owner, also where a read
    /// that fails does not: what it left is not known (P2).
    async fn take_catalogue(&mut self, fresh: Catalogue, read_at: Instant) -> Result<(), Ended> {
        let is_newer = fresh.version > self.tariffs.catalogue_version();
        if is_newer && !self.open.builder.is_empty() {
            // What was rated by the older catalogue is logged with its version.
            self.cut().await?;
        }
        if self.tariffs.update(&Arc::new(fresh)) {
            self.dues.forget();
        }
        self.catalogue_read_at = Some(read_at);
        Ok(())
    }
}
