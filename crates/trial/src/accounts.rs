//! Who is rated by what: settings and subscriptions through time, and identities.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use turnpike_collect::AccountRow;
use turnpike_plan::{AccountContext, Zone};
use turnpike_types::{AccountNumber, Identity, Money, PrefixLengths, Timestamp};

use crate::TrialError;

/// An account's settings and subscriptions through time (docs/plan-semantics.md section 6).
#[derive(Clone, Debug)]
pub struct Account {
    /// Sorted by start; the first holds from the beginning of time.
    settings: Vec<(Timestamp, AccountContext)>,
    /// Sorted by falling priority, then by start, then by plan.
    subscriptions: Vec<Subscription>,
}

/// A plan that rates an account for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The plan's id.
    pub plan: String,
    /// From when.
    pub from: Timestamp,
    /// To just before this instant; [`Timestamp::MAX`] while it stands.
    pub until: Timestamp,
    /// Larger is asked first.
    pub priority: u32,
    /// Values for the plan's parameters.
    pub parameters: BTreeMap<String, String>,
    /// The option that it is an alternative of (docs/plan-semantics.md section 6).
    pub option: Option<Alternative>,
}

/// One of several plans of which the best one is billed when the cycle closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The option's name, unique within the account.
    pub option: String,
    /// What choosing costs for each cycle.
    pub fee: Money,
    /// Its place in the offer: of equally cheap ones the first is billed.
    pub place: u32,
}

impl Subscription {
    /// A subscription for ever, by the plan's own parameters.
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
}

impl Account {
    /// An account with these settings from the beginning of time, subscribed to nothing.
    pub fn new(settings: AccountContext) -> Self {
        Self { settings: vec![(Timestamp::MIN, settings)], subscriptions: Vec::new() }
    }

    /// Other settings from an instant on; of two for one instant the later said counts.
    #[must_use]
    pub fn with_settings_from(mut self, from: Timestamp, settings: AccountContext) -> Self {
        match self.settings.binary_search_by_key(&from, |(from, _)| *from) {
            Ok(place) => self.settings[place].1 = settings,
            Err(place) => self.settings.insert(place, (from, settings)),
        }
        self
    }

    /// A further subscription.
    #[must_use]
    pub fn with(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self.subscriptions.sort_by(|a, b| {
            let by = |s: &Subscription| (Reverse(s.priority), s.from);
            let offered = |s: &Subscription| s.option.as_ref().map(|o| (o.option.clone(), o.place));
            let alike = || (offered(a), &a.plan).cmp(&(offered(b), &b.plan));
            by(a).cmp(&by(b)).then_with(alike)
        });
        self
    }

    /// A subscription for ever to each of several plans; the first is asked first.
    #[must_use]
    pub fn with_all<P: Into<String>>(self, plans: impl IntoIterator<Item = P>) -> Self {
        (0..).zip(plans).fold(self, |account, (place, plan)| {
            let priority = u32::MAX - place;
            account.with(Subscription { priority, ..Subscription::to(plan) })
        })
    }

    /// An option from an instant on: of these alternatives one is billed each cycle, with the fee.
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
            account.with(Subscription { option, from, ..Subscription::to(plan) })
        })
    }

    /// All settings, with since when each holds.
    pub(crate) fn settings(&self) -> &[(Timestamp, AccountContext)] {
        &self.settings
    }

    /// All subscriptions.
    pub(crate) fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// The settings in force at `at`.
    pub fn settings_at(&self, at: Timestamp) -> &AccountContext {
        let since = self.settings.partition_point(|(from, _)| *from <= at);
        // Never empty: the first holds from the beginning of time.
        &self.settings[since.saturating_sub(1)].1
    }

    /// The subscriptions in force at `at`, those to be asked first in front.
    pub fn subscriptions_at(&self, at: Timestamp) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter().filter(move |s| s.from <= at && at < s.until)
    }
}

/// All accounts of a trial.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// For numbers that were not opened; `None` when only opened ones exist.
    everyone: Option<Account>,
    opened: HashMap<AccountNumber, Account>,
    /// By their one spelling.
    identities: HashMap<String, AccountNumber>,
    prefix_lengths: PrefixLengths,
}

impl Accounts {
    /// No account exists until it is opened.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every account number exists, and has this.
    pub fn all_alike(account: Account) -> Self {
        Self { everyone: Some(account), ..Self::default() }
    }

    /// The accounts that a file lists; the first of an account's plans is asked first.
    ///
    /// # Errors
    /// A zone that does not exist, an account listed twice, an identity of two accounts.
    pub fn from_rows(rows: impl IntoIterator<Item = AccountRow>) -> Result<Self, TrialError> {
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
            let priorities = (1..=u32::try_from(row.plans.len()).unwrap_or(u32::MAX)).rev();
            let subscriptions = row.plans.into_iter().zip(priorities);
            let account =
                subscriptions.fold(Account::new(settings), |account, (plan, priority)| {
                    let parameters = row.parameters.clone();
                    let from = row.plan_from;
                    account.with(Subscription {
                        from,
                        priority,
                        parameters,
                        ..Subscription::to(plan)
                    })
                });
            accounts.open(row.account, account)?;
        }
        Ok(accounts)
    }

    /// Opens an account.
    ///
    /// # Errors
    /// [`TrialError::AccountTwice`] when it was opened before.
    pub fn open(&mut self, number: AccountNumber, account: Account) -> Result<(), TrialError> {
        match self.opened.insert(number, account) {
            None => Ok(()),
            Some(_) => Err(TrialError::AccountTwice(number)),
        }
    }

    /// Lets an identity such as `ip:192.0.2.1` or `ip:198.51.100.8/29` lead to an account.
    ///
    /// # Errors
    /// [`TrialError::IdentityTwice`] when it leads to another one already.
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
    pub fn get(&self, number: AccountNumber) -> Option<&Account> {
        self.opened.get(&number).or(self.everyone.as_ref())
    }

    /// The numbers of the accounts that were opened.
    pub(crate) fn opened(&self) -> impl Iterator<Item = AccountNumber> + '_ {
        self.opened.keys().copied()
    }

    /// Was this account opened, rather than having what everyone has?
    pub(crate) fn is_opened(&self, number: AccountNumber) -> bool {
        self.opened.contains_key(&number)
    }

    /// The account that an identity leads to: of an address the one with the longest prefix of it.
    pub fn guide(&self, identity: &str) -> Option<AccountNumber> {
        let Ok(identity) = Identity::parse(identity) else {
            return self.identities.get(identity).copied();
        };
        let mut prefixes = identity.prefixes(self.prefix_lengths);
        let own = self.identities.get(identity.as_str());
        own.or_else(|| prefixes.find_map(|prefix| self.identities.get(prefix.as_str()))).copied()
    }
}
