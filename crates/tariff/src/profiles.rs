//! Settings and subscriptions. Accounts with equal settings and subscriptions share one copy.

use std::collections::HashMap;

use turnpike_types::{Must, Timestamp};

use crate::settings::{Settings, Subscription};

/// The settings and subscriptions of an account over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Profile {
    /// Sorted by `from_us`. The first settings are in force from the beginning of time.
    pub settings: Vec<Settings>,
    /// Sorted by descending priority, then by start, option, position in the option, and plan.
    pub subscriptions: Vec<Subscription>,
}

impl Profile {
    /// The settings in force at `at`.
    pub fn settings_at(&self, at: Timestamp) -> Option<&Settings> {
        let since = self.settings.partition_point(|settings| settings.from_us <= at.0);
        self.settings.get(since.saturating_sub(1))
    }

    /// The subscriptions in force at `at`, highest priority first.
    pub fn subscriptions_at(&self, at: Timestamp) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter().filter(move |s| s.from_us <= at.0 && at.0 < s.until_us)
    }

    /// All instants at which the settings or subscriptions in force may change. Plan versions are
    /// not included.
    pub fn boundaries(&self) -> impl Iterator<Item = Timestamp> {
        let settings = self.settings.iter().map(|settings| settings.from_us);
        let subscriptions = self.subscriptions.iter();
        let subscriptions =
            subscriptions.flat_map(|s| [Some(s.from_us), Some(s.until_us), s.kept_from_us]);
        settings.chain(subscriptions.flatten()).map(Timestamp)
    }

    /// A subscription to the same plan whose interval overlaps that of `new`.
    pub fn overlapping(&self, new: &Subscription) -> Option<&Subscription> {
        self.subscriptions.iter().find(|old| {
            old.plan_id == new.plan_id
                && old.is_ever_in_force()
                && old.from_us < new.until_us
                && new.from_us < old.until_us
        })
    }

    /// Adds a subscription.
    pub fn subscribe(&mut self, subscription: Subscription) {
        self.subscriptions.push(subscription);
        self.subscriptions.sort_by(|a, b| by_rank(a).cmp(&by_rank(b)));
    }
}

/// The sort key of subscriptions.
fn by_rank(s: &Subscription) -> (std::cmp::Reverse<u32>, i64, &str, u32, &str) {
    (std::cmp::Reverse(s.priority), s.from_us, &s.option, s.place, &s.plan_id)
}

/// The index of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileId(pub u32);

/// All profiles of a partition. An unused profile is kept until the next reload of the state.
#[derive(Debug, Default)]
pub struct Profiles {
    profiles: Vec<Profile>,
    index: HashMap<Profile, ProfileId>,
}

impl Profiles {
    /// Stores the profile and returns its id, which is the same for equal profiles.
    pub fn intern(&mut self, profile: Profile) -> ProfileId {
        if let Some(&known) = self.index.get(&profile) {
            return known;
        }
        // There are at most as many profiles as accounts.
        let next = u32::try_from(self.profiles.len());
        let id = ProfileId(next.must("memory can't hold a partition of 2^32 accounts"));
        self.profiles.push(profile.clone());
        self.index.insert(profile, id);
        id
    }

    /// The profile with this id.
    pub fn get(&self, id: ProfileId) -> Option<&Profile> {
        self.profiles.get(id.0 as usize)
    }

    /// The number of profiles.
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether there are no profiles.
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }
}
