//! Prepares a load: a plan, accounts, subscriptions.

use std::path::Path;

use turnpike_proto::account::v1::{Settings, Subscribe};
use turnpike_proto::plan::v1::PublishRequest;

use crate::apply::{self, Applied};
use crate::client::Front;
use crate::commands::plan::read_xml;
use crate::{plans, ui};

use super::UsageKind;

/// The parameters of the preparation.
pub(crate) struct Setup<'a> {
    pub(crate) kind: UsageKind,
    pub(crate) plan: Option<&'a Path>,
    pub(crate) first: u64,
    pub(crate) accounts: u64,
}

impl Setup<'_> {
    pub(crate) async fn run(&self, front: &Front, hidden: bool) -> anyhow::Result<()> {
        let xml = match (self.plan, self.kind) {
            (Some(path), _) => read_xml(path)?,
            (None, UsageKind::Fig6b) => plans::FIG6B.to_owned(),
            (None, UsageKind::Octets) => plans::OCTETS.to_owned(),
        };
        let plan_id = publish(front, &xml).await?;
        let numbers = self.first..self.first.saturating_add(self.accounts);
        let bar = ui::progress(Some(self.accounts * 2), "accounts", hidden);
        let settings = settings("UTC", "USD");
        let opens = numbers.clone().map(|number| apply::open(number, settings.clone(), []));
        let mut applied = apply::apply(front, opens, |_, _| bar.inc(1)).await?;
        let subscription = subscription(&plan_id);
        let subscriptions = numbers.map(|number| apply::subscribe(number, subscription.clone()));
        applied.add(apply::apply(front, subscriptions, |_, _| bar.inc(1)).await?);
        bar.finish_and_clear();
        succeeded(&applied)
    }
}

/// Publishes a plan and returns its id.
pub(crate) async fn publish(front: &Front, xml: &str) -> anyhow::Result<String> {
    let request = PublishRequest { xml: xml.to_owned(), ..Default::default() };
    let answer = front
        .call("the plan was not published", || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.publish(request).await }
        })
        .await?;
    Ok(answer.plan.unwrap_or_default().plan_id)
}

pub(crate) fn settings(zone: &str, currency: &str) -> Settings {
    Settings {
        zone: zone.to_owned(),
        cycle_day: 1,
        currency: currency.to_owned(),
        attributes: [].into(),
    }
}

pub(crate) fn subscription(plan_id: &str) -> Subscribe {
    Subscribe { plan_id: plan_id.to_owned(), from_us: 0, priority: 1, parameters: [].into() }
}

/// Fails if any account command was refused.
pub(crate) fn succeeded(applied: &Applied) -> anyhow::Result<()> {
    if applied.refused == 0 {
        return Ok(());
    }
    ui::print_some_stderr(&applied.refusals, 10, "");
    anyhow::bail!("accounts could not be set up: {applied}")
}
