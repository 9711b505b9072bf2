//! Accounts: their settings and subscriptions over time, and their identities.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use turnpike_collect::AccountRow;
use turnpike_plan::{AccountContext, Zone};
use turnpike_tariff::{Profile, Settings, Subscription};
use turnpike_types::{AccountNumber, Identity, Money, PrefixLengths, Timestamp, capped};

use crate::error::TrialError;

/// An account's settings and subscriptions over time (docs/plan-semantics.md section 6).
#[derive(Clone, Debug)]
pub struct TrialAccount {
    /// Sorted by start; the first entry is in force from the beginning of time.
    settings: Vec<(Timestamp, AccountContext)>,
    /// Sorted by descending priority, then by start, then by option and place, then by plan.
    subscriptions: Vec<TrialSubscription>,
}

/// A subscription: a plan that rates an account during an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialSubscription {
    /// The plan's id.
    pub plan: String,
    /// The start, included.
    pub from: Timestamp,
    /// The end, not included; [`Timestamp::MAX`] if it has none.
    pub until: Timestamp,
    /// The subscription with the highest priority is tried first.
    pub priority: u32,
    /// Values for the plan's parameters.
    pub parameters: BTreeMap<String, String>,
    /// The option, if the subscription is an alternative of an option (docs/plan-semantics.md
    /// section 6).
    pub option: Option<Alternative>,
}

/// An alternative of an option: when the cycle closes, the cheapest alternative is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The option's name, unique within the account.
    pub option: String,
    /// The fee of the option for each cycle.
    pub fee: Money,
    /// The position among the alternatives: if several are the cheapest, the first of them is
    /// billed.
    pub place: u32,
}

impl TrialSubscription {
    /// A subscription without start and end, with the plan's default parameters.
    pub fn to(plan: impl Into<String>) -> Self {
        Self {
            plan: plan.into(),
            from: Timestamp::MIN,
            until: Timestamp::MAX,
            priority: 1,
            parameters: BTreeMap::new(),
            option: None,
        }
    }

    /// The subscription as an owner holds it.
    fn as_held(&self) -> Subscription {
        let offered = self.option.as_ref();
        Subscription {
            plan_id: self.plan.clone(),
            from_us: self.from.micros(),
            until_us: self.until.micros(),
            priority: self.priority,
            parameters: self.parameters.clone(),
            option: offered.map_or_else(String::new, |one| one.option.clone()),
            fee: offered.map_or_else(String::new, |one| one.fee.to_string()),
            place: offered.map_or(0, |one| one.place),
            kept_from_us: None,
        }
    }
}

impl TrialAccount {
    /// An account with these settings from the beginning of time, without subscriptions.
    pub fn new(settings: AccountContext) -> Self {
        Self { settings: vec![(Timestamp::MIN, settings)], subscriptions: Vec::new() }
    }

    /// Changes the settings from an instant on. A later call for the same instant replaces the
    /// settings of the earlier call.
    #[must_use]
    pub fn with_settings_from(mut self, from: Timestamp, settings: AccountContext) -> Self {
        match self.settings.binary_search_by_key(&from, |(from, _)| *from) {
            Ok(place) => self.settings[place].1 = settings,
            Err(place) => self.settings.insert(place, (from, settings)),
        }
        self
    }

    /// Adds a subscription.
    #[must_use]
    pub fn with(mut self, subscription: TrialSubscription) -> Self {
        self.subscriptions.push(subscription);
        self.subscriptions.sort_by(|a, b| {
            let by = |s: &TrialSubscription| (Reverse(s.priority), s.from);
            let offered =
                |s: &TrialSubscription| s.option.as_ref().map(|o| (o.option.clone(), o.place));
            let alike = || (offered(a), &a.plan).cmp(&(offered(b), &b.plan));
            by(a).cmp(&by(b)).then_with(alike)
        });
        self
    }

    /// Adds a subscription without start and end to each plan. The plans are tried in the given
    /// order.
    #[must_use]
    pub fn with_all<P: Into<String>>(self, plans: impl IntoIterator<Item = P>) -> Self {
        self.with_all_from(Timestamp::MIN, plans)
    }

    /// As [`TrialAccount::with_all`]; the subscriptions begin at an instant.
    #[must_use]
    pub fn with_all_from<P: Into<String>>(
        self,
        from: Timestamp,
        plans: impl IntoIterator<Item = P>,
    ) -> Self {
        (0..).zip(plans).fold(self, |account, (place, plan)| {
            let priority = u32::MAX - place;
            account.with(TrialSubscription { from, priority, ..TrialSubscription::to(plan) })
        })
    }

    /// Adds an option from an instant on: in each cycle, one of the alternatives is billed, and the
    /// fee is charged.
    #[must_use]
    pub fn with_option<P: Into<String>>(
        self,
        option: &str,
        fee: Money,
        from: Timestamp,
        plans: impl IntoIterator<Item = P>,
    ) -> Self {
        (0..).zip(plans).fold(self, |account, (place, plan)| {
            let option = Some(Alternative { option: option.to_owned(), fee, place });
            account.with(TrialSubscription { option, from, ..TrialSubscription::to(plan) })
        })
    }

    /// The account as an owner holds it.
    pub(crate) fn profile(&self) -> Profile {
        let settings = self.settings.iter().map(|(from, known)| Settings {
            from_us: from.micros(),
            zone: known.zone.name().to_owned(),
            cycle_day: known.cycle_day.into(),
            currency: known.currency.to_string(),
            attributes: known.attributes.clone(),
        });
        let mut profile = Profile { settings: settings.collect(), subscriptions: Vec::new() };
        self.subscriptions.iter().for_each(|known| profile.subscribe(known.as_held()));
        profile
    }

    /// The settings in force at `at`.
    pub fn settings_at(&self, at: Timestamp) -> &AccountContext {
        let since = self.settings.partition_point(|(from, _)| *from <= at);
        // Never empty: the first entry is in force from the beginning of time.
        &self.settings[since.saturating_sub(1)].1
    }

    /// The subscriptions in force at `at`, in the order in which they are tried.
    pub fn subscriptions_at(&self, at: Timestamp) -> impl Iterator<Item = &TrialSubscription> {
        self.subscriptions.iter().filter(move |s| s.from <= at && at < s.until)
    }
}

/// The accounts of a trial.
#[derive(Clone, Debug, Default)]
pub struct TrialAccounts {
    /// The settings and subscriptions of every account number that is not in `opened`; `None` if
    /// such accounts do not exist.
    everyone: Option<TrialAccount>,
    opened: HashMap<AccountNumber, TrialAccount>,
    /// The account of each identity, by the canonical spelling of the identity.
    identities: HashMap<String, AccountNumber>,
    prefix_lengths: PrefixLengths,
}

impl TrialAccounts {
    /// No accounts; an account exists once it is opened.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every account number exists, with this account's settings and subscriptions.
    pub fn all_alike(account: TrialAccount) -> Self {
        Self { everyone: Some(account), ..Self::default() }
    }

    /// Creates the accounts of a file; the first plan of an account is tried first. Subscriptions
    /// without a start begin at `now`, as if the file were imported at that instant.
    ///
    /// # Errors
    /// An unknown zone, an account listed twice, or an identity bound to two accounts.
    pub fn from_rows(
        rows: impl IntoIterator<Item = AccountRow>,
        now: Timestamp,
    ) -> Result<Self, TrialError> {
        let mut accounts = Self::none();
        for row in rows {
            for identity in row.identities {
                accounts.bind(identity, row.account)?;
            }
            let zone = Zone::parse(&row.zone)
                .map_err(|_| TrialError::Zone { account: row.account, zone: row.zone })?;
            let settings = AccountContext {
                zone,
                cycle_day: row.cycle_day,
                currency: row.currency,
                attributes: row.attributes,
            };
            let priorities = (1..=capped::<u32>(row.plans.len())).rev();
            let subscriptions = row.plans.into_iter().zip(priorities);
            let account =
                subscriptions.fold(TrialAccount::new(settings), |account, (plan, priority)| {
                    let parameters = row.parameters.clone();
                    let from = row.plan_from.unwrap_or(now);
                    account.with(TrialSubscription {
                        from,
                        priority,
                        parameters,
                        ..TrialSubscription::to(plan)
                    })
                });
            accounts.open(row.account, account)?;
        }
        Ok(accounts)
    }

    /// Opens an account.
    ///
    /// # Errors
    /// [`TrialError::AccountTwice`] if the account is open already.
    pub fn open(&mut self, number: AccountNumber, account: TrialAccount) -> Result<(), TrialError> {
        match self.opened.insert(number, account) {
            None => Ok(()),
            Some(_) => Err(TrialError::AccountTwice(number)),
        }
    }

    /// Binds an identity such as `ip:192.0.2.1` or `ip:198.51.100.8/29` to an account.
    ///
    /// # Errors
    /// [`TrialError::IdentityTwice`] if it is bound to another account already.
    pub fn bind(&mut self, identity: String, number: AccountNumber) -> Result<(), TrialError> {
        let identity = match Identity::parse(&identity) {
            Ok(known) => {
                self.prefix_lengths.add(&known);
                known.into()
            }
            Err(_) => identity,
        };
        match self.identities.insert(identity.clone(), number) {
            Some(first) if first != number => {
                Err(TrialError::IdentityTwice { identity, first, second: number })
            }
            _ => Ok(()),
        }
    }

    /// The account with this number.
    pub fn get(&self, number: AccountNumber) -> Option<&TrialAccount> {
        self.opened.get(&number).or(self.everyone.as_ref())
    }

    /// The numbers of the opened accounts.
    pub(crate) fn opened(&self) -> impl Iterator<Item = AccountNumber> + '_ {
        self.opened.keys().copied()
    }

    /// Whether this account was opened. Otherwise it has the settings common to all numbers.
    pub(crate) fn is_opened(&self, number: AccountNumber) -> bool {
        self.opened.contains_key(&number)
    }

    /// The account to which an identity is bound; for an address without an own binding, the
    /// account of the longest prefix of it that is bound.
    pub fn guide(&self, identity: &str) -> Option<AccountNumber> {
        let Ok(identity) = Identity::parse(identity) else {
            return self.identities.get(identity).copied();
        };
        let mut prefixes = identity.prefixes(self.prefix_lengths);
        let own = self.identities.get(identity.as_str());
        own.or_else(|| prefixes.find_map(|prefix| self.identities.get(prefix.as_str()))).copied()
    }
}
