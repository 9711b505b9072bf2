//! Prepares a load: a plan, accounts, subscriptions.

use std::path::Path;

use anyhow::bail;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use turnpike_proto::account::v1::{AccountOutcome, Settings, ShowResponse};
use turnpike_proto::cluster::v1::StatusRequest;
use turnpike_types::{AccountRange, capped};

use crate::account_setup::{publish, settings, subscription, succeeded};
use crate::apply;
use crate::client::Front;
use crate::generator::UsageKind;
use crate::{plans, ui};

/// The maximum number of accounts that are looked up before any is opened. If there are more
/// accounts, about this number of them is looked up, evenly spread: looking up a million takes
/// longer than opening them.
const LOOKED_UP_MAX: u64 = 20_000;
/// The number of accounts that are looked up concurrently.
const SHOWS_AT_ONCE: usize = 64;
/// The maximum number of accounts that a message names.
const NAMED_MAX: usize = 5;

/// The preparation of a load.
#[derive(Debug)]
pub(super) struct Setup {
    xml: String,
    plan_id: String,
    accounts: AccountRange,
}

/// Why the load must not use an account that is open.
enum Conflict {
    /// The account has other settings.
    Settings(u64),
    /// The account has, or had, another plan: its charges are somebody's.
    Plan(u64, String),
}

impl Setup {
    /// Reads and checks the plan, without a connection.
    pub(super) fn read(
        kind: UsageKind,
        plan: Option<&Path>,
        accounts: AccountRange,
    ) -> anyhow::Result<Self> {
        let (name, xml) = match (plan, kind) {
            (Some(path), _) => (path.display().to_string(), plans::read_xml(path)?),
            (None, UsageKind::Fig6b) => ("fig6b".to_owned(), plans::FIG6B.to_owned()),
            (None, UsageKind::Octets) => ("octets".to_owned(), plans::OCTETS.to_owned()),
        };
        let plan_id = plans::parse(&name, &xml)?.plan.id().to_string();
        Ok(Self { xml, plan_id, accounts })
    }

    pub(super) async fn run(&self, front: &Front, hidden: bool) -> anyhow::Result<()> {
        let count = count(self.accounts);
        self.check_covered(front).await?;
        let settings = settings("UTC", "USD");
        self.check_unused(front, &settings, self.looked_up(), "Nothing was changed").await?;
        let plan_id = publish(front, &self.xml).await?;
        let numbers = self.accounts.first().0..=self.accounts.last().0;
        let bar = ui::progress(Some(count), "accounts opened", hidden);
        let opens = numbers.clone().map(|number| apply::open(number, settings.clone(), []));
        let mut were_open = Vec::new();
        let opened = apply::apply(front, opens, |number, outcome| {
            bar.inc(1);
            if outcome == AccountOutcome::Already && count > LOOKED_UP_MAX {
                were_open.push(number);
            }
        });
        let opened = opened.await?;
        bar.finish_and_clear();
        succeeded(&opened)?;
        // Of many accounts, only a part was looked up. An account that was opened just now has no
        // plan; the others are looked up before a subscription charges them.
        were_open.sort_unstable();
        let unchanged = "Accounts that were not open are open now, and no account was subscribed";
        self.check_unused(front, &settings, were_open.into_iter(), unchanged).await?;
        let bar = ui::progress(Some(count), "accounts subscribed", hidden);
        let subscription = subscription(&plan_id);
        let subscriptions = numbers.map(|number| apply::subscribe(number, subscription.clone()));
        let subscribed = apply::apply(front, subscriptions, |_, _| bar.inc(1)).await?;
        bar.finish_and_clear();
        succeeded(&subscribed)
    }

    /// Refuses accounts that no partition has.
    async fn check_covered(&self, front: &Front) -> anyhow::Result<()> {
        let status = front.call("the cluster's partitions could not be read", || {
            let mut cluster = front.cluster();
            async move { cluster.status(StatusRequest {}).await }
        });
        let partitions = status.await?.partitions.into_iter();
        let ranges: Vec<_> = partitions.map(|one| (one.first_account, one.last_account)).collect();
        let Some(missing) = self.accounts.first_outside(&ranges) else { return Ok(()) };
        bail!(
            "of the accounts {}, account {missing} is in no partition (`turnpike status` lists their \
             ranges). Nothing was changed; choose other accounts with --first-account and \
             --account-count",
            self.accounts
        )
    }

    /// Refuses accounts that are open with other settings or another plan.
    async fn check_unused(
        &self,
        front: &Front,
        settings: &Settings,
        numbers: impl Iterator<Item = u64>,
        unchanged: &str,
    ) -> anyhow::Result<()> {
        let shown =
            stream::iter(numbers).map(|number| front.account(number)).buffered(SHOWS_AT_ONCE);
        let conflicts = shown.try_filter_map(|shown| async move {
            Ok(shown.and_then(|shown| self.conflict(&shown, settings)))
        });
        let conflicts: Vec<Conflict> = conflicts.take(NAMED_MAX + 1).try_collect().await?;
        let with_plan = conflicts.iter().find_map(|conflict| match conflict {
            Conflict::Plan(number, plan) => Some((number, plan)),
            Conflict::Settings(_) => None,
        });
        if let Some((number, plan)) = with_plan {
            bail!(
                "account {number} is in use: it has the plan {plan}, and the load would charge it. \
                 {unchanged}; choose other accounts with --first-account"
            );
        }
        let unlike: Vec<String> = conflicts
            .iter()
            .map(|conflict| match conflict {
                Conflict::Settings(number) | Conflict::Plan(number, _) => number.to_string(),
            })
            .collect();
        let named = match unlike.as_slice() {
            [] => return Ok(()),
            all if all.len() > NAMED_MAX => format!("{}, …", all[..NAMED_MAX].join(", ")),
            all => all.join(", "),
        };
        bail!(
            "accounts are open with other settings than zone UTC, currency USD and cycle day 1: \
             {named}. {unchanged}; choose other accounts with --first-account"
        )
    }

    fn conflict(&self, shown: &ShowResponse, settings: &Settings) -> Option<Conflict> {
        let number = shown.account_number;
        let plans = shown.subscriptions.iter().map(|subscription| &subscription.plan_id);
        if let Some(plan) = plans.into_iter().find(|plan| **plan != self.plan_id) {
            return Some(Conflict::Plan(number, plan.clone()));
        }
        let first = shown.settings.first().and_then(|dated| dated.settings.as_ref());
        (first != Some(settings)).then_some(Conflict::Settings(number))
    }

    /// The accounts to look up, always including the last one.
    fn looked_up(&self) -> impl Iterator<Item = u64> + use<> {
        let (first, last) = (self.accounts.first().0, self.accounts.last().0);
        let step = capped(count(self.accounts).div_ceil(LOOKED_UP_MAX).max(1));
        let is_last_left = !(last - first).is_multiple_of(step as u64);
        (first..=last).step_by(step).chain(is_last_left.then_some(last))
    }
}

/// The number of accounts; a range has fewer than 2^64, because it begins at 1 or later.
const fn count(accounts: AccountRange) -> u64 {
    accounts.last().0 - accounts.first().0 + 1
}
