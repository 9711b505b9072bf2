//! Postings from other accounts (P33): the sender's log is the outbox, and the receiver's owner
//! reads it.
//!
//! ```text
//!  a sender's log           observation: its newest segment with postings
//!   segment 17  o o .          |  newer than the cursor?
//!   segment 23  o      --> fetch.rs, in the background; the hash must match the cursor (P18)
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

mod fetch;

use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use turnpike_account::AccountChange;
use turnpike_mutants::{Check, off};
use turnpike_plan::{PostedAmount, StateEntry};
use turnpike_segment::head::{Change, ComponentHead, PostingCursor};
use turnpike_segment::{LineKind, NewLine, NewRecord};
use turnpike_tariff::Profile;
use turnpike_types::limits::POSTING_USAGE_TYPE;
use turnpike_types::{
    AccountNumber, Currency, Money, Outcome, PartitionId, Posting, SegmentNumber, SuspenseReason,
    Suspension, Timestamp, UsageView,
};

use super::incoming::Incoming;
use super::records::{NotRated, Wait};
use super::{Ended, Owner};
use fetch::{Fetched, Page, PostedLine};

/// The most postings that are taken before the owner serves other requests.
const TURN_POSTINGS: usize = 2_000;
/// The cursor is logged after this many segments without postings for this partition.
const PASSED_MAX: u32 = 64;

/// The progress of the owner in taking postings, as far as it is not in the log.
#[derive(Debug)]
pub(super) struct Postings {
    fetching: Option<JoinHandle<Fetched>>,
    /// Fetched postings that are not taken yet.
    page: Option<Page>,
    /// Positions in senders' logs that are beyond the logged cursors, each with the number of
    /// segments that were passed over since the cursor was logged.
    passed: HashMap<PartitionId, (PostingCursor, u32)>,
    /// Senders whose history diverged from the cursor: nothing more is fetched from them.
    diverged: HashSet<PartitionId>,
    /// Senders whose segment at the cursor has no posting left. An earlier owner may have stopped
    /// within that segment.
    finished: HashSet<PartitionId>,
    /// The sender of the last fetch. The next fetch goes to the sender after it.
    last: PartitionId,
    /// The next fetch does not start before this instant. It is set after a fetch without a result.
    not_before: Option<Instant>,
}

impl Postings {
    pub(super) fn new() -> Self {
        Self {
            fetching: None,
            page: None,
            passed: HashMap::new(),
            diverged: HashSet::new(),
            finished: HashSet::new(),
            last: PartitionId(0),
            not_before: None,
        }
    }

    /// Waits for the fetch in progress; never returns if there is none.
    pub(super) async fn fetched(&mut self) -> Fetched {
        match &mut self.fetching {
            Some(task) => {
                let fetched = task.await;
                self.fetching = None;
                fetched.unwrap_or(Fetched::Nothing)
            }
            None => std::future::pending().await,
        }
    }
}

impl Owner {
    /// Processes the outcome of a fetch.
    pub(super) fn note_fetched(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Page(page) => self.postings.page = Some(page),
            // The cursor's segment has no posting left. After the first such result the next fetch
            // need not wait.
            Fetched::Nothing if self.postings.finished.insert(self.postings.last) => {}
            Fetched::Nothing => self.pause_fetching(),
            Fetched::Failed(error) => {
                self.pause_fetching();
                tracing::warn!(%error, "a sender's postings could not be read: reading again soon");
            }
            Fetched::Diverged { sender, why } => self.note_diverged(sender, &why),
        }
    }

    fn pause_fetching(&mut self) {
        self.postings.not_before = Some(Instant::now() + self.shared.config.heartbeat);
    }

    fn note_diverged(&mut self, sender: PartitionId, why: &str) {
        metrics::counter!("turnpike_postings_diverged_total").increment(1);
        tracing::error!(
            partition = %self.ownership.spec.id, %sender, why,
            "history diverged: no more postings are taken from this sender"
        );
        self.postings.diverged.insert(sender);
    }

    /// The position up to which the sender's postings were read.
    fn reached(&self, sender: PartitionId) -> PostingCursor {
        let passed = self.postings.passed.get(&sender).map(|(cursor, _)| cursor.clone());
        passed.unwrap_or_else(|| self.state.posting_cursor(sender))
    }

    /// One pass between requests: starts a fetch, or takes fetched postings. Returns whether there
    /// is more to do now.
    pub(super) async fn take_postings(&mut self) -> Result<bool, Ended> {
        if self.postings.page.is_none() {
            self.fetch_postings();
            return Ok(false);
        }
        self.open_anew();
        // A plan that this owner does not know may have come into force (P36).
        if self.is_stale() {
            return Ok(false);
        }
        let Some(mut page) = self.postings.page.take() else { return Ok(false) };
        self.catalogue_asked = false;
        for _ in 0..TURN_POSTINGS {
            if !self.has_slack() {
                break;
            }
            let Some(line) = page.next() else { break };
            match self.take_posting(&line) {
                Ok(()) => page.step(),
                Err(wait) => {
                    self.log_cursor(&mut page)?;
                    self.resolve(wait).await?;
                }
            }
        }
        self.log_cursor(&mut page)?;
        let more = page.next().is_some();
        if more {
            self.postings.page = Some(page);
        } else {
            self.postings.finished.insert(page.sender());
            self.fetch_postings();
        }
        Ok(more && self.has_slack())
    }

    /// Fetches from the next sender whose log holds unread postings.
    fn fetch_postings(&mut self) {
        let is_early = self.postings.not_before.is_some_and(|at| Instant::now() < at);
        if is_early || self.postings.fetching.is_some() {
            return;
        }
        let outboxes = std::sync::Arc::clone(&self.shared.outboxes.borrow());
        let last = self.postings.last;
        let waits = |&&(sender, newest): &&(PartitionId, SegmentNumber)| {
            let reached = self.reached(sender).segment;
            let is_left =
                reached != 0 && newest.0 == reached && !self.postings.finished.contains(&sender);
            (newest.0 > reached || is_left) && !self.postings.diverged.contains(&sender)
        };
        let after = outboxes.iter().filter(|(sender, _)| *sender > last).find(waits);
        let Some(&(sender, _)) = after.or_else(|| outboxes.iter().find(waits)) else { return };
        self.postings.last = sender;
        let scope = fetch::Scope {
            sender,
            ours: self.ownership.spec.range,
            is_own: sender == self.ownership.spec.id,
            ranges: std::sync::Arc::clone(&self.shared.ranges.borrow()),
        };
        let from = self.reached(sender);
        let db = std::sync::Arc::clone(&self.shared.db);
        self.postings.fetching = Some(tokio::spawn(fetch::fetch(db, scope, from)));
    }

    /// Logs the cursor after the postings taken from the page, in the same segment.
    fn log_cursor(&mut self, page: &mut Page) -> Result<(), Ended> {
        let cursor = page.cursor();
        if cursor == self.reached(page.sender()) {
            return Ok(());
        }
        let sender = page.sender();
        let passed = self.postings.passed.get(&sender).map_or(0, |(_, count)| *count);
        let passed = passed.saturating_add(page.take_passed());
        if !page.take_unlogged() && passed < PASSED_MAX {
            self.postings.passed.insert(sender, (cursor, passed));
            return Ok(());
        }
        self.postings.passed.remove(&sender);
        let change = Change::PostingsTaken(cursor);
        match self.state.judge(AccountNumber(0), &change) {
            AccountChange::Changes => {
                self.state.change(AccountNumber(0), &change);
                if !off(Check::PostingCursor) {
                    self.open.builder.push_entry(AccountNumber(0), change);
                }
            }
            AccountChange::Already => {}
            // Without the cursor the postings in the open segment must not be committed: they would
            // be taken again.
            AccountChange::Refused(why) => return Err(Ended::Damaged(why)),
        }
        Ok(())
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
            let is_taken = self.state.keys().find(print).next().is_some()
                || self.state.suspense().get(&incoming.waiting_key()).is_some();
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
        if !self.ownership.spec.range.contains(view.account) {
            return Err(Suspension::new(SuspenseReason::NoPartition, view.account).into());
        }
        let (amount, currency) = self.postable(view)?;
        let totals = self.totals(view, amount, currency)?;
        let no_room = self.open.no_room();
        let head = head_of(view, currency);
        let component = match self.open.posted.get(&head) {
            Some(&known) => known,
            None => {
                let added = self.open.builder.add_component(head.clone(), currency);
                let Some(added) = added else { return Err(no_room) };
                self.open.posted.insert(head, added);
                added
            }
        };
        if !self.open.builder.fits(component, amount.nanos().unsigned_abs())
            || !self.open.builder.has_room_for_variables(totals.changes.len())
        {
            return Err(no_room);
        }
        let record = NewRecord { view: *view, identity: "", outcome: Outcome::Posted };
        let Some(row) = self.open.builder.push_record(&record) else { return Err(no_room) };
        self.open.builder.push_line(&NewLine {
            component,
            quantity: 0,
            first_unit: 0,
            period: i32::MIN,
            level_before: 0,
            level_after: 0,
            amount,
            of: None,
            posting: Posting::Account,
            row: None,
        });
        self.set_totals(view, &totals);
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
        let Some(known) = self.state.account(view.account) else { return nothing() };
        let profiles = self.state.profiles();
        let tariff = match self.tariffs.at(profiles, known.profile, view.start) {
            Err(Suspension { reason: SuspenseReason::UnknownPlan, .. })
                if !self.catalogue_asked =>
            {
                return Err(NotRated::Wait(Wait::Catalogue));
            }
            Err(Suspension { reason: SuspenseReason::NoPlan, .. })
                if !known.state.keeps_totals()
                    && !profiles.get(known.profile).is_some_and(|p| lasts(p, view.start)) =>
            {
                return nothing();
            }
            Err(Suspension {
                reason: SuspenseReason::UnknownPlan | SuspenseReason::NoPlan,
                ..
            }) => self.tariffs.posted_to(profiles, known.profile, view.start)?,
            resolved => resolved?,
        };
        let is_bonus = view.attribute(fetch::KIND) == Some(fetch::BONUS);
        let posting = PostedAmount { start: view.start, amount, currency, is_bonus };
        let (plans, now) = (tariff.in_force(), self.open.time.now);
        let rated =
            self.rater.take_posting(&plans, &tariff.context, &known.state, &posting, now)?;
        Ok(Totals { changes: rated.changes.as_slice().into(), moves_dues: rated.moves_dues })
    }

    /// Logs and applies the changes of the record that was pushed last.
    fn set_totals(&mut self, view: &UsageView<'_>, totals: &Totals) {
        for change in &totals.changes {
            // The room for these changes was checked before.
            let (variable, period) = (change.variable.0, change.period.0);
            let _ = self.open.builder.push_change(variable, period, change.value);
        }
        let (changes, floor) = (totals.changes.iter().copied(), self.open.time.floor);
        self.state.set_variables(view.account, changes, view.start, floor);
        if totals.moves_dues {
            self.note_changed(view.account);
        }
    }

    /// The posting's amount and currency, if the account can take them.
    fn postable(&self, view: &UsageView<'_>) -> Result<(Money, Currency), Suspension> {
        let unknown = || Suspension::new(SuspenseReason::UnknownAccount, view.account);
        let known = self.state.account(view.account).ok_or_else(unknown)?;
        let profile = self.state.profiles().get(known.profile);
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

/// The component of a posting, from its attributes.
fn head_of(view: &UsageView<'_>, currency: Currency) -> ComponentHead {
    let text = |name| view.attribute(name).unwrap_or_default().to_owned();
    ComponentHead {
        plan_id: text("plan"),
        plan_version: text("plan-version").parse().unwrap_or_default(),
        primitive: text("primitive"),
        component: text("component"),
        kind: LineKind::Posting.number(),
        price: text("price"),
        unit: text("unit"),
        currency: currency.to_string(),
        level: None,
    }
}
