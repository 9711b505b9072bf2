//! Checks the plans of a subscription or an offer, and the plans that an account has when its
//! currency changes. The owner checks them when it carries out the command, since a front's
//! catalogue may be older than the owner's.

use std::collections::BTreeMap;

use turnpike_account::alternatives;
use turnpike_plan::{
    SubscriberSettings, SubscriptionAsked, SubscriptionFault, Zone, check_subscription,
};
use turnpike_segment::head::Change;
use turnpike_tariff::{Profile, Settings, Subscription};
use turnpike_types::{AccountNumber, Currency, Timestamp};

use super::commands::shown;
use super::owner_core::OwnerCore;

impl OwnerCore {
    /// Why the plans of a change can't rate the account, by this owner's catalogue.
    pub(super) fn plan_fault(&self, account: AccountNumber, change: &Change) -> Option<String> {
        let nothing = BTreeMap::new();
        match change {
            Change::Subscribed(asked) => {
                let plan = (asked.plan_id.as_str(), &asked.parameters);
                self.check_plan(account, plan, asked.from_us)
            }
            Change::Offered(offer) => {
                let mut plans = offer.plans.iter();
                plans.find_map(|plan| self.check_plan(account, (plan, &nothing), offer.from_us))
            }
            Change::SettingsChanged(new) | Change::SettingsCorrected(new) => {
                self.currency_fault(account, new)
            }
            _ => None,
        }
    }

    /// Why the account can't be billed in the currency of `new`: a plan that the account has, when
    /// `new` comes into force or later, posts in another currency. The usage of the account would
    /// be suspended, and its fees would not be booked.
    fn currency_fault(&self, account: AccountNumber, new: &Settings) -> Option<String> {
        let known = self.log.state().account(account)?;
        let profile = self.log.state().profiles().get(known.profile)?;
        let old = profile.settings_at(Timestamp(new.from_us))?;
        if old.currency == new.currency {
            return None;
        }
        let (zone, currency) = match readable(new) {
            Ok(read) => read,
            Err(why) => return Some(why),
        };
        let settings = SubscriberSettings { zone: &zone, currency };
        let had = profile.subscriptions.iter().filter(|one| one.is_ever_in_force());
        let mut had_then = had.filter(|one| one.until_us > new.from_us);
        had_then.find_map(|one| self.other_currency(one, new.from_us, settings))
    }

    /// Why the plan of a subscription can't rate from an instant on with these settings: it posts
    /// in another currency.
    fn other_currency(
        &self,
        had: &Subscription,
        from_us: i64,
        settings: SubscriberSettings<'_>,
    ) -> Option<String> {
        let from = Timestamp(had.from_us.max(from_us));
        let asked = SubscriptionAsked {
            plan_id: &had.plan_id,
            from,
            parameters: &had.parameters,
            settings: Some(settings),
        };
        let fault = match self.check(&asked) {
            // The subscription starts before the first version of the plan: all versions are
            // checked.
            Err(SubscriptionFault::NotInForce { .. }) => {
                self.check(&SubscriptionAsked { from: Timestamp::MIN, ..asked }).err()?
            }
            checked => checked.err()?,
        };
        let SubscriptionFault::OtherCurrency { plan, version, posts, account } = fault else {
            return None;
        };
        Some(format!(
            "plan {plan:?} version {version} posts in {posts}, and the account is subscribed to it \
             when {account} would be in force: end that first (turnpike account cancel, or opt-out \
             for an option), then change the currency, then subscribe to a plan in {account}"
        ))
    }

    /// Why a subscription can't have its new start or end, by the charges that are booked. A newer
    /// catalogue does not change that.
    pub(super) fn date_fault(&self, account: AccountNumber, change: &Change) -> Option<String> {
        let known = self.log.state().account(account)?;
        let profile = self.log.state().profiles().get(known.profile)?;
        let why_not =
            |new: &Subscription| self.view.tariffs.why_not_from(profile, &known.state, new);
        match change {
            Change::Subscribed(new) => why_not(new),
            Change::Offered(offer) => alternatives(offer).find_map(|new| why_not(&new)),
            Change::Cancelled(end) => {
                let is_ended = |one: &&Subscription| one.until_us == i64::MAX;
                self.end_fault(profile, (&end.plan_id, end.at_us), is_ended)
            }
            Change::EndMoved(end) => {
                let is_ended = |one: &&Subscription| one.from_us == end.from_us;
                self.end_fault(profile, (&end.plan_id, end.until_us), is_ended)
            }
            _ => None,
        }
    }

    /// Why a subscription can't end at an instant: the plan converts its charges to the account's
    /// currency, which changed between that instant and the present. The charges of later days are
    /// given back at the new end, in one currency, and were posted in two.
    fn end_fault(
        &self,
        profile: &Profile,
        (plan_id, at_us): (&str, i64),
        is_ended: impl Fn(&&Subscription) -> bool,
    ) -> Option<String> {
        let of_plan = profile.subscriptions.iter().filter(|one| one.plan_id == plan_id);
        let until_us = of_plan.filter(is_ended).map(|one| one.until_us).max()?;
        if !self.view.tariffs.catalogue().versions(plan_id).any(|plan| plan.converts_to_account()) {
            return None;
        }
        let before = profile.settings_at(Timestamp(at_us))?;
        let now_us = self.log.now().0;
        let changed = profile.settings.iter().rev().find(|new| {
            let is_posted = at_us < new.from_us && new.from_us < until_us && new.from_us <= now_us;
            is_posted && new.currency != before.currency
        })?;
        let since = shown(changed.from_us);
        Some(format!(
            "the account's currency changed from {} to {} at {since}, and the charges of {plan_id} \
             were posted in both: cancel it at {since} or later, and give earlier charges back by \
             hand",
            before.currency, changed.currency
        ))
    }

    fn check_plan(
        &self,
        account: AccountNumber,
        (plan_id, parameters): (&str, &BTreeMap<String, String>),
        from_us: i64,
    ) -> Option<String> {
        let from = Timestamp(from_us);
        let settings = self.settings_at(account, from);
        let read = match settings.map(readable).transpose() {
            Ok(read) => read,
            Err(why) => return Some(why),
        };
        let settings = read.as_ref();
        let settings =
            settings.map(|(zone, currency)| SubscriberSettings { zone, currency: *currency });
        let asked = SubscriptionAsked { plan_id, from, parameters, settings };
        self.check(&asked).err().map(|fault| fault.to_string())
    }

    fn check(&self, asked: &SubscriptionAsked<'_>) -> Result<(), SubscriptionFault> {
        let catalogue = self.view.tariffs.catalogue();
        let versions = catalogue.published(asked.plan_id);
        let mut compile = |plan: &turnpike_plan::Plan, parameters: &BTreeMap<String, String>| {
            let compiled = self.view.codes.compiled(plan, parameters);
            compiled.map(|code| code.posts()).map_err(|why| why.to_string())
        };
        check_subscription(asked, &versions, catalogue.plan_ids(), &mut compile)
    }

    fn settings_at(&self, account: AccountNumber, at: Timestamp) -> Option<&Settings> {
        let known = self.log.state().account(account)?;
        self.log.state().profiles().get(known.profile)?.settings_at(at)
    }
}

/// The time zone and the currency of settings. They were checked when they were set, so if one can't
/// be read, a newer program set it.
fn readable(settings: &Settings) -> Result<(Zone, Currency), String> {
    let Settings { zone, currency, .. } = settings;
    let unread = |what: &str, value: &str| {
        format!("this program can't read the account's {what} {value:?}: upgrade this node")
    };
    let read = Zone::parse(zone).map_err(|_| unread("time zone", zone))?;
    let currency = currency.parse().map_err(|_| unread("currency", currency))?;
    Ok((read, currency))
}
