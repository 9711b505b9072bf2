//! Changes of accounts other than usage: they are checked first and then applied.

use turnpike_mutants::{Check, off};
use turnpike_plan::AccountState;
use turnpike_segment::head::{Change, PostingCursor};
use turnpike_tariff::{Profile, Settings, Subscription};
use turnpike_types::dates::DATE_END;
use turnpike_types::{AccountNumber, Must, PartitionId, SegmentHash, Timestamp};

use crate::judgement::{AccountChange, instant};
use crate::options;
use crate::state::{Account, HELD, PartitionState};
use crate::subscriptions::{self, judge_cancellation, judge_end_move, judge_subscription};

impl PartitionState {
    /// Checks `change` without applying it.
    pub fn judge(&self, number: AccountNumber, change: &Change) -> AccountChange {
        if let Change::PostingsTaken(cursor) = change {
            return self.judge_cursor(number, cursor);
        }
        let account = self.accounts.get(&number);
        let known = account.and_then(|a| Some((a, self.profiles.get(a.profile)?)));
        match (change, known) {
            (Change::Opened(settings), Some((_, profile))) => {
                judge_reopening(number, profile, settings)
            }
            (Change::Opened(_), None) => AccountChange::Changes,
            (_, None) => AccountChange::Refused(not_open(number)),
            (Change::Subscribed(new), Some((account, profile))) => {
                judge_subscription(number, profile, &account.state, new)
            }
            (Change::Cancelled(end), Some((account, profile))) => {
                judge_cancellation(number, profile, &account.state, end)
            }
            (Change::EndMoved(end), Some((_, profile))) => judge_end_move(profile, end),
            (Change::SettingsChanged(new), Some((account, profile))) => {
                judge_settings(profile, &account.state, new)
            }
            (Change::SettingsCorrected(new), Some((account, profile))) => {
                judge_settings(&without_beyond(profile), &account.state, new)
            }
            (Change::Offered(offer), Some((account, profile))) => {
                options::judge_offer(number, profile, &account.state, offer)
            }
            (Change::Picked(pick), Some((account, profile))) => {
                options::judge_pick(profile, &account.state, pick)
            }
            (Change::OptedOut(end), Some((account, profile))) => {
                options::judge_opt_out(profile, &account.state, end, self.time.now)
            }
            (
                Change::PostingsTaken(_)
                | Change::Recycled(_)
                | Change::StillSuspended(_)
                | Change::MovedAway(_),
                _,
            ) => AccountChange::Refused("not a change of an account".to_owned()),
        }
    }

    /// The change to log for `change`. A cancellation of a subscription that has an end already, or
    /// that never begins, moves its end. Settings that begin before others that an earlier release
    /// let begin beyond the range of dates remove those. Every other change is logged as it is.
    pub fn as_logged(&self, number: AccountNumber, change: Change) -> Change {
        let account = self.accounts.get(&number);
        let profile = account.and_then(|account| self.profiles.get(account.profile));
        let Some(profile) = profile else { return change };
        match change {
            Change::Cancelled(end) => match subscriptions::end_move(profile, &end) {
                Some(moved) => Change::EndMoved(moved),
                None => Change::Cancelled(end),
            },
            Change::SettingsChanged(new) if corrects(profile, new.from_us) => {
                Change::SettingsCorrected(new)
            }
            other => other,
        }
    }

    /// Checks a change of some settings from `from_us` on, without applying it. `amend` returns the
    /// new settings. Its arguments are the settings in force at `from_us` and those in force just
    /// before `from_us`; they differ by earlier changes for the same instant. Returns the result of
    /// the check, and the change to apply if it is valid.
    ///
    /// Several amendments for one instant accumulate, and the last result is in force.
    pub fn judge_amendment(
        &self,
        number: AccountNumber,
        from_us: i64,
        amend: impl FnOnce(&Settings, &Settings) -> Result<Settings, String>,
    ) -> (AccountChange, Option<Change>) {
        let refused = |why: String| (AccountChange::Refused(why), None);
        let account = self.accounts.get(&number);
        let known = account.and_then(|a| Some((a, self.profiles.get(a.profile)?)));
        let Some((account, profile)) = known else { return refused(not_open(number)) };
        let corrects = corrects(profile, from_us);
        let corrected = corrects.then(|| without_beyond(profile));
        let profile = corrected.as_ref().unwrap_or(profile);
        let Some(base) = profile.settings_at(Timestamp(from_us)) else {
            return refused(format!("account {number} has no settings at that instant"));
        };
        // Before the first settings there are none that they could differ from.
        let earlier = profile.settings.iter().rev().find(|settings| settings.from_us < from_us);
        let amended = match amend(base, earlier.unwrap_or(base)) {
            Ok(amended) => Settings { from_us, ..amended },
            Err(why) => return refused(why),
        };
        if amended == (Settings { from_us, ..base.clone() }) {
            return (AccountChange::Already, None);
        }
        let last = profile.settings.last().map_or(i64::MIN, |last| last.from_us);
        if from_us < last || from_us == i64::MIN {
            return refused(format!(
                "settings only change forward, and the last change is in force from {}: choose that \
                 instant or a later one",
                instant(last)
            ));
        }
        match options::why_not_changed(profile, &account.state, from_us) {
            Some(why) => refused(why),
            None if corrects => (AccountChange::Changes, Some(Change::SettingsCorrected(amended))),
            None => (AccountChange::Changes, Some(Change::SettingsChanged(amended))),
        }
    }

    /// Applies a change for which [`PartitionState::judge`] returned [`AccountChange::Changes`].
    pub fn change(&mut self, account: AccountNumber, change: &Change) {
        match change {
            Change::PostingsTaken(cursor) => return self.set_cursor(cursor),
            Change::Picked(pick) => {
                // Choices for earlier cycles are kept, because such a cycle may still be open, and
                // it is billed by its choice.
                if let Some(account) = self.accounts.get_mut(&account) {
                    let profile = self.profiles.get(account.profile).must(HELD);
                    let choices = options::choices(profile, pick);
                    choices.for_each(|choice| account.state.set(choice));
                }
                return;
            }
            _ => {}
        }
        let profile = match (change, self.accounts.get(&account)) {
            (Change::Opened(settings), None) => {
                Profile { settings: vec![settings.clone()], subscriptions: Vec::new() }
            }
            (_, Some(known)) => {
                let profile = self.profiles.get(known.profile).must(HELD);
                changed(profile.clone(), change)
            }
            (_, None) => return,
        };
        let profile = self.profiles.intern(profile);
        let account = self.accounts.entry(account);
        account.or_insert_with(|| Account { profile, state: AccountState::default() }).profile =
            profile;
    }

    /// Checks that a posting cursor only moves forward and stays in one history of the sender's log
    /// (P18, P33).
    pub(crate) fn judge_cursor(
        &self,
        account: AccountNumber,
        cursor: &PostingCursor,
    ) -> AccountChange {
        let held = self.posting_cursor(PartitionId(cursor.sender));
        let place = |cursor: &PostingCursor| (cursor.segment, cursor.ordinal);
        let sender = cursor.sender;
        if account.0 != 0 || cursor.hash.len() != SegmentHash::default().0.len() {
            AccountChange::Refused("not a posting cursor".to_owned())
        } else if *cursor == held {
            AccountChange::Already
        } else if place(cursor) < place(&held) && !off(Check::CursorForward) {
            AccountChange::Refused(format!(
                "postings of partition {sender} were taken up to {} of segment {}: the cursor can't \
                 go back to {} of segment {}",
                held.ordinal, held.segment, cursor.ordinal, cursor.segment
            ))
        } else if cursor.segment == held.segment
            && cursor.hash != held.hash
            && !off(Check::CursorHistory)
        {
            AccountChange::Refused(format!(
                "segment {} of partition {sender} has another hash than before: its history \
                 diverged",
                held.segment
            ))
        } else {
            AccountChange::Changes
        }
    }

    pub(crate) fn set_cursor(&mut self, cursor: &PostingCursor) {
        self.cursors.insert(PartitionId(cursor.sender), cursor.clone());
    }
}

fn not_open(number: AccountNumber) -> String {
    format!("account {number} is not open: open it first, then change it")
}

fn changed(mut profile: Profile, change: &Change) -> Profile {
    match change {
        Change::SettingsChanged(settings) => profile.settings.push(settings.clone()),
        Change::SettingsCorrected(settings) => {
            profile = without_beyond(&profile);
            profile.settings.push(settings.clone());
        }
        Change::Subscribed(subscription) => profile.subscribe(subscription.clone()),
        Change::Cancelled(end) => {
            let open = |s: &&mut Subscription| s.plan_id == end.plan_id && s.until_us == i64::MAX;
            if let Some(subscription) = profile.subscriptions.iter_mut().find(open) {
                subscription.until_us = end.at_us;
            }
        }
        Change::EndMoved(end) => subscriptions::move_end(&mut profile, end),
        Change::Offered(offer) => {
            options::alternatives(offer).for_each(|alternative| profile.subscribe(alternative));
        }
        Change::OptedOut(end) => options::opt_out(&mut profile, end),
        Change::Opened(_)
        | Change::Picked(_)
        | Change::PostingsTaken(_)
        | Change::Recycled(_)
        | Change::StillSuspended(_)
        | Change::MovedAway(_) => {}
    }
    profile
}

/// Whether settings from `from_us` on come before others that begin beyond the range of dates.
/// Earlier releases accepted those, and no other change could follow them.
fn corrects(profile: &Profile, from_us: i64) -> bool {
    let last = profile.settings.last().map_or(i64::MIN, |last| last.from_us);
    last >= DATE_END.0 && from_us < DATE_END.0
}

/// The profile without the settings that begin beyond the range of dates.
fn without_beyond(profile: &Profile) -> Profile {
    let mut profile = profile.clone();
    profile.settings.retain(|settings| settings.from_us < DATE_END.0);
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

fn judge_settings(profile: &Profile, state: &AccountState, new: &Settings) -> AccountChange {
    match profile.settings.last() {
        Some(last) if last == new => AccountChange::Already,
        Some(last) if last.from_us >= new.from_us => AccountChange::Refused(
            "settings only change forward: there is a change at or after that instant".to_owned(),
        ),
        _ => match options::why_not_changed(profile, state, new.from_us) {
            Some(why) => AccountChange::Refused(why),
            None => AccountChange::Changes,
        },
    }
}
