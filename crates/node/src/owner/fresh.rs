//! What an owner knows of what was published, and when it reads it (P36).
//!
//! ```text
//!  an owner before it rated by a newer one   --> nothing is rated or swept until this one knows it
//!  no heartbeat says that ours is the newest --> the same
//!  an option is offered of an unknown plan   --> read before the offer is taken
//!  usage of a plan that is unknown           --> read, once a request
//!  else                                      --> the node's, at the next segment
//! ```
//!
//! By the first and the third an option's cycle is closed by nobody who lacks an alternative that was
//! published before the offer: it would bill another, and what is billed stays.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;
use turnpike_mutants::{Line, off};
use turnpike_proto::account::v1::AccountCommand;
use turnpike_proto::account::v1::account_command::Command;

use super::{Ended, Owner, Request};

impl Owner {
    /// Must the catalogue be read before the request is taken?
    pub(super) fn needs_catalogue(&self, request: &Request) -> bool {
        match request {
            Request::Records { .. } | Request::Recycle { .. } => self.is_stale(),
            Request::Apply { commands, .. } => {
                commands.iter().any(|command| self.offers_unknown(command))
            }
            Request::Show { .. }
            | Request::Suspense { .. }
            | Request::Release { .. }
            | Request::Superseded => false,
        }
    }

    /// Does it offer a plan that we do not know? An option is decided among all of its plans: one that
    /// was published before the offer must be known before anything of the option falls due.
    fn offers_unknown(&self, command: &AccountCommand) -> bool {
        let Some(Command::Offer(offer)) = &command.command else { return false };
        offer.plan_ids.iter().any(|plan| !self.tariffs.catalogue().has_plan(plan))
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

    /// Reads what was published.
    pub(super) async fn read_catalogue(&mut self) -> Result<(), Ended> {
        if !self.open.builder.is_empty() {
            // What was rated by the older catalogue is logged with its version.
            self.cut().await?;
        }
        let fresh = self.tariffs.catalogue().refreshed(self.shared.db.as_ref()).await?;
        if self.tariffs.update(&Arc::new(fresh)) {
            self.dues.forget();
        }
        self.catalogue_read_at = Some(Instant::now());
        Ok(())
    }

    /// Reads what was published, once a request: who publishes a plan and then sends usage finds
    /// it rated, whatever the heartbeat has brought. When it can't be read, the record waits in
    /// suspense as it would have.
    pub(super) async fn ask_catalogue(&mut self) -> Result<(), Ended> {
        self.catalogue_asked = true;
        let pause = self.shared.config.heartbeat / 10;
        if self.catalogue_read_at.is_some_and(|read| read.elapsed() < pause) {
            return Ok(());
        }
        match self.read_catalogue().await {
            Err(Ended::Store(error)) => {
                tracing::warn!(%error, "the catalogue could not be read");
                Ok(())
            }
            done => done,
        }
    }
}
