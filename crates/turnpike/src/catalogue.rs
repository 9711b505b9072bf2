//! Reads published price plans from the catalogue.

use turnpike_proto::plan::v1::{GetRequest, GetResponse};

use crate::client::Front;

/// The number that asks a front for the newest version.
pub(crate) const NEWEST: u32 = 0;

/// The XML of a published version of a plan; the version [`NEWEST`] selects the newest one.
pub(crate) async fn published(front: &Front, plan: &str, version: u32) -> anyhow::Result<String> {
    Ok(get(front, plan, version).await?.xml)
}

/// A published version of a plan, with the facts of its publication.
pub(crate) async fn get(front: &Front, plan: &str, version: u32) -> anyhow::Result<GetResponse> {
    let request = GetRequest { plan_id: plan.to_owned(), version };
    let doing = format!("plan {plan} can't be shown (see `turnpike plan list`)");
    front
        .call(&doing, || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.get(request).await }
        })
        .await
}
