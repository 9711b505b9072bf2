//! Which catalogue an owner rates by, and when it reads the newest one (P36).
//!
//! ```text
//!  an earlier owner rated by a newer catalogue  --> nothing is rated, swept or posted before this
//!                                                   owner has read it
//!  no recent heartbeat confirmed the catalogue  --> nothing either, as in the case above
//!  an option with an unknown plan is offered    --> read before the offer is taken, once per
//!                                                   request; if the read fails or was just made,
//!                                                   the client has to send the offer again
//!  usage of an unknown plan                     --> read, once per request
//!  a posting to an account with such a plan     --> read, once per pass over postings
//!  otherwise                                    --> the node's catalogue, at the next segment
//! ```
//!
//! By the first and the third rule, an option's cycle is never closed without an alternative that
//! was published before the offer. Otherwise a wrong alternative would be billed, irrevocably.
//!
//! Each segment states the newest catalogue version that its owner has read or that an earlier
//! segment states. So an owner whose own catalogue is older still carries out account commands, and
//! states no older version than the segments before.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;
use turnpike_mutants::{Check, off};
use turnpike_tariff::Catalogue;

use super::{Ended, Owner, Request};
use crate::catalogue::refreshed;

impl Owner {
    /// Whether the catalogue must be read before the request is taken.
    pub(super) fn needs_catalogue(&self, request: &Request) -> bool {
        match request {
            // A decision may rate a record that waits here (`Owner::complete`).
            Request::Records { .. } | Request::Recycle { .. } | Request::Reassign { .. } => {
                self.is_stale()
            }
            // The command of an offer reads the catalogue itself (accounts.rs), where a failed read
            // does not end the owner.
            Request::Apply { .. }
            | Request::Show { .. }
            | Request::Suspense { .. }
            | Request::Release { .. }
            | Request::Superseded => false,
        }
    }

    /// Whether the catalogue must be read before anything is rated (P36). Either no heartbeat has
    /// shown within the suspicion time that this catalogue is the newest: an unknown version may be
    /// in force. Or an earlier owner rated by a newer catalogue, and its records may depend on
    /// plans that this owner does not know.
    pub(super) fn is_stale(&self) -> bool {
        if self.tariffs.catalogue_version() < self.catalogue_logged {
            return true;
        }
        let limit = self.shared.config.suspicion();
        let beat = *self.shared.fresh_at.lock().unwrap_or_else(PoisonError::into_inner);
        !off(Check::FreshCatalogue)
            && beat.elapsed() > limit
            && self.catalogue_read_at.is_none_or(|read| read.elapsed() > limit)
    }

    /// The newest catalogue version that is known to have been used in this log.
    pub(super) fn catalogue_known(&self) -> u64 {
        self.catalogue_logged.max(self.tariffs.catalogue_version())
    }

    /// Reads the newest catalogue. A failure ends the owner.
    pub(super) async fn read_catalogue(&mut self) -> Result<(), Ended> {
        let began = Instant::now();
        let fresh = refreshed(self.tariffs.catalogue(), self.shared.db.as_ref()).await?;
        self.take_catalogue(fresh, began).await
    }

    /// Reads the newest catalogue, once per request, so that usage sent after a plan was published
    /// is rated before a heartbeat has reported the plan. Without this read the record waits in
    /// suspense. Returns `false` if the read failed, or the last one was too recent.
    pub(super) async fn ask_catalogue(&mut self) -> Result<bool, Ended> {
        self.catalogue_asked = true;
        let pause = self.shared.config.heartbeat / 10;
        let last = self.catalogue_read_at.max(self.catalogue_failed_at);
        if last.is_some_and(|last| last.elapsed() < pause) {
            return Ok(false);
        }
        let began = Instant::now();
        match refreshed(self.tariffs.catalogue(), self.shared.db.as_ref()).await {
            Err(error) => {
                self.catalogue_failed_at = Some(Instant::now());
                tracing::warn!(%error, "the catalogue could not be read");
                Ok(false)
            }
            Ok(fresh) => self.take_catalogue(fresh, began).await.map(|()| true),
        }
    }

    /// Takes the catalogue that was read at `read_at`. A failed append ends the owner, even where a
    /// failed read does not, since the outcome of the append is unknown (P2).
    async fn take_catalogue(&mut self, fresh: Catalogue, read_at: Instant) -> Result<(), Ended> {
        let is_newer = fresh.version() > self.tariffs.catalogue_version();
        if is_newer && !self.open.builder.is_empty() {
            // Records rated by the older catalogue are logged with the older version.
            self.cut().await?;
        }
        if self.tariffs.update(&Arc::new(fresh)) {
            self.dues.forget();
        }
        self.catalogue_read_at = Some(read_at);
        Ok(())
    }
}
