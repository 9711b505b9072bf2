//! `turnpike account import`: opens accounts from a CSV file.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::Args;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use turnpike_collect::{AccountRow, AccountsCsv, Fault};
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, Settings, Subscribe, Subscription,
};
use turnpike_types::{Timestamp, capped};

use crate::accounts_file::warn_of_begin;
use crate::apply::{self, Applied};
use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish};
use crate::{ui, usage_file, values};

const EXAMPLES: &str = "\
Columns: account_number, zone, currency; optionally cycle_day (1), plan (several separated by ;,
tried in this order), plan_from (a date in the zone, or an instant), identities (separated by ;,
bound for all time: ip:ADDRESS, ip:ADDRESS/LENGTH, user:NAME, tel:NUMBER), attribute:NAME,
parameter:NAME. Without plan_from, a plan begins now, and usage before that waits as no-plan. Of a
row with a fault, or that can't be imported whole, nothing is imported. A repeated import changes
nothing.

Examples:
  turnpike account import accounts.csv
  turnpike account import accounts.csv --json";

/// Options of `account import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Report {
    /// The number of rows, also of those that can't be read.
    accounts: u64,
    /// The rows. Those of which nothing is imported count as refused, also bad rows.
    opened: Applied,
    subscribed: Applied,
    /// The number of accounts without `plan_from` whose plans begin at the time of this import.
    begin_now: u64,
    bad_rows: Vec<String>,
}

/// The number of accounts that are looked up concurrently.
const SHOWS_AT_ONCE: usize = 16;
/// The number of rows that are read before their commands are sent. It bounds memory for a file of
/// any size.
const CHUNK: usize = 20_000;

/// The resolved settings of `account import`.
pub(super) struct ImportSettings {
    file: PathBuf,
    json: bool,
    /// Whether progress is not shown.
    hidden: bool,
    client: ClientSettings,
}

impl ImportArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<ImportSettings> {
        Ok(ImportSettings {
            file: self.file,
            json: self.json,
            hidden: context.quiet || self.json,
            client: self.client.resolve(&context.config)?,
        })
    }
}

pub(super) async fn run(settings: ImportSettings) -> anyhow::Result<Finish> {
    let name = settings.file.display().to_string();
    let mut rows = AccountsCsv::new(&name, usage_file::open(&settings.file)?)?;
    let front = settings.client.connect().await?;
    let bar = ui::progress(None, name, settings.hidden);
    let mut faults: Vec<Fault> = Vec::new();
    let mut report = Report {
        accounts: 0,
        opened: Applied::default(),
        subscribed: Applied::default(),
        begin_now: 0,
        bad_rows: Vec::new(),
    };
    let now = Timestamp(values::now_us());
    loop {
        let chunk = next_chunk(&mut rows, &mut faults);
        if chunk.is_empty() {
            break;
        }
        report.accounts += chunk.len() as u64;
        let (chunk, unfit) = fitting(&front, chunk, now).await?;
        report.opened.add(unfit);
        // Accounts, subscriptions and identities are three calls: a retried command is sent after
        // the rest of its request, so one call with all could subscribe too early. What can be
        // refused comes first, and identities last.
        let mut known = HashSet::new();
        let opened = apply::apply(&front, chunk.iter().map(open_only), |account, outcome| {
            bar.inc(1);
            if outcome == AccountOutcome::Already {
                known.insert(account);
            }
        });
        let opened = opened.await?;
        // No subscription for a row whose account could not be opened with the row's settings.
        let unopened = refused_accounts(&opened);
        report.opened.add(opened);
        let opened: Vec<AccountRow> =
            chunk.into_iter().filter(|row| !unopened.contains(&row.account.0)).collect();
        let had = had_before(&front, &opened, &known).await?;
        let (rows, unfit) = without_conflicts(opened, &had, now);
        // Nothing of these rows is imported, so that their accounts count as refused only.
        report.opened.already = report.opened.already.saturating_sub(unfit.refused);
        report.opened.add(unfit);
        report.subscribed.already +=
            rows.iter().map(|row| never_begun(row, of(&had, row))).sum::<u64>();
        let mut begun = HashSet::new();
        let wanted = rows.iter().flat_map(|row| subscriptions(row, of(&had, row), now));
        let without_start: HashSet<u64> =
            rows.iter().filter(|row| row.plan_from.is_none()).map(|row| row.account.0).collect();
        let subscribed = apply::apply(&front, wanted, |account, outcome| {
            if outcome == AccountOutcome::Applied && without_start.contains(&account) {
                begun.insert(account);
            }
        });
        let subscribed = subscribed.await?;
        let unsubscribed = refused_accounts(&subscribed);
        report.subscribed.add(subscribed);
        report.begin_now += begun.len() as u64;
        let rows = rows.iter().filter(|row| !unsubscribed.contains(&row.account.0));
        bind(&front, rows, &known, &mut report.opened).await?;
    }
    bar.finish_and_clear();
    report.bad_rows = faults.iter().map(ToString::to_string).collect();
    report.accounts += faults.len() as u64;
    report.opened.refused += faults.len() as u64;
    print_report(&report, settings.json)?;
    warn_of_begin(report.begin_now, now);
    let refused = report.opened.refused + report.subscribed.refused;
    Ok(Finish::unless(refused > 0 || !faults.is_empty()))
}

/// Removes each row that has a plan that does not fit the account, or an identity of another
/// account. Reports one refusal for each such row; nothing of the row is applied.
async fn fitting(
    front: &Front,
    rows: Vec<AccountRow>,
    now: Timestamp,
) -> anyhow::Result<(Vec<AccountRow>, Applied)> {
    let commands = rows.iter().map(|row| {
        let mut commands = vec![open(row)];
        commands.extend(subscriptions(row, &[], now));
        commands
    });
    let faults = apply::check(front, commands).await?;
    let (mut fit, mut unfit) = (Vec::with_capacity(rows.len()), Applied::default());
    // The identities of the accepted rows, with their accounts. The front does not know them yet.
    let mut holders: HashMap<String, u64> = HashMap::new();
    let mut openings: HashMap<u64, AccountCommand> = HashMap::new();
    for (row, fault) in rows.into_iter().zip(faults) {
        let opening = open_only(&row);
        let fault = fault.or_else(|| held_by_row(&row, &holders));
        let fault = fault.or_else(|| {
            let differs = openings.get(&row.account.0).is_some_and(|earlier| *earlier != opening);
            differs.then(|| "an earlier row opens the account with other settings".to_owned())
        });
        if fault.is_none() {
            openings.insert(row.account.0, opening);
            holders.extend(row.identities.iter().map(|id| (id.clone(), row.account.0)));
        }
        match fault {
            None => fit.push(row),
            Some(fault) => {
                let message = format!("nothing of the row is imported: {fault}");
                unfit.refuse(row.account.0, message);
            }
        }
    }
    Ok((fit, unfit))
}

/// The reason to refuse a row if an earlier row gives one of its identities to another account.
fn held_by_row(row: &AccountRow, holders: &HashMap<String, u64>) -> Option<String> {
    row.identities.iter().find_map(|identity| {
        let holder = holders.get(identity).filter(|&&holder| holder != row.account.0)?;
        Some(format!("an earlier row gives {identity} to account {holder}"))
    })
}

/// Accounts with a refused command.
fn refused_accounts(applied: &Applied) -> HashSet<u64> {
    applied.refusals.iter().map(|refusal| refusal.account_number).collect()
}

/// Binds the identities of rows, and adds the outcome to that of the accounts: an account that was
/// `known` and gets an identity is changed.
async fn bind(
    front: &Front,
    rows: impl Iterator<Item = &AccountRow>,
    known: &HashSet<u64>,
    opened: &mut Applied,
) -> anyhow::Result<()> {
    let commands: Vec<AccountCommand> = rows
        .filter(|row| !row.identities.is_empty())
        .map(|row| AccountCommand { command: None, ..open(row) })
        .collect();
    let mut changed = 0;
    let bound = apply::apply(front, commands, |account, outcome| {
        changed += u64::from(outcome == AccountOutcome::Applied && known.contains(&account));
    });
    let bound = bound.await?;
    let changed = changed.min(opened.already);
    opened.already -= changed;
    opened.applied += changed;
    opened.add(Applied { applied: 0, already: 0, ..bound });
    Ok(())
}

fn of<'a>(had: &'a HashMap<u64, Vec<Subscription>>, row: &AccountRow) -> &'a [Subscription] {
    had.get(&row.account.0).map(Vec::as_slice).unwrap_or_default()
}

/// Removes the rows with a subscription that the account can't have, because it has another one to
/// the plan then, and reports one refusal for each. An earlier row counts as carried out.
fn without_conflicts(
    rows: Vec<AccountRow>,
    had: &HashMap<u64, Vec<Subscription>>,
    now: Timestamp,
) -> (Vec<AccountRow>, Applied) {
    let (mut fit, mut unfit) = (Vec::with_capacity(rows.len()), Applied::default());
    let mut planned: HashMap<u64, Vec<Subscribe>> = HashMap::new();
    for row in rows {
        let number = row.account.0;
        let wanted: Vec<Subscribe> = subscribes(&row, of(had, &row), now).collect();
        let earlier = planned.entry(number).or_default();
        let earlier_rows: Vec<Subscription> = earlier.iter().map(begun).collect();
        // A subscription of the row that the account had, and that was cancelled later, is in effect
        // already, also if another one to the plan began after it.
        let is_new = |wanted: &&Subscribe| !of(had, &row).iter().any(|old| is_of_row(old, wanted));
        let conflict = wanted.iter().filter(is_new).find_map(|wanted| {
            let mut all = of(had, &row).iter().chain(&earlier_rows);
            all.find(|old| is_in_the_way(old, wanted))
        });
        let used =
            wanted.iter().find(|wanted| of(had, &row).iter().any(|old| is_used(old, wanted)));
        if let (None, Some(used)) = (&conflict, used) {
            unfit.refuse(
                number,
                format!(
                    "nothing of the row is imported: a subscription to {plan} from {from} was \
                     cancelled at its start, and had another place in the list or other parameters. \
                     Charges may be booked for this start: choose another plan_from, a minute later \
                     for example, or subscribe by turnpike account subscribe {number} --plan {plan}",
                    plan = used.plan_id,
                    from = values::show_instant(used.from_us),
                ),
            );
            continue;
        }
        if let Some(old) = conflict
            && !old.option.is_empty()
        {
            unfit.refuse(
                number,
                format!(
                    "nothing of the row is imported: {plan} is an alternative of option {option} of \
                     the account then: end the option first (turnpike account opt-out {number} \
                     --option {option}, with the plan to keep and the instant), or take {plan} out \
                     of the row",
                    plan = old.plan_id,
                    option = old.option,
                ),
            );
            continue;
        }
        if let Some(old) = conflict {
            let until = old.until_us.map_or_else(
                || " on".to_owned(),
                |until_us| format!(" until {}", values::show_instant(until_us)),
            );
            unfit.refuse(
                number,
                format!(
                    "nothing of the row is imported: the account has, or gets by an earlier row, a \
                     subscription to {plan} from {from}{until}, with another start, another place in \
                     the list or other parameters: write these as they are, or take {plan} out of the \
                     row",
                    plan = old.plan_id,
                    from = values::show_instant(old.from_us),
                ),
            );
            continue;
        }
        earlier.extend(wanted);
        fit.push(row);
    }
    (fit, unfit)
}

/// The subscription that a command begins.
fn begun(asked: &Subscribe) -> Subscription {
    Subscription {
        plan_id: asked.plan_id.clone(),
        from_us: asked.from_us,
        priority: asked.priority,
        parameters: asked.parameters.clone(),
        ..Subscription::default()
    }
}

/// Whether `old` was cancelled at its start, which is that of `wanted` to the minute.
fn is_used(old: &Subscription, wanted: &Subscribe) -> bool {
    let minute = |at_us: i64| at_us.div_euclid(60_000_000);
    old.plan_id == wanted.plan_id
        && never_began(old)
        && minute(old.from_us) == minute(wanted.from_us)
}

/// Whether `old` is in force when `wanted` is to be, and is another one.
fn is_in_the_way(old: &Subscription, wanted: &Subscribe) -> bool {
    let until_us = old.until_us.unwrap_or(i64::MAX);
    let is_as_wanted = Subscription { until_us: None, ..old.clone() } == begun(wanted);
    old.plan_id == wanted.plan_id
        && old.from_us < until_us
        && wanted.from_us < until_us
        && !is_as_wanted
}

/// Whether `old` is the subscription that the row asks for, whatever its end is.
fn is_of_row(old: &Subscription, wanted: &Subscribe) -> bool {
    Subscription { until_us: None, ..old.clone() } == begun(wanted) && !never_began(old)
}

/// The subscriptions that the accounts of rows with plans have or had. An account that was opened a
/// moment ago has none.
async fn had_before(
    front: &Front,
    rows: &[AccountRow],
    known: &HashSet<u64>,
) -> anyhow::Result<HashMap<u64, Vec<Subscription>>> {
    let with_plans = rows.iter().filter(|row| !row.plans.is_empty());
    let numbers: HashSet<u64> = with_plans.map(|row| row.account.0).collect();
    let numbers: Vec<u64> = numbers.intersection(known).copied().collect();
    let shown = stream::iter(numbers).map(|number| async move {
        let shown = front.account(number).await?;
        anyhow::Ok((number, shown.map(|shown| shown.subscriptions).unwrap_or_default()))
    });
    shown.buffer_unordered(SHOWS_AT_ONCE).try_collect().await
}

fn next_chunk<R: std::io::Read>(
    rows: &mut AccountsCsv<R>,
    faults: &mut Vec<Fault>,
) -> Vec<AccountRow> {
    let mut chunk = Vec::new();
    while chunk.len() < CHUNK
        && let Some(row) = rows.next()
    {
        match row {
            Ok(row) => chunk.push(row.content),
            Err(fault) => faults.push(fault),
        }
    }
    chunk
}

fn open(row: &AccountRow) -> AccountCommand {
    let settings = Settings {
        zone: row.zone.clone(),
        cycle_day: u32::from(row.cycle_day),
        currency: row.currency.to_string(),
        attributes: row.attributes.clone().into_iter().collect(),
    };
    apply::open(row.account.0, settings, row.identities.clone())
}

/// As [`open`], without the identities.
fn open_only(row: &AccountRow) -> AccountCommand {
    AccountCommand { identities: Vec::new(), ..open(row) }
}

/// The commands that subscribe the account of a row.
fn subscriptions<'a>(
    row: &'a AccountRow,
    had: &'a [Subscription],
    now: Timestamp,
) -> impl Iterator<Item = AccountCommand> + 'a {
    subscribes(row, had, now).map(|asked| apply::subscribe(row.account.0, asked))
}

/// How many plans of a row the account had with this start and cancelled at it: a repeated import
/// changes nothing.
fn never_begun(row: &AccountRow, had: &[Subscription]) -> u64 {
    (row.plans.len() - subscribes(row, had, Timestamp::MIN).count()) as u64
}

/// Whether the subscription was cancelled at its start.
fn never_began(one: &Subscription) -> bool {
    one.until_us == Some(one.from_us)
}

/// The subscriptions of a row. Without `plan_from` a plan begins `now`. If `had` contains the same
/// subscription already, its start is used instead: a repeated import changes nothing, and a
/// cancelled plan does not begin again.
fn subscribes<'a>(
    row: &'a AccountRow,
    had: &'a [Subscription],
    now: Timestamp,
) -> impl Iterator<Item = Subscribe> + 'a {
    // The first plan is tried first, so it gets the highest priority.
    let priorities = (1..=capped::<u32>(row.plans.len())).rev();
    row.plans.iter().zip(priorities).filter_map(move |(plan, priority)| {
        let is_as_stated = |one: &&Subscription| {
            let parameters = one.parameters.iter().eq(row.parameters.iter());
            one.option.is_empty() && one.plan_id == *plan && one.priority == priority && parameters
        };
        let begun = had.iter().filter(is_as_stated).max_by_key(|one| one.from_us);
        let from_us = row.plan_from.map(|from| from.0).or(begun.map(|one| one.from_us));
        // Cancelled at its start: a repeated import does not begin it again.
        let is_stated_start = |one: &&Subscription| Some(one.from_us) == from_us;
        let mut at_start = had.iter().filter(is_as_stated).filter(is_stated_start).peekable();
        if at_start.peek().is_some() && at_start.all(never_began) {
            return None;
        }
        Some(Subscribe {
            plan_id: plan.clone(),
            from_us: from_us.unwrap_or(now.0),
            priority,
            parameters: row.parameters.clone().into_iter().collect(),
        })
    })
}

fn print_report(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return ui::print_json(report);
    }
    ui::print(format_args!("{} accounts: {}", ui::count(report.accounts), report.opened))?;
    ui::print(format_args!("subscriptions: {}", report.subscribed))?;
    ui::print_some_stderr(&report.opened.refusals, 20, " (--json has them)");
    ui::print_some_stderr(&report.subscribed.refusals, 20, " (--json has them)");
    if !report.bad_rows.is_empty() {
        let bad = ui::count(report.bad_rows.len() as u64);
        ui::print_stderr(format_args!("{bad} bad rows were left out:"));
        ui::print_some_stderr(&report.bad_rows, 20, " (--json has them)");
    }
    Ok(())
}
