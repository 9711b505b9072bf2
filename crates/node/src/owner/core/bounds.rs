//! The bounds of what an account keeps for ever: texts, dates, and how many changes.
//!
//! They are asked for changes that would apply, after repetitions were answered. So a command that
//! an earlier release carried out is answered as before, although it exceeds a bound of today.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use turnpike_account::alternatives;
use turnpike_segment::head::Change;
use turnpike_tariff::{Profile, Settings, Subscription};
use turnpike_types::dates::{date_fault, is_in_range};
use turnpike_types::limits::{
    ACCOUNT_BYTES_MAX, OFFERS_MAX, SETTINGS_CHANGES_MAX, SUBSCRIPTIONS_MAX,
};
use turnpike_types::{AccountNumber, DAY_US, Timestamp, text};

use super::owner_core::OwnerCore;

impl OwnerCore {
    /// Why a change exceeds a bound: a text of it, its date, or what the account has already.
    pub(super) fn bound_fault(&self, account: AccountNumber, change: &Change) -> Option<String> {
        let known = self.log.state().account(account);
        let nothing = Profile::default();
        let profile = known.and_then(|known| self.log.state().profiles().get(known.profile));
        let profile = profile.unwrap_or(&nothing);
        let date = |what: &str, at_us| date_fault(what, Timestamp(at_us), self.log.now());
        match change {
            Change::Opened(new) => illegal_pair(&new.attributes).or_else(|| fullness(profile, new)),
            Change::SettingsChanged(new) | Change::SettingsCorrected(new) => {
                date("from_us", new.from_us)
                    .or_else(|| illegal_pair(&new.attributes))
                    .or_else(|| too_many_settings(profile))
                    .or_else(|| fullness(profile, new))
            }
            Change::Subscribed(new) => date("from_us", new.from_us)
                .or_else(|| illegal_pair(&new.parameters))
                .or_else(|| too_many_subscriptions(profile, 1))
                .or_else(|| fullness(profile, new)),
            Change::Offered(offer) => {
                let mut new = alternatives(offer);
                date("from_us", offer.from_us)
                    .or_else(|| too_many_subscriptions(profile, offer.plans.len()))
                    .or_else(|| too_many_offers(profile))
                    .or_else(|| new.find_map(|new| fullness(profile, &new)))
            }
            Change::Cancelled(end) => {
                end_fault(profile, end.at_us).and_then(|at| date("at_us", at))
            }
            Change::EndMoved(end) => {
                end_fault(profile, end.until_us).and_then(|at| date("at_us", at))
            }
            Change::OptedOut(end) => date("at_us", end.at_us),
            Change::Picked(pick) => date("the cycle", i64::from(pick.cycle).saturating_mul(DAY_US)),
            Change::Recycled(_)
            | Change::StillSuspended(_)
            | Change::MovedAway(_)
            | Change::PostingsTaken(_) => None,
        }
    }
}

/// The date of an end, if it must be in the range. A subscription that an earlier release let begin
/// beyond the range can still be cancelled at its start.
fn end_fault(profile: &Profile, at_us: i64) -> Option<i64> {
    let is_start = |one: &Subscription| one.from_us == at_us && !is_in_range(Timestamp(at_us));
    (!profile.subscriptions.iter().any(is_start)).then_some(at_us)
}

/// The first attribute or parameter that is not legal.
fn illegal_pair(pairs: &BTreeMap<String, String>) -> Option<String> {
    pairs.iter().find_map(|(name, value)| {
        let name = text::ATTRIBUTE_NAME.check(name);
        name.and_then(|()| text::ATTRIBUTE_VALUE.check(value)).err().map(|why| why.to_string())
    })
}

fn too_many_settings(profile: &Profile) -> Option<String> {
    let count = profile.settings.len();
    (count >= SETTINGS_CHANGES_MAX).then(|| {
        format!(
            "the settings of the account changed {count} times, and an account has at most \
             {SETTINGS_CHANGES_MAX} settings: open another account"
        )
    })
}

fn too_many_subscriptions(profile: &Profile, new: usize) -> Option<String> {
    let count = profile.subscriptions.len();
    (count + new > SUBSCRIPTIONS_MAX).then(|| {
        format!(
            "the account has {count} subscriptions, ended ones included, and an account has at most \
             {SUBSCRIPTIONS_MAX}: open another account"
        )
    })
}

fn too_many_offers(profile: &Profile) -> Option<String> {
    let offered = profile.subscriptions.iter().filter(|one| !one.option.is_empty());
    let offers: BTreeSet<(&str, i64)> =
        offered.map(|one| (one.option.as_str(), one.from_us)).collect();
    let count = offers.len();
    (count >= OFFERS_MAX).then(|| {
        format!(
            "options were offered to the account {count} times, ended ones included, and at most \
             {OFFERS_MAX} times is possible: open another account"
        )
    })
}

/// Why the account has no room for one more of its settings or subscriptions.
fn fullness(profile: &Profile, new: &impl prost::Message) -> Option<String> {
    let settings = profile.settings.iter().map(Settings::encoded_len);
    let subscriptions = profile.subscriptions.iter().map(Subscription::encoded_len);
    let bytes = settings.chain(subscriptions).sum::<usize>() + new.encoded_len();
    (bytes > ACCOUNT_BYTES_MAX).then(|| {
        format!(
            "the settings and subscriptions of the account would have {bytes} bytes, ended ones \
             included, and at most {ACCOUNT_BYTES_MAX} are kept: use shorter attributes and \
             parameters, or open another account"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(count: usize, make: impl Fn(usize) -> Subscription) -> Profile {
        Profile { settings: Vec::new(), subscriptions: (0..count).map(make).collect() }
    }

    #[test]
    fn each_quota_of_an_account_is_refused_with_its_number() {
        let plain = with(SUBSCRIPTIONS_MAX, |_| Subscription::default());
        let told = too_many_subscriptions(&plain, 1).unwrap_or_default();
        assert!(told.contains("at most 2000"), "{told}");
        assert_eq!(too_many_subscriptions(&with(3, |_| Subscription::default()), 16), None);
        let offers = with(OFFERS_MAX, |n| Subscription {
            option: format!("o{n}"),
            ..Subscription::default()
        });
        assert!(too_many_offers(&offers).is_some_and(|told| told.contains("500 times")));
        let settings = vec![Settings::default(); SETTINGS_CHANGES_MAX];
        let changed = Profile { settings, subscriptions: Vec::new() };
        assert!(too_many_settings(&changed).is_some_and(|told| told.contains("4000 settings")));
        let note = [("note".to_owned(), "x".repeat(16_000))];
        let new = Settings { attributes: note.clone().into(), ..Settings::default() };
        let full = with(66, |_| Subscription {
            parameters: note.clone().into(),
            ..Subscription::default()
        });
        assert!(fullness(&full, &new).is_some_and(|told| told.contains("1048576")));
        assert_eq!(fullness(&Profile::default(), &new), None);
    }

    #[test]
    fn a_subscription_beyond_the_range_can_be_cancelled_at_its_start_only() {
        let never = with(1, |_| Subscription { from_us: i64::MAX - 5, ..Subscription::default() });
        assert_eq!(end_fault(&never, i64::MAX - 5), None);
        assert_eq!(end_fault(&never, i64::MAX - 4), Some(i64::MAX - 4));
        assert_eq!(end_fault(&never, 7), Some(7));
    }
}
