//! Opens accounts for requesters that have none. All checks run before the first change.
//!
//! ```text
//!  read the log --> plan published? --> records recent enough? --> which requesters have an
//!  account? --> which numbers are free? --> open and bind --> subscribe
//!                         ^                      |
//!                         '---- number taken ----'
//! ```
//!
//! Other runs may open accounts at the same time. An account that this run opens must be new, so
//! that a number goes to one requester only, and only the accounts that this run opened are
//! subscribed. Accounts of requesters that are open already and have no plan are reported;
//! `--resume` subscribes them too.

use std::collections::HashSet;

use anyhow::{bail, ensure};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use turnpike_proto::account::v1::{
    AccountOutcome, IdentityAt, ResolveRequest, ResolvedIdentity, Settings, Subscribe,
};
use turnpike_proto::cluster::v1::{Partition, StatusRequest};
use turnpike_proto::plan::v1::ListRequest;
use turnpike_types::{Timestamp, limits};

use super::settings::OpeningSettings;
use super::survey::{Requester, Survey};
use crate::apply::{self, Applied};
use crate::client::Front;
use crate::{ui, values};

/// The number of accounts that are looked up concurrently.
const SHOWS_AT_ONCE: usize = 16;
/// The maximum number of account numbers that are found in use before the command gives up.
const TAKEN_MAX: usize = 10_000;
/// The maximum number of times that new numbers are chosen because other processes took the old
/// ones.
const ROUNDS_MAX: usize = 100;

/// Opens an account for each requester of `survey` that has none.
///
/// # Errors
/// A failed check, before any change; or a failed request or a refused command, after which some of
/// the accounts may be open.
pub(super) async fn open(
    front: &Front,
    asked: &OpeningSettings,
    survey: Survey,
) -> anyhow::Result<()> {
    let from = asked.from;
    if let Some(plan) = &asked.plan {
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
    let numbers = free_numbers(front, &partitions, from, new.len(), NOTHING).await?;
    let settings = Settings {
        zone: asked.zone.clone(),
        cycle_day: 1,
        currency: asked.currency.to_string(),
        attributes: [].into(),
    };
    let mut planless = match &asked.plan {
        Some(_) => planless(front, bound, from, &settings).await?,
        None => Vec::new(),
    };
    // All checks have passed: the changes begin here.
    let bar = ui::progress(Some(new.len() as u64), "accounts", asked.hidden);
    let opening = Opening { front, partitions: &partitions, settings: &settings };
    let mut opened = opening.open_all(new, numbers, || bar.inc(1)).await?;
    bar.finish_and_clear();
    if let Some((plan, plan_from)) = asked.plan.as_ref().zip(asked.plan_from) {
        let others = std::mem::take(&mut opened.by_others);
        planless.extend(self::planless(front, others, from, &settings).await?);
        let old: &[u64] = if asked.resume { &planless } else { &[] };
        let subscribed = opened.numbers.iter().chain(old).copied();
        opened.applied.add(subscribe(front, plan, plan_from, subscribed).await?);
    }
    let planless = if asked.resume { Vec::new() } else { planless };
    print_report(&opened, all, &elsewhere, &planless)
}

/// The text in messages of failed checks that states what happened to the accounts.
const NOTHING: &str = "nothing was changed";

/// Opens new accounts while other processes may open accounts too.
struct Opening<'a> {
    front: &'a Front,
    partitions: &'a [Partition],
    settings: &'a Settings,
}

/// The accounts that were opened.
#[derive(Default)]
struct Opened {
    numbers: Vec<u64>,
    applied: Applied,
    /// Accounts that other processes opened meanwhile for requesters of the log.
    by_others: Vec<u64>,
}

impl Opening<'_> {
    /// Opens an account for each requester, with the given `numbers`. If another process took a
    /// number meanwhile, the requester gets a later one.
    async fn open_all(
        &self,
        mut requesters: Vec<Requester>,
        mut numbers: Vec<u64>,
        each: impl Fn(),
    ) -> anyhow::Result<Opened> {
        let mut opened = Opened::default();
        for _ in 0..ROUNDS_MAX {
            let next = numbers.last().map_or(u64::MAX, |last| last.saturating_add(1));
            requesters = self.open_some(requesters, &numbers, &mut opened, &each).await?;
            if requesters.is_empty() || opened.applied.refused > 0 {
                return Ok(opened);
            }
            let so_far = format!("{} accounts were opened", ui::count(opened.numbers.len() as u64));
            numbers =
                free_numbers(self.front, self.partitions, next, requesters.len(), &so_far).await?;
        }
        bail!(
            "other processes repeatedly opened accounts with the same numbers; {} accounts were \
             opened. Choose another --open-accounts, and run this again",
            ui::count(opened.numbers.len() as u64)
        )
    }

    /// Opens one account for each requester. Returns the requesters whose number was taken.
    async fn open_some(
        &self,
        requesters: Vec<Requester>,
        numbers: &[u64],
        opened: &mut Opened,
        each: impl Fn(),
    ) -> anyhow::Result<Vec<Requester>> {
        let identities = requesters.iter().map(|requester| requester.identity.clone());
        let commands = numbers.iter().zip(identities);
        let commands =
            commands.map(|(&number, id)| apply::open_new(number, self.settings.clone(), [id]));
        let mut new = HashSet::new();
        let applied = apply::apply(self.front, commands, |number, outcome| {
            each();
            // A front of an earlier release does not refuse an account that is open already: it
            // answers that the command is already in effect.
            if outcome == AccountOutcome::Applied {
                new.insert(number);
            }
        });
        let applied = applied.await?;
        opened.applied.applied += applied.applied;
        let (mut left, mut refused) = (Vec::new(), Vec::new());
        for (&number, requester) in numbers.iter().zip(requesters) {
            if new.contains(&number) {
                opened.numbers.push(number);
            } else {
                left.push(requester);
                refused.push(number);
            }
        }
        let resolved = resolve(self.front, &left).await?;
        let mut waiting = Vec::new();
        for ((requester, number), resolved) in left.into_iter().zip(refused).zip(resolved) {
            if resolved.account_number != 0 {
                opened.by_others.push(resolved.account_number);
            } else if self.front.account(number).await?.is_some() {
                waiting.push(requester);
            } else {
                let refusals = applied.refusals.iter().filter(|one| one.account_number == number);
                let why = refusals.map(|one| one.message.clone()).next();
                opened.applied.refuse(number, why.unwrap_or_else(|| "it is not open".to_owned()));
            }
        }
        Ok(waiting)
    }
}

fn print_report(
    opened: &Opened,
    all: usize,
    elsewhere: &[String],
    planless: &[u64],
) -> anyhow::Result<()> {
    let Opened { numbers, applied, .. } = opened;
    if applied.refused > 0 {
        ui::print_stderr(format_args!("accounts could not be opened for all requesters:"));
        ui::print_some_stderr(&applied.refusals, 10, "");
        bail!(
            "{} of the commands that open accounts were refused; nothing was sent. Run this again: \
             what was opened stays",
            applied.refused
        );
    }
    if !elsewhere.is_empty() {
        ui::print_stderr(
            "these requesters have addresses that are bound only at other times; bind them with `turnpike account bind`:",
        );
        ui::print_some_stderr(elsewhere, 10, "");
    }
    if !planless.is_empty() {
        ui::print_stderr(
            "these accounts of requesters were open before and have no plan: their usage will wait as no-plan. Subscribe them with `turnpike account subscribe`, or all with --resume if an interrupted run opened them:",
        );
        let named: Vec<String> =
            planless.iter().map(|number| format!("account {number}")).collect();
        ui::print_some_stderr(&named, 10, "");
    }
    let (all, count) = (ui::count(all as u64), ui::count(numbers.len() as u64));
    let range = match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) => format!(" ({first} to {last})"),
        _ => String::new(),
    };
    ui::print_stderr(format_args!("{all} requesters: {count} accounts opened{range}; {applied}"));
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
        ui::print_stderr(format_args!(
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

/// The first `count` account numbers from `from` on that are not in use. `so_far` is the part of
/// error messages that states what was changed.
async fn free_numbers(
    front: &Front,
    partitions: &[Partition],
    from: u64,
    count: usize,
    so_far: &str,
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
        .map(|number| async move { anyhow::Ok((number, front.account(number).await?.is_some())) });
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
                     between the partitions (which have {}); {so_far}. Choose another --open-accounts",
                    ui::count(count as u64),
                    ui::count(free.len() as u64),
                    ranges.join(", ")
                );
            }
        }
        ensure!(
            taken <= TAKEN_MAX,
            "more than {TAKEN_MAX} account numbers from {from} on are in use; {so_far}. Choose a \
             larger --open-accounts"
        );
    }
    Ok(free)
}

/// The accounts that an interrupted run may have opened and not subscribed: those with exactly
/// these settings and without a plan. The missing plan may also be intended.
async fn planless(
    front: &Front,
    mut accounts: Vec<u64>,
    from: u64,
    settings: &Settings,
) -> anyhow::Result<Vec<u64>> {
    accounts.sort_unstable();
    accounts.dedup();
    let candidates = accounts.into_iter().filter(|&number| number >= from);
    let shown =
        stream::iter(candidates).map(|number| front.account(number)).buffered(SHOWS_AT_ONCE);
    let planless = shown.try_filter_map(|shown| async move {
        let shown = shown.filter(|shown| {
            let [only] = shown.settings.as_slice() else { return false };
            shown.subscriptions.is_empty() && only.settings.as_ref() == Some(settings)
        });
        Ok(shown.map(|shown| shown.account_number))
    });
    planless.try_collect().await
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
    apply::apply(front, commands, |_, _| {}).await
}
