//! Opens, changes and shows accounts.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use turnpike_account::{Account, AccountChange};
use turnpike_plan::{ObjectCode, OfferId, Period, Reading, Remembered, StateEntry, Zone};
use turnpike_proto::account::v1 as wire;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, AccountResult};
use turnpike_proto::bounds::command_fault;
use turnpike_segment::head::Change;
use turnpike_tariff::{Profile, Settings, Subscription};
use turnpike_types::{AccountNumber, Timestamp};

use super::commands::{amended, change_of, shown};
use super::owner_core::{Job, OwnerCore};
use super::wait::{Halt, Wait};

/// The answer to a command whose plan does not fit this owner's catalogue while the newest
/// catalogue can't be read: a fitting version may have been published since (P36).
const NOT_READ: &str = "a plan does not fit this node's catalogue, and the newest catalogue could \
                        not be read: send the command again";

/// The account commands of one request.
pub(crate) struct Apply {
    commands: Vec<AccountCommand>,
    results: Vec<AccountResult>,
    /// Accounts with a command that the client must send again. Later commands for the same account
    /// may build on it, so they get the same answer.
    waiting: HashSet<u64>,
}

impl Apply {
    pub(crate) fn new(commands: Vec<AccountCommand>) -> Self {
        let results = Vec::with_capacity(commands.len());
        Self { commands, results, waiting: HashSet::new() }
    }
}

impl Job for Apply {
    type Answer = Vec<AccountResult>;

    fn run(&mut self, core: &mut OwnerCore) -> Result<Self::Answer, Halt> {
        while let Some(command) = self.commands.get(self.results.len()) {
            core.log.room()?;
            if !core.view.is_asked() && core.is_doubtful(command) {
                return Err(Wait::Catalogue.into());
            }
            let result = if self.waiting.contains(&command.account_number) {
                result(AccountOutcome::Retry, NOT_READ.to_owned())
            } else {
                core.take_command(command, core.view.is_read())
            };
            if result.outcome() == AccountOutcome::Retry {
                self.waiting.insert(command.account_number);
            }
            self.results.push(result);
        }
        Ok(std::mem::take(&mut self.results))
    }
}

impl OwnerCore {
    /// Carries out one command. `is_read`: the catalogue was read after the command arrived.
    fn take_command(&mut self, command: &AccountCommand, is_read: bool) -> AccountResult {
        let account = AccountNumber(command.account_number);
        if !self.partition.range.contains(account) {
            return refused(format!(
                "account {account} is not in partition {} ({})",
                self.partition.id, self.partition.range
            ));
        }
        if let Some(why) = command_fault(command) {
            return refused(why);
        }
        if let Some(Command::AmendSettings(asked)) = &command.command {
            return self.amend_settings(account, asked, is_read);
        }
        let change = match change_of(command) {
            Ok(change) => self.log.state().as_logged(account, change),
            Err(why) => return refused(why),
        };
        let request_id = request_id(command);
        if self.log.state().was_opened_by(account, request_id) {
            // The answer to an earlier attempt was lost.
            return result(AccountOutcome::Applied, String::new());
        }
        match self.log.state().judge(account, &change) {
            AccountChange::Already if must_be_new(command) => refused(format!(
                "account {account} is open already, and the command asks for a new one: choose \
                 another number"
            )),
            AccountChange::Already => {
                let note = self.note_of_repeated(account, &change);
                result(AccountOutcome::Already, note.unwrap_or_default())
            }
            AccountChange::Refused(why) => refused(why),
            AccountChange::Changes => {
                let fault = self.bound_fault(account, &change);
                if let Some(why) = fault.or_else(|| self.date_fault(account, &change)) {
                    return refused(why);
                }
                let end = end_of(&change);
                let mut result = self.carry_out_if_fit(account, change, (is_read, request_id));
                if let Some((plan_id, at_us)) = end
                    && result.outcome() == AccountOutcome::Applied
                {
                    result.message = self.note_of_end(account, &plan_id, at_us);
                }
                result
            }
        }
    }

    /// What stays charged after a subscription to the plan ended at `at_us` in the past, and which
    /// other one stays in force. Empty if there is nothing to say.
    fn note_of_end(&self, account: AccountNumber, plan_id: &str, at_us: i64) -> String {
        let stays = self.staying(account, plan_id, at_us);
        let mut notes = Vec::new();
        if at_us < self.log.now().0 {
            let waits = "waits as no-plan or goes to another plan";
            let later = match stays.map(|stays| stays.from_us) {
                None => format!(", and usage from then on {waits}"),
                Some(from_us) if from_us > at_us => {
                    format!(", and usage from then until {} {waits}", shown(from_us))
                }
                Some(_) => String::new(),
            };
            notes.push(format!(
                "usage that was rated, one-time charges and charges for whole periods stay; charges \
                 by day are given back from {} on{later}",
                shown(at_us)
            ));
        }
        notes.extend(stays.map(|stays| note_of_staying(stays, at_us)));
        notes.join("; ")
    }

    /// A cancellation that is in effect already leaves another subscription to the plan in force, if
    /// one begins at that instant or later, or took the place of one that never began then.
    fn note_of_repeated(&self, account: AccountNumber, change: &Change) -> Option<String> {
        let Change::Cancelled(end) = change else { return None };
        let stays = self.staying(account, &end.plan_id, end.at_us)?;
        Some(note_of_staying(stays, end.at_us))
    }

    /// The first subscription to the plan that is in force at the instant or later, once those that
    /// a cancellation ends have ended.
    fn staying(&self, account: AccountNumber, plan_id: &str, at_us: i64) -> Option<&Subscription> {
        let known = self.log.state().account(account)?;
        let profile = self.log.state().profiles().get(known.profile)?;
        let of_plan = profile.subscriptions.iter().filter(|one| one.plan_id == plan_id);
        let in_force = of_plan.filter(|one| one.is_ever_in_force() && at_us < one.until_us);
        in_force.min_by_key(|one| one.from_us)
    }

    /// Changes only the settings that the command names. The other settings keep the values in
    /// force at the start of the change. They are read in the same step, so that no other change
    /// comes in between.
    fn amend_settings(
        &mut self,
        account: AccountNumber,
        asked: &wire::AmendSettings,
        is_read: bool,
    ) -> AccountResult {
        match self.judge_amendment(account, asked) {
            (AccountChange::Already, _) => result(AccountOutcome::Already, String::new()),
            (AccountChange::Refused(why), _) => refused(why),
            (AccountChange::Changes, Some(change)) => {
                if let Some(why) = self.bound_fault(account, &change) {
                    return refused(why);
                }
                self.carry_out_if_fit(account, change, (is_read, 0))
            }
            (AccountChange::Changes, None) => refused("nothing to change".to_owned()),
        }
    }

    fn judge_amendment(
        &self,
        account: AccountNumber,
        asked: &wire::AmendSettings,
    ) -> (AccountChange, Option<Change>) {
        let amend = |base: &Settings, earlier: &Settings| amended(base, earlier, asked);
        self.log.state().judge_amendment(account, asked.from_us, amend)
    }

    /// Carries out a valid change, unless a plan would not fit the account afterwards.
    fn carry_out_if_fit(
        &mut self,
        account: AccountNumber,
        change: Change,
        (is_read, request_id): (bool, u64),
    ) -> AccountResult {
        match self.plan_fault(account, &change) {
            Some(fault) if is_read => refused(fault),
            Some(_) => result(AccountOutcome::Retry, NOT_READ.to_owned()),
            None => self.carry_out(account, change, request_id),
        }
    }

    fn carry_out(
        &mut self,
        account: AccountNumber,
        change: Change,
        request_id: u64,
    ) -> AccountResult {
        self.log.change(account, change, request_id);
        self.note_changed(account);
        result(AccountOutcome::Applied, String::new())
    }

    /// Whether this owner's catalogue refuses the plans of a command that would otherwise apply.
    fn is_doubtful(&self, command: &AccountCommand) -> bool {
        if command_fault(command).is_some() {
            return false;
        }
        let account = AccountNumber(command.account_number);
        let (judged, change) = match &command.command {
            Some(Command::AmendSettings(asked)) => self.judge_amendment(account, asked),
            _ => match change_of(command) {
                Ok(change) => {
                    let change = self.log.state().as_logged(account, change);
                    (self.log.state().judge(account, &change), Some(change))
                }
                Err(_) => return false,
            },
        };
        judged == AccountChange::Changes
            && change.is_some_and(|change| self.plan_fault(account, &change).is_some())
    }

    pub(crate) fn show(&mut self, number: u64) -> Option<wire::ShowResponse> {
        let options = self.standings(number);
        let number = AccountNumber(number);
        let account = self.log.state().account(number)?;
        let profile = self.log.state().profiles().get(account.profile)?;
        Some(wire::ShowResponse {
            account_number: number.0,
            partition: self.partition.id.0,
            epoch: self.partition.epoch.number(),
            settings: profile.settings.iter().map(dated_settings).collect(),
            subscriptions: profile.subscriptions.iter().flat_map(subscription).collect(),
            variables: self.variables(account, profile),
            suspended: self.log.state().suspense().of(number).count() as u64,
            options,
            // The front adds the bindings.
            bindings: Vec::new(),
            more_bindings: false,
        })
    }

    /// The variables of the account, each with its meaning in words.
    fn variables(&self, account: &Account, profile: &Profile) -> Vec<wire::Variable> {
        let nothing = BTreeMap::new();
        let plans = self.view.tariffs.catalogue().plans();
        let codes: Vec<_> = plans.filter_map(|plan| self.view.codes.code(plan, &nothing)).collect();
        let codes: Vec<&ObjectCode> = codes.iter().map(AsRef::as_ref).collect();
        let offered = profile.subscriptions.iter().filter(|one| !one.option.is_empty());
        let offers: BTreeSet<(&str, OfferId)> = offered
            .map(|one| (&*one.option, OfferId::of(&one.option, Timestamp(one.from_us))))
            .collect();
        let offers: Vec<(&str, OfferId)> = offers.into_iter().collect();
        let zone = profile.settings_at(self.log.now());
        let zone = zone.map(|settings| Zone::parse(&settings.zone));
        // Only for words: a zone that a newer program set is shown as UTC.
        let zone = zone.and_then(Result::ok).unwrap_or_else(Zone::utc);
        let reading = Reading { codes: &codes, offers: &offers, zone: &zone };
        let variable = |entry: &StateEntry| {
            let Remembered { name, period, value } = reading.words(entry);
            wire::Variable {
                name,
                period: date_of(entry.period),
                value: entry.value.to_string(),
                value_words: value,
                period_words: period,
            }
        };
        account.state.iter().map(variable).collect()
    }
}

/// The first date of the period (ISO 8601); empty for a variable without a period.
pub(super) fn date_of(period: Period) -> String {
    if period == Period::EVER {
        return String::new();
    }
    let epoch = jiff::civil::date(1970, 1, 1);
    // The periods of some variables are numbers that are no date.
    let date = jiff::Span::new().try_days(period.0).and_then(|days| epoch.checked_add(days));
    date.map_or_else(|_| period.0.to_string(), |date| date.to_string())
}

fn dated_settings(settings: &Settings) -> wire::DatedSettings {
    wire::DatedSettings {
        from_us: settings.from_us,
        settings: Some(wire::Settings {
            zone: settings.zone.clone(),
            cycle_day: settings.cycle_day,
            currency: settings.currency.clone(),
            attributes: settings.attributes.clone(),
        }),
    }
}

/// An alternative that the client kept when it opted out is shown twice: as an alternative of the
/// option, and as the plain subscription that follows it.
fn subscription(subscription: &Subscription) -> impl Iterator<Item = wire::Subscription> {
    let known = |until_us: i64| wire::Subscription {
        plan_id: subscription.plan_id.clone(),
        from_us: subscription.from_us,
        until_us: (until_us != i64::MAX).then_some(until_us),
        priority: subscription.priority,
        parameters: subscription.parameters.clone(),
        option: subscription.option.clone(),
        fee: subscription.fee.clone(),
    };
    let kept = subscription.kept_from_us.filter(|&kept| kept < subscription.until_us);
    let plain = kept.map(|kept| wire::Subscription {
        from_us: kept,
        option: String::new(),
        fee: String::new(),
        ..known(subscription.until_us)
    });
    [known(subscription.option_until_us())].into_iter().chain(plain)
}

const fn must_be_new(command: &AccountCommand) -> bool {
    matches!(command.command, Some(Command::Open(wire::OpenAccount { must_be_new: true, .. })))
}

/// The number of a request that must open a new account; 0 for none.
const fn request_id(command: &AccountCommand) -> u64 {
    match &command.command {
        Some(Command::Open(wire::OpenAccount { must_be_new: true, request_id, .. })) => *request_id,
        _ => 0,
    }
}

/// The plan and the instant of the end of a subscription.
fn end_of(change: &Change) -> Option<(String, i64)> {
    match change {
        Change::Cancelled(end) => Some((end.plan_id.clone(), end.at_us)),
        Change::EndMoved(end) => Some((end.plan_id.clone(), end.until_us)),
        _ => None,
    }
}

/// The subscription that a cancellation at `at_us` does not end, and how it is ended.
fn note_of_staying(stays: &Subscription, at_us: i64) -> String {
    // Cancelled at its start it never begins. If it begins at `at_us`, that cancellation is repeated.
    let cancel_us = match stays.from_us > at_us {
        true => stays.from_us,
        false => at_us.saturating_add(60_000_000),
    };
    let until = match stays.until_us {
        i64::MAX => "on".to_owned(),
        until_us => format!("until {}", shown(until_us)),
    };
    format!(
        "another subscription to {plan}, from {from} {until}, stays in force: to end it, cancel at \
         another instant, such as {cancel}",
        plan = stays.plan_id,
        from = shown(stays.from_us),
        cancel = shown(cancel_us),
    )
}

fn result(outcome: AccountOutcome, message: String) -> AccountResult {
    AccountResult { outcome: outcome.into(), message }
}

fn refused(why: String) -> AccountResult {
    result(AccountOutcome::Refused, why)
}
