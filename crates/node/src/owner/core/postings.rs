//! Postings from other accounts (P33): the sender's log is the outbox, and the receiver's owner
//! reads it.
//!
//! ```text
//!  a sender's log           observation: its newest segment with postings
//!   segment 17  o o .          |  newer than the cursor?
//!   segment 23  o      --> shell/fetch.rs, in the background; the hash must match the cursor (P18)
//!                              |  postings to accounts of this partition, in order
//!                              v
//!                    a record of outcome `posted` with one line, and the cursor after it, in one
//!                    segment; if the account can't take it, a record in suspense
//! ```
//!
//! A posting is not usage: it has no key and no horizon, and the receiver's plans do not rate it.
//! The cursor ensures that each posting is taken exactly once. Segments without postings for this
//! partition are passed over. The cursor is then logged with the next posting, or after a bounded
//! number of such segments.
//!
//! A posting to an account that no partition covers waits in the suspense of the sender's own
//! partition. If a partition covers the account when the posting is recycled, that partition's
//! cursor has already passed it. Then the suspended copy is only removed.

use std::num::ParseIntError;
use std::sync::Arc;

use smallvec::SmallVec;
use turnpike_plan::{PostedAmount, StateEntry};
use turnpike_segment::LineKind;
use turnpike_segment::head::{ComponentHead, PostingCursor};
use turnpike_tariff::{NoTariff, Profile};
use turnpike_types::limits::POSTING_USAGE_TYPE;
use turnpike_types::{
    Currency, Money, Must as _, PartitionId, SegmentNumber, SuspenseReason, Suspension, Timestamp,
    UsageView,
};

use super::incoming::Incoming;
use super::owner_core::{Job, OwnerCore};
use super::page::{BONUS, KIND, Page, PostedLine, Scope};
use super::posting_progress::Fetched;
use super::wait::{Halt, NotRated, Wait};

/// The most postings that are taken before the owner serves other requests.
const TURN_POSTINGS: usize = 2_000;

/// A pass over fetched postings, between requests.
#[derive(Debug, Default)]
pub(crate) struct PostingsPass {
    taken: usize,
}

impl Job for PostingsPass {
    /// Whether there is more to do now.
    type Answer = bool;

    fn run(&mut self, core: &mut OwnerCore) -> Result<bool, Halt> {
        let Some(mut page) = core.postings.take_page() else { return Ok(false) };
        while self.taken < TURN_POSTINGS && core.log.has_slack() {
            let Some(line) = page.next() else { break };
            self.taken += 1;
            match core.take_posting(&line) {
                Ok(()) => page.step(),
                Err(wait) => {
                    core.log_cursor(&mut page)?;
                    core.postings.put_back(page);
                    return Err(wait.into());
                }
            }
        }
        core.log_cursor(&mut page)?;
        let is_left = page.next().is_some();
        if is_left {
            core.postings.put_back(page);
        } else {
            core.postings.finish(page.sender());
        }
        Ok(is_left && core.log.has_slack())
    }
}

impl OwnerCore {
    /// Processes the outcome of a fetch.
    pub(crate) fn note_fetched(&mut self, fetched: Fetched) {
        let again_at = self.pulse.now() + self.limits.fetch_pause;
        self.postings.note_fetched(fetched, self.partition.id, again_at);
    }

    /// The next sender whose log holds unread postings, and the position from which to read it.
    /// `outboxes`: the newest segment with postings of each partition that has any.
    pub(crate) fn next_fetch(
        &mut self,
        outboxes: &[(PartitionId, SegmentNumber)],
    ) -> Option<(Scope, PostingCursor)> {
        let (sender, from) =
            self.postings.next_fetch(outboxes, self.log.state(), self.pulse.now())?;
        let scope = Scope {
            sender,
            ours: self.partition.range,
            is_own: sender == self.partition.id,
            ranges: Arc::clone(&self.around.ranges),
        };
        Some((scope, from))
    }

    /// Logs the cursor after the postings taken from the page, in the same segment.
    fn log_cursor(&mut self, page: &mut Page) -> Result<(), Halt> {
        match self.postings.cursor_to_log(page, self.log.state()) {
            Some(cursor) => self.log.set_posting_cursor(cursor).map_err(Halt::Damaged),
            None => Ok(()),
        }
    }

    fn take_posting(&mut self, line: &PostedLine<'_>) -> Result<(), Wait> {
        let texts = line.texts();
        let attributes = texts.attributes();
        let mut id = line.id();
        let outcome = loop {
            let view = UsageView {
                record_id: &id,
                account: line.account,
                usage_type: POSTING_USAGE_TYPE,
                start: line.start,
                duration_us: 0,
                quantity: None,
                measures: &[],
                attributes: attributes.as_ref(),
            };
            let suspension = match self.post(&view) {
                Ok(_) => break "posted",
                Err(NotRated::Wait(wait)) => return Err(wait),
                Err(NotRated::Suspended(suspension)) => suspension,
            };
            let incoming = Incoming { view, identity: "" };
            let print = incoming.fingerprint();
            let is_taken = !self.log.state().keys().find(print).is_empty()
                || self.log.state().suspense().get(&incoming.waiting_key()).is_some();
            if !is_taken {
                self.suspend(&incoming, print, suspension)?;
                break "suspended";
            }
            // A client's record has this id already. The suspended posting needs its own.
            id.push('+');
        };
        metrics::counter!("turnpike_postings_total", "outcome" => outcome).increment(1);
        Ok(())
    }

    /// Posts a line of another account to the account of `view`. Returns the row of the posting.
    pub(super) fn post(&mut self, view: &UsageView<'_>) -> Result<u32, NotRated> {
        if !self.partition.range.contains(view.account) {
            return Err(Suspension::new(SuspenseReason::NoPartition, view.account).into());
        }
        let (amount, currency) = self.postable(view)?;
        let totals = self.totals(view, amount, currency)?;
        let head = head_of(view, currency);
        let row = self.log.post(view, head, (amount, currency), &totals.changes)?;
        if totals.moves_dues {
            self.note_changed(view.account);
        }
        Ok(row)
    }

    /// The changes of a posting to the totals by which bonuses are set off against charges. They
    /// need the account's calendar, even if some of its plans can't rate: a change that is omitted
    /// here is never added later. An account that has no plan at the posting's start or later is
    /// charged nothing itself, so a bonus is paid to it in full.
    fn totals(
        &mut self,
        view: &UsageView<'_>,
        amount: Money,
        currency: Currency,
    ) -> Result<Totals, NotRated> {
        let nothing = || Ok(Totals::default());
        let Some(known) = self.log.state().account(view.account) else { return nothing() };
        let profiles = self.log.state().profiles();
        let tariff = match self.view.tariffs.at(profiles, known.profile, view.start) {
            Err(NoTariff::Suspended(Suspension {
                reason: SuspenseReason::UnknownPlan, ..
            })) if !self.view.is_asked() => {
                return Err(NotRated::Wait(Wait::Catalogue));
            }
            Err(NoTariff::Suspended(Suspension { reason: SuspenseReason::NoPlan, .. }))
                if !known.state.keeps_totals()
                    && !profiles.get(known.profile).is_some_and(|p| lasts(p, view.start)) =>
            {
                return nothing();
            }
            Err(NoTariff::Suspended(Suspension {
                reason: SuspenseReason::UnknownPlan | SuspenseReason::NoPlan,
                ..
            })) => self.view.tariffs.posted_to(profiles, known.profile, view.start)?,
            resolved => resolved?,
        };
        let is_bonus = view.attribute(KIND) == Some(BONUS);
        let posting = PostedAmount { start: view.start, amount, currency, is_bonus };
        let (plans, now) = (tariff.in_force(), self.log.now());
        let rated =
            self.rater.take_posting(&plans, &tariff.context, &known.state, &posting, now)?;
        Ok(Totals { changes: rated.changes.as_slice().into(), moves_dues: rated.moves_dues })
    }

    /// The posting's amount and currency, if the account can take them.
    fn postable(&self, view: &UsageView<'_>) -> Result<(Money, Currency), Suspension> {
        let unknown = || Suspension::new(SuspenseReason::UnknownAccount, view.account);
        let known = self.log.state().account(view.account).ok_or_else(unknown)?;
        let profile = self.log.state().profiles().get(known.profile);
        let settings = profile.and_then(|profile| profile.settings_at(view.start));
        let settings = settings.ok_or_else(unknown)?;
        let text = |name| view.attribute(name).unwrap_or_default();
        let bad = |name| {
            Suspension::new(SuspenseReason::BadAttribute, format_args!("{name} {:?}", text(name)))
        };
        let currency: Currency = text("currency").parse().map_err(|_| bad("currency"))?;
        let billed = &settings.currency;
        if *billed != currency.to_string() {
            let about = format_args!("posted in {currency}, the account is billed in {billed}");
            return Err(Suspension::new(SuspenseReason::CurrencyMismatch, about));
        }
        let amount = text("amount").parse().map_err(|_| bad("amount"))?;
        plan_version(view).map_err(|_| bad("plan-version"))?;
        Ok((amount, currency))
    }
}

/// Whether the account has a subscription at `at` or later.
fn lasts(profile: &Profile, at: Timestamp) -> bool {
    let mut subscriptions = profile.subscriptions.iter();
    subscriptions.any(|one| one.from_us.max(at.micros()) < one.until_us)
}

/// The changes of a posting to the account's totals.
#[derive(Default)]
struct Totals {
    changes: SmallVec<[StateEntry; 2]>,
    /// Whether a cycle must now be closed that did not have to be closed before.
    moves_dues: bool,
}

/// The version of the plan that posted; 0 if the posting names none.
fn plan_version(view: &UsageView<'_>) -> Result<u32, ParseIntError> {
    view.attribute("plan-version").map_or(Ok(0), str::parse)
}

/// The component of a posting, from its attributes.
fn head_of(view: &UsageView<'_>, currency: Currency) -> ComponentHead {
    let text = |name| view.attribute(name).unwrap_or_default().to_owned();
    ComponentHead {
        plan_id: text("plan"),
        plan_version: plan_version(view).must("a posting is checked before it is posted"),
        primitive: text("primitive"),
        component: text("component"),
        kind: LineKind::Posting.number(),
        price: text("price"),
        unit: text("unit"),
        currency: currency.to_string(),
        level: None,
    }
}
