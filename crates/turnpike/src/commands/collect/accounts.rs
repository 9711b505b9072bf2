//! Opens accounts for requesters that have none. All checks run before the first change.
//!
//! ```text
//!  read the log --> plan published? --> records recent enough? --> which requesters have an
//!  account? --> which numbers are free? --> open and bind --> subscribe
//! ```

use anyhow::{bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tonic::{Code, Response};
use turnpike_proto::account::v1::{
    IdentityAt, ResolveRequest, ResolvedIdentity, Settings, ShowRequest, ShowResponse, Subscribe,
};
use turnpike_proto::cluster::v1::{Partition, StatusRequest};
use turnpike_proto::plan::v1::ListRequest;
use turnpike_types::{Timestamp, limits};

use super::AccessLogArgs;
use super::survey::{Requester, Survey};
use crate::apply::{self, Applied};
use crate::cli::Context;
use crate::client::Front;
use crate::{ui, values};

/// Accounts looked up concurrently.
const SHOWS_AT_ONCE: usize = 16;
/// Account numbers found in use before the command gives up.
const TAKEN_MAX: usize = 10_000;

/// Opens an account for each requester of `survey` that has none.
///
/// # Errors
/// A failed check; then nothing was changed.
pub(super) async fn open(
    front: &Front,
    args: &AccessLogArgs,
    from: u64,
    plan_from: Timestamp,
    survey: Survey,
    context: &Context,
) -> anyhow::Result<()> {
    if let Some(plan) = &args.plan {
        check_plan(front, plan).await?;
    }
    let partitions = partitions(front).await?;
    let all = survey.requesters.len();
    let requesters = young_enough(survey, &partitions, from)?;
    let resolved = resolve(front, &requesters).await?;
    let (mut new, mut bound, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
    for (requester, resolved) in requesters.into_iter().zip(resolved) {
        match resolved {
            ResolvedIdentity { account_number: 0, bound_at_other_times: false } => {
                new.push(requester)
            }
            ResolvedIdentity { account_number: 0, .. } => elsewhere.push(requester.identity),
            ResolvedIdentity { account_number, .. } => bound.push(account_number),
        }
    }
    let numbers = free_numbers(front, &partitions, from, new.len()).await?;
    let settings = Settings {
        zone: args.zone.clone(),
        cycle_day: 1,
        currency: args.currency.to_string(),
        attributes: [].into(),
    };
    let unfinished = match &args.plan {
        Some(_) => unfinished(front, bound, from, &settings).await?,
        None => Vec::new(),
    };
    // All checks have passed: the changes begin here.
    let hidden = context.quiet || args.batches.json;
    let bar = ui::progress(Some(new.len() as u64), "accounts", hidden);
    let identities = new.iter().map(|requester| requester.identity.clone());
    let commands = numbers.iter().zip(identities);
    let commands = commands.map(|(&number, id)| apply::open(number, settings.clone(), [id]));
    let mut applied = apply::apply(front, commands, |done| bar.inc(done)).await?;
    if let Some(plan) = &args.plan {
        let subscribed = numbers.iter().chain(&unfinished);
        applied.add(subscribe(front, plan, plan_from, subscribed.copied()).await?);
    }
    bar.finish_and_clear();
    tell(&applied, all, &numbers, &elsewhere)
}

fn tell(
    applied: &Applied,
    all: usize,
    numbers: &[u64],
    elsewhere: &[String],
) -> anyhow::Result<()> {
    if applied.refused > 0 {
        ui::tell(format_args!("accounts could not be opened for all requesters:"));
        ui::tell_some(&applied.refusals, 10, "");
        bail!(
            "{} of the commands that open accounts were refused; nothing was sent. Run this again: \
             what was opened stays",
            applied.refused
        );
    }
    if !elsewhere.is_empty() {
        ui::tell(
            "these requesters have addresses that are bound only at other times; bind them with `turnpike account bind`:",
        );
        ui::tell_some(elsewhere, 10, "");
    }
    let (all, opened) = (ui::count(all as u64), ui::count(numbers.len() as u64));
    let range = match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) => format!(" ({first} to {last})"),
        _ => String::new(),
    };
    ui::tell(format_args!("{all} requesters: {opened} accounts opened{range}; {applied}"));
    Ok(())
}

async fn check_plan(front: &Front, plan: &str) -> anyhow::Result<()> {
    let request = ListRequest { plan_id: plan.to_owned() };
    let listed = front
        .call("plans can't be listed", || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.list(request).await }
        })
        .await?;
    ensure!(
        listed.plans.iter().any(|version| version.plan_id == plan),
        "plan {plan} is not published; nothing was changed. Publish it first: turnpike plan publish \
         FILE"
    );
    Ok(())
}

async fn partitions(front: &Front) -> anyhow::Result<Vec<Partition>> {
    let status = front
        .call("the cluster's partitions can't be read", || {
            let mut cluster = front.cluster();
            async move { cluster.status(StatusRequest {}).await }
        })
        .await?;
    ensure!(!status.partitions.is_empty(), "the cluster has no partitions; nothing was changed");
    let mut partitions = status.partitions;
    partitions.sort_by_key(|partition| partition.first_account);
    Ok(partitions)
}

/// The requesters that have at least one access that the cluster accepts.
fn young_enough(
    survey: Survey,
    partitions: &[Partition],
    from: u64,
) -> anyhow::Result<Vec<Requester>> {
    let serving = partitions.iter().filter(|partition| partition.last_account >= from);
    let accepts_from = serving.filter_map(|partition| partition.accepts_from_us).max();
    let Some(accepts_from) = accepts_from else { return Ok(survey.requesters) };
    let all = survey.requesters.len();
    let young: Vec<Requester> =
        survey.requesters.into_iter().filter(|one| one.newest.0 >= accepts_from).collect();
    let [oldest, newest] = [survey.oldest, survey.newest]
        .map(|at| at.map_or_else(String::new, |at| values::show_instant(at.0)));
    let accepts = values::show_instant(accepts_from);
    if young.is_empty() {
        let day = oldest.get(..10).unwrap_or(&oldest);
        bail!(
            "every access is too old: the log spans {oldest} to {newest}, and the cluster accepts \
             records since {accepts}. Nothing was changed. For old logs create a cluster with \
             `turnpike up --data NEW-DIR --accept-since {day}`, or partitions with `turnpike \
             partition init … --accept-since {day}`"
        );
    }
    if survey.oldest.is_some_and(|oldest| oldest.0 < accepts_from) {
        ui::tell(format_args!(
            "some accesses are too old and will be rejected: the log begins {oldest}, and the \
             cluster takes records since {accepts}; {} requesters have none that is younger",
            ui::count((all - young.len()) as u64)
        ));
    }
    Ok(young)
}

async fn resolve(front: &Front, requesters: &[Requester]) -> anyhow::Result<Vec<ResolvedIdentity>> {
    let mut resolved = Vec::with_capacity(requesters.len());
    for some in requesters.chunks(limits::ACCOUNT_COMMANDS_MAX) {
        let asked =
            |one: &Requester| IdentityAt { identity: one.identity.clone(), at_us: one.newest.0 };
        let request = ResolveRequest { identities: some.iter().map(asked).collect() };
        let answer = front
            .call("requesters can't be looked up", || {
                let (mut accounts, request) = (front.accounts(), request.clone());
                async move { accounts.resolve(request).await }
            })
            .await?;
        let (found, asked) = (answer.identities.len(), some.len());
        ensure!(found == asked, "the front answered {found} of {asked} identities");
        resolved.extend(answer.identities);
    }
    Ok(resolved)
}

/// The first `count` account numbers from `from` on that are not in use.
async fn free_numbers(
    front: &Front,
    partitions: &[Partition],
    from: u64,
    count: usize,
) -> anyhow::Result<Vec<u64>> {
    let mut free = Vec::with_capacity(count.min(limits::ACCOUNT_COMMANDS_MAX));
    if count == 0 {
        return Ok(free);
    }
    let covered = |number: &u64| {
        let ranges = partitions.iter().map(|one| one.first_account..=one.last_account);
        ranges.into_iter().any(|range| range.contains(number))
    };
    let numbers = (from..=u64::MAX).take_while(covered);
    let looked = stream::iter(numbers)
        .map(|number| async move { anyhow::Ok((number, show(front, number).await?.is_some())) });
    let mut looked = looked.buffered(SHOWS_AT_ONCE);
    let mut taken = 0;
    while free.len() < count {
        match looked.try_next().await? {
            Some((number, false)) => free.push(number),
            Some(_) => taken += 1,
            None => {
                let ranges: Vec<String> = partitions
                    .iter()
                    .map(|one| format!("{}-{}", one.first_account, one.last_account))
                    .collect();
                bail!(
                    "{} accounts are needed, and {} numbers are free from {from} on without a gap \
                     between the partitions (which have {}); nothing was changed. Choose another \
                     --open-accounts",
                    ui::count(count as u64),
                    ui::count(free.len() as u64),
                    ranges.join(", ")
                );
            }
        }
        ensure!(
            taken <= TAKEN_MAX,
            "more than {TAKEN_MAX} account numbers from {from} on are in use; nothing was changed. \
             Choose a larger --open-accounts"
        );
    }
    Ok(free)
}

/// The account, or `None` if it was never opened.
async fn show(front: &Front, number: u64) -> anyhow::Result<Option<ShowResponse>> {
    front
        .call(&format!("account {number} can't be looked at"), || {
            let mut accounts = front.accounts();
            async move {
                match accounts.show(ShowRequest { account_number: number }).await {
                    Ok(shown) => Ok(Response::new(Some(shown.into_inner()))),
                    Err(status) if status.code() == Code::NotFound => Ok(Response::new(None)),
                    Err(status) => Err(status),
                }
            }
        })
        .await
}

/// The accounts that an interrupted run opened and did not subscribe: those with exactly these
/// settings and without a plan.
async fn unfinished(
    front: &Front,
    mut accounts: Vec<u64>,
    from: u64,
    settings: &Settings,
) -> anyhow::Result<Vec<u64>> {
    accounts.sort_unstable();
    accounts.dedup();
    let candidates = accounts.into_iter().filter(|&number| number >= from);
    let shown = stream::iter(candidates).map(|number| show(front, number)).buffered(SHOWS_AT_ONCE);
    let unfinished = shown.try_filter_map(|shown| async move {
        let shown = shown.filter(|shown| {
            let [only] = shown.settings.as_slice() else { return false };
            shown.subscriptions.is_empty() && only.settings.as_ref() == Some(settings)
        });
        Ok(shown.map(|shown| shown.account_number))
    });
    unfinished.try_collect().await
}

async fn subscribe(
    front: &Front,
    plan: &str,
    from: Timestamp,
    accounts: impl Iterator<Item = u64>,
) -> anyhow::Result<Applied> {
    let subscription =
        Subscribe { plan_id: plan.to_owned(), from_us: from.0, priority: 1, parameters: [].into() };
    let commands = accounts.map(|number| apply::subscribe(number, subscription.clone()));
    apply::apply(front, commands, |_| {}).await
}
