//! Prepares a load: a plan, accounts, subscriptions.

use anyhow::bail;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use turnpike_proto::account::v1::Settings;
use turnpike_types::capped;

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

/// The parameters of the preparation.
pub(crate) struct Setup {
    pub(crate) kind: UsageKind,
    /// The XML of a plan instead of the built-in one.
    pub(crate) plan: Option<String>,
    pub(crate) first: u64,
    pub(crate) accounts: u64,
}

impl Setup {
    pub(crate) async fn run(&self, front: &Front, hidden: bool) -> anyhow::Result<()> {
        let xml = match (&self.plan, self.kind) {
            (Some(xml), _) => xml.clone(),
            (None, UsageKind::Fig6b) => plans::FIG6B.to_owned(),
            (None, UsageKind::Octets) => plans::OCTETS.to_owned(),
        };
        let settings = settings("UTC", "USD");
        self.check_unlike(front, &settings).await?;
        let plan_id = publish(front, &xml).await?;
        let numbers = self.first..self.first.saturating_add(self.accounts);
        let bar = ui::progress(Some(self.accounts * 2), "accounts", hidden);
        let opens = numbers.clone().map(|number| apply::open(number, settings.clone(), []));
        let mut applied = apply::apply(front, opens, |_, _| bar.inc(1)).await?;
        let subscription = subscription(&plan_id);
        let subscriptions = numbers.map(|number| apply::subscribe(number, subscription.clone()));
        applied.add(apply::apply(front, subscriptions, |_, _| bar.inc(1)).await?);
        bar.finish_and_clear();
        succeeded(&applied)
    }

    /// Refuses accounts that are open with other settings, before anything is changed.
    async fn check_unlike(&self, front: &Front, settings: &Settings) -> anyhow::Result<()> {
        let shown = stream::iter(self.looked_up())
            .map(|number| front.account(number))
            .buffered(SHOWS_AT_ONCE);
        let unlike = shown.try_filter_map(|shown| async move {
            let opened = shown.filter(|shown| {
                let first = shown.settings.first().and_then(|dated| dated.settings.as_ref());
                first != Some(settings)
            });
            Ok(opened.map(|shown| shown.account_number.to_string()))
        });
        let unlike: Vec<String> = unlike.take(NAMED_MAX + 1).try_collect().await?;
        let named = match unlike.as_slice() {
            [] => return Ok(()),
            all if all.len() > NAMED_MAX => format!("{}, …", all[..NAMED_MAX].join(", ")),
            all => all.join(", "),
        };
        bail!(
            "accounts are open with other settings than zone UTC, currency USD and cycle day 1: \
             {named}. Nothing was changed; choose other accounts with --first-account"
        )
    }

    /// The accounts to look up, always including the last one.
    fn looked_up(&self) -> impl Iterator<Item = u64> + use<> {
        let (first, accounts) = (self.first, self.accounts);
        let distance = accounts.div_ceil(LOOKED_UP_MAX).max(1);
        let last = (!(accounts - 1).is_multiple_of(distance)).then_some(accounts - 1);
        let step = capped(distance);
        let places = (0..accounts).step_by(step).chain(last);
        places.map(move |place| first.saturating_add(place))
    }
}
