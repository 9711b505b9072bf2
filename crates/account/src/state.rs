//! A partition's state, and how the log makes it.

use hashbrown::HashMap;
use turnpike_plan::{AccountState, Period, StateEntry, VariableId};
use turnpike_proto::record::extra_identity;
use turnpike_segment::head::{Change, Entry, Settings, Subscription, SuspenseKey};
use turnpike_segment::{RecordRow, Segment};
use turnpike_types::{
    AccountNumber, Outcome, SegmentHash, SegmentNumber, SuspenseReason, Timestamp,
};

use crate::keys::{KeyIndex, Location, fingerprint};
use crate::profiles::{Profile, ProfileId, Profiles};
use crate::suspense::{Suspense, Waiting, WaitingKey};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its settings and subscriptions.
    pub profile: ProfileId,
    /// Its plans' variables.
    pub state: AccountState,
}

/// Logged time (P26): accepting, forgetting and sweeping use nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedTime {
    /// Monotone along the log.
    pub now: Timestamp,
    /// The oldest start that is acceptable; it only moves forward.
    pub floor: Timestamp,
}

impl Default for LoggedTime {
    fn default() -> Self {
        Self { now: Timestamp::MIN, floor: Timestamp::MIN }
    }
}

impl LoggedTime {
    /// Time as the next segment logs it, when the database's clock shows `clock`.
    #[must_use]
    pub fn advance(self, clock: Timestamp, horizon_us: i64, since: Option<Timestamp>) -> Self {
        let now = self.now.max(clock);
        let horizon = Timestamp(now.0.saturating_sub(horizon_us));
        let floor = since.map_or(horizon, |since| since.min(horizon));
        Self { now, floor: self.floor.max(floor) }
    }
}

/// Why a segment can't follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// A gap, or a segment of another history (I3).
    #[error("segment {found} does not follow segment {last}: the log has a gap or another history")]
    Gap {
        /// The last segment that was applied.
        last: SegmentNumber,
        /// What came next.
        found: SegmentNumber,
    },
    /// It builds on another segment than the last one (I3).
    #[error("segment {0} does not build on the one before it: the hash chain is broken")]
    Chain(SegmentNumber),
    /// An entry or line that makes no sense on this state.
    #[error("segment {segment}: {what}")]
    Nonsense {
        /// The segment.
        segment: SegmentNumber,
        /// What is wrong.
        what: &'static str,
    },
}

/// What an account's change beside usage came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// It is a change.
    Changes,
    /// It stands so already.
    Already,
    /// It can't be done.
    Refused(String),
}

/// All that an owner knows of its partition.
#[derive(Debug, Default)]
pub struct PartitionState {
    pub(crate) profiles: Profiles,
    pub(crate) accounts: HashMap<AccountNumber, Account>,
    pub(crate) keys: KeyIndex,
    pub(crate) suspense: Suspense,
    pub(crate) time: LoggedTime,
    pub(crate) last: SegmentNumber,
    pub(crate) last_hash: SegmentHash,
}

impl PartitionState {
    /// The account, if it was opened.
    pub fn account(&self, account: AccountNumber) -> Option<&Account> {
        self.accounts.get(&account)
    }

    /// How many accounts were opened.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// The profiles that accounts point at.
    pub const fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// Which records were taken.
    pub const fn keys(&self) -> &KeyIndex {
        &self.keys
    }

    /// What waits.
    pub const fn suspense(&self) -> &Suspense {
        &self.suspense
    }

    /// Logged time, as of the last segment.
    pub const fn time(&self) -> LoggedTime {
        self.time
    }

    /// The last segment that is part of this state.
    pub const fn last(&self) -> (SegmentNumber, SegmentHash) {
        (self.last, self.last_hash)
    }

    /// Takes in a segment's end: the state is now as after it. The owner calls this when it seals;
    /// replay does after applying.
    pub fn advance(&mut self, segment: SegmentNumber, hash: SegmentHash, time: LoggedTime) {
        self.last = segment;
        self.last_hash = hash;
        self.time = time;
        self.keys.note(segment, time.now, time.floor);
    }

    /// Frees memory of keys beyond the horizon. What waits in suspense is found by its own key,
    /// and so never forgotten (P35).
    pub fn sweep(&mut self) {
        self.keys.sweep();
    }

    /// A record was taken.
    pub fn take_key(&mut self, record: &RecordRow<'_>, identity: &str, location: Location) {
        let print = fingerprint(record.account, identity, record.record_id);
        self.keys.insert(print, location);
    }

    /// A record was taken, by its fingerprint.
    pub fn take_fingerprint(&mut self, print: crate::Fingerprint, location: Location) {
        self.keys.insert(print, location);
    }

    /// A record went to suspense.
    pub fn suspend(&mut self, key: WaitingKey, location: Location, reason: SuspenseReason) {
        self.suspense.insert(key, Waiting { location, reason, revision: 0 });
    }

    /// A suspended record left suspense.
    pub fn leave_suspense(&mut self, key: &WaitingKey) -> Option<Waiting> {
        self.suspense.remove(key)
    }

    /// A suspended record was tried again in vain.
    pub fn suspend_again(&mut self, key: &WaitingKey, reason: SuspenseReason) {
        if let Some(waiting) = self.suspense.get_mut(key) {
            waiting.reason = reason;
            waiting.revision = waiting.revision.saturating_add(1);
        }
    }

    /// Sets variables of an account.
    pub fn set_variables(
        &mut self,
        account: AccountNumber,
        entries: impl IntoIterator<Item = StateEntry>,
    ) {
        if let Some(account) = self.accounts.get_mut(&account) {
            entries.into_iter().for_each(|entry| account.state.set(entry));
        }
    }

    /// What `change` would come to, without doing it.
    pub fn judge(&self, account: AccountNumber, change: &Change) -> AccountChange {
        let known = self.accounts.get(&account).and_then(|a| self.profiles.get(a.profile));
        match (change, known) {
            (Change::Opened(settings), Some(profile)) => {
                judge_reopening(account, profile, settings)
            }
            (Change::Opened(_), None) => AccountChange::Changes,
            (_, None) => AccountChange::Refused(format!(
                "account {account} is not open: open it first, then change it"
            )),
            (Change::Subscribed(new), Some(profile)) => judge_subscription(profile, new),
            (Change::Cancelled(end), Some(profile)) => judge_cancellation(profile, end),
            (Change::SettingsChanged(new), Some(profile)) => judge_settings(profile, new),
            (_, Some(_)) => AccountChange::Refused("not a change of an account".to_owned()),
        }
    }

    /// Carries out a change of an account that [`PartitionState::judge`] found to be one.
    pub fn change(&mut self, account: AccountNumber, change: &Change) {
        let profile = match (change, self.accounts.get(&account)) {
            (Change::Opened(settings), None) => {
                Profile { settings: vec![settings.clone()], subscriptions: Vec::new() }
            }
            (_, Some(known)) => {
                let Some(profile) = self.profiles.get(known.profile) else { return };
                changed(profile.clone(), change)
            }
            (_, None) => return,
        };
        let profile = self.profiles.intern(profile);
        let account = self.accounts.entry(account);
        account.or_insert_with(|| Account { profile, state: AccountState::default() }).profile =
            profile;
    }

    /// Applies a segment of the log (P25).
    ///
    /// # Errors
    /// [`ReplayError`] when it does not follow.
    pub fn replay(
        &mut self,
        segment: &Segment,
        prev: SegmentHash,
        hash: SegmentHash,
    ) -> Result<(), ReplayError> {
        let header = segment.header();
        if header.segment != self.last.next() {
            return Err(ReplayError::Gap { last: self.last, found: header.segment });
        }
        if prev != self.last_hash {
            return Err(ReplayError::Chain(header.segment));
        }
        let mut entries = segment.entries().iter().peekable();
        let mut lines = segment.lines().peekable();
        let mut changes = segment.changes().peekable();
        for (row, record) in segment.records() {
            let mut recycled = false;
            while let Some(entry) = entries.next_if(|entry| entry.before_record <= row) {
                recycled = matches!(entry.change, Some(Change::Recycled(_)));
                self.replay_entry(header.segment, entry)?;
            }
            if !recycled {
                self.replay_arrival(&record, Location::new(header.segment, row));
            }
            let Some(account) = self.accounts.get_mut(&record.account) else { continue };
            while let Some(line) = lines.next_if(|line| line.record == row) {
                if let Some(variable) = line.component.level {
                    account.state.set(entry_of(variable, line.period, line.level_after));
                }
            }
            while let Some(change) = changes.next_if(|change| change.record == row) {
                account.state.set(entry_of(change.variable, change.period, change.value));
            }
        }
        for entry in entries {
            self.replay_entry(header.segment, entry)?;
        }
        if lines.peek().is_some() || changes.peek().is_some() {
            let what = "a line of an account that was never opened";
            return Err(ReplayError::Nonsense { segment: header.segment, what });
        }
        self.advance(header.segment, hash, LoggedTime { now: header.now, floor: header.floor });
        Ok(())
    }

    fn replay_arrival(&mut self, record: &RecordRow<'_>, location: Location) {
        let identity = if record.account.0 == 0 { extra_identity(record.extra) } else { "" };
        self.take_key(record, identity, location);
        if let Outcome::Suspended(reason) = record.outcome {
            let key = WaitingKey {
                account: record.account,
                identity: identity.to_owned(),
                record_id: record.record_id.to_owned(),
            };
            self.suspend(key, location, reason);
        }
    }

    fn replay_entry(&mut self, segment: SegmentNumber, entry: &Entry) -> Result<(), ReplayError> {
        let account = AccountNumber(entry.account);
        let nonsense = |what| ReplayError::Nonsense { segment, what };
        match &entry.change {
            Some(Change::Recycled(key) | Change::MovedAway(key)) => {
                let left = self.leave_suspense(&waiting_key(account, key));
                left.map(drop).ok_or(nonsense("a record left suspense that did not wait"))
            }
            Some(Change::StillSuspended(key)) => {
                let reason = u8::try_from(key.reason).ok().and_then(SuspenseReason::from_code);
                let reason = reason.ok_or(nonsense("an unknown suspense reason"))?;
                self.suspend_again(&waiting_key(account, key), reason);
                Ok(())
            }
            Some(change) => {
                self.change(account, change);
                Ok(())
            }
            None => Err(nonsense("an entry of a newer program")),
        }
    }
}

fn changed(mut profile: Profile, change: &Change) -> Profile {
    match change {
        Change::SettingsChanged(settings) => profile.settings.push(settings.clone()),
        Change::Subscribed(subscription) => profile.subscribe(subscription.clone()),
        Change::Cancelled(end) => {
            let open = |s: &&mut Subscription| s.plan_id == end.plan_id && s.until_us == i64::MAX;
            if let Some(subscription) = profile.subscriptions.iter_mut().find(open) {
                subscription.until_us = end.at_us;
            }
        }
        _ => {}
    }
    profile
}

fn judge_reopening(account: AccountNumber, profile: &Profile, new: &Settings) -> AccountChange {
    if profile.settings.first() == Some(new) {
        AccountChange::Already
    } else {
        AccountChange::Refused(format!(
            "account {account} is open with other settings: change its settings from a date on"
        ))
    }
}

fn judge_subscription(profile: &Profile, new: &Subscription) -> AccountChange {
    if profile.subscriptions.contains(new) {
        return AccountChange::Already;
    }
    let same_plan = profile.subscriptions.iter().filter(|s| s.plan_id == new.plan_id);
    for old in same_plan {
        if old.from_us < new.until_us && new.from_us < old.until_us {
            // A cancelled subscription asked for again as it was first asked for.
            let same_start = old.from_us == new.from_us && old.priority == new.priority;
            return if same_start && old.parameters == new.parameters {
                AccountChange::Already
            } else {
                AccountChange::Refused(format!(
                    "a subscription to {} is in force then: cancel it first",
                    new.plan_id
                ))
            };
        }
    }
    AccountChange::Changes
}

fn judge_cancellation(
    profile: &Profile,
    end: &turnpike_segment::head::Cancellation,
) -> AccountChange {
    let of_plan = || profile.subscriptions.iter().filter(|s| s.plan_id == end.plan_id);
    if of_plan().any(|s| s.until_us == end.at_us) {
        return AccountChange::Already;
    }
    match of_plan().find(|s| s.until_us == i64::MAX) {
        Some(open) if open.from_us < end.at_us => AccountChange::Changes,
        Some(_) => AccountChange::Refused(format!(
            "the subscription to {} begins later than that",
            end.plan_id
        )),
        None => AccountChange::Refused(format!("no subscription to {} is open", end.plan_id)),
    }
}

fn judge_settings(profile: &Profile, new: &Settings) -> AccountChange {
    match profile.settings.last() {
        Some(last) if last == new => AccountChange::Already,
        Some(last) if last.from_us >= new.from_us => AccountChange::Refused(
            "settings change forward only: there is a change at or after that instant".to_owned(),
        ),
        _ => AccountChange::Changes,
    }
}

fn waiting_key(account: AccountNumber, key: &SuspenseKey) -> WaitingKey {
    WaitingKey {
        account,
        identity: if account.0 == 0 { key.identity.clone() } else { String::new() },
        record_id: key.record_id.clone(),
    }
}

const fn entry_of(variable: u64, period: i32, value: i128) -> StateEntry {
    StateEntry { variable: VariableId(variable), period: Period(period), value }
}
