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

use std::sync::Arc;
use std::time::{Duration, Instant};

use turnpike_mutants::{Check, off};
use turnpike_tariff::{Catalogue, CodeCache, Tariffs};

use super::partition::Surroundings;

/// The catalogue by which an owner rates, and what it knows of newer ones.
pub(crate) struct CatalogueView {
    pub(crate) tariffs: Tariffs,
    pub(crate) codes: CodeCache,
    /// The newest catalogue that earlier owners rated by.
    logged: u64,
    /// When this owner last read the catalogue itself, and when that last failed.
    read_at: Option<Instant>,
    failed_at: Option<Instant>,
    /// Whether the owner has tried to read the catalogue for the present request, or for the
    /// present pass over postings; and whether it was read.
    is_asked: bool,
    is_read: bool,
}

impl CatalogueView {
    /// The view at the start of an ownership. `logged`: the newest catalogue version in the log.
    pub(crate) fn new(catalogue: Arc<Catalogue>, codes: CodeCache, logged: u64) -> Self {
        Self {
            tariffs: Tariffs::new(catalogue, codes.clone()),
            codes,
            logged,
            read_at: None,
            failed_at: None,
            is_asked: false,
            is_read: false,
        }
    }

    /// Whether the catalogue must be read before anything is rated (P36). Either no heartbeat has
    /// shown within `limit`, the suspicion time, that this catalogue is the newest: an unknown
    /// version may be in force. Or an earlier owner rated by a newer catalogue, and its records may
    /// depend on plans that this owner does not know.
    pub(crate) fn is_stale(&self, around: &Surroundings, limit: Duration) -> bool {
        if self.tariffs.catalogue_version() < self.logged {
            return true;
        }
        let is_old = |at: Instant| around.now.saturating_duration_since(at) > limit;
        !off(Check::FreshCatalogue)
            && is_old(around.confirmed_at)
            && self.read_at.is_none_or(is_old)
    }

    /// The newest catalogue version that is known to have been used in this log.
    pub(crate) fn known(&self) -> u64 {
        self.logged.max(self.tariffs.catalogue_version())
    }

    /// A request, or a pass over postings, begins.
    pub(crate) const fn begin(&mut self) {
        self.is_asked = false;
        self.is_read = false;
    }

    /// Whether the owner has tried to read the catalogue for the present request.
    pub(crate) const fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Whether the owner has read the catalogue for the present request.
    pub(crate) const fn is_read(&self) -> bool {
        self.is_read
    }

    /// The present request needs the newest catalogue. Returns whether to read it: not within
    /// `pause` of the last attempt.
    pub(crate) fn ask(&mut self, now: Instant, pause: Duration) -> bool {
        self.is_asked = true;
        let last = self.read_at.max(self.failed_at);
        last.is_none_or(|last| now.saturating_duration_since(last) >= pause)
    }

    /// The catalogue could not be read for the present request.
    pub(crate) const fn note_failed(&mut self, now: Instant) {
        self.failed_at = Some(now);
    }

    /// The newest catalogue was read; the read began at `began`.
    pub(crate) const fn note_read(&mut self, began: Instant) {
        self.read_at = Some(began);
        self.is_read = self.is_asked;
    }
}
