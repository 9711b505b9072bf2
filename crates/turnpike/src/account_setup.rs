//! What the generated usage of `load` and `demo` needs: a published plan, open accounts and their
//! subscriptions.

use turnpike_proto::account::v1::{Settings, Subscribe};
use turnpike_proto::plan::v1::PublishRequest;

use crate::apply::Applied;
use crate::client::{Front, stated};
use crate::ui;

/// Publishes a plan and returns its id.
pub(crate) async fn publish(front: &Front, xml: &str) -> anyhow::Result<String> {
    let request = PublishRequest { xml: xml.to_owned(), ..Default::default() };
    let answer = front
        .call("the plan was not published", || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.publish(request).await }
        })
        .await?;
    Ok(stated(answer.plan, "the published plan")?.plan_id)
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
